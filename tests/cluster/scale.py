"""Thousands of tunnels on a real API server: `python -m tests.cluster.scale --tunnels 100,1000,3000 [--threads 4] [--peers 100] [--json]`.

Judges nothing but that all of it happened; what grows with what is for the reader, and for `test_scale.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from broker.worker.keeper import AT_ONCE
from tests.bench.figures import load, machine
from tests.cluster import scale_peer
from tests.cluster.scale_ground import WATCHED, Ground, ground, processor, resident
from tests.cluster.scale_hands import Counted, Hands, plan

THREADS: Final = 4  # as broker/serving.py has Celery open and end; more only wait longer for the volumes' binder
SETTLING: Final = 900.0  # seconds that the cluster may take to be rid of what was removed
out = Console(width=None if sys.stdout.isatty() else 170, highlight=False)


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took, for each tunnel unless said otherwise.

    Attributes:
        seconds: In all.
        calls: Of ours, by kind.
        sent: Bytes of bodies.
        received: Bytes of answers.
        everybody: Calls that the API server had from everybody, ours included.
        processor: Milliseconds of each part; ``worker`` is us.
    """

    seconds: float
    calls: dict[str, float]
    sent: float
    received: float
    everybody: float
    processor: dict[str, float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One number of tunnels, opened, looked after, and closed.

    Attributes:
        waits: Seconds of an opening: median, and below which 99 of 100 are.
        memory: MiB of each part while all are open.
        settled: Seconds after the last closing until no object was left.
    """

    tunnels: int
    threads: int
    opened: Cost
    waits: tuple[float, float]
    glance: Cost
    reconcile: Cost
    patrol: Cost
    closed: Cost
    settled: float
    memory: dict[str, float]


def cost(at: Ground, hands: Hands, number: int, do: Callable[[], object]) -> Cost:
    """Return what ``do`` took for each of ``number``."""
    api: Any = hands._api
    asked, spent, own, calls, sent, received = at.asked(), at.spent(), processor(os.getpid()), Counter(api.asked), api.sent, api.bytes
    began = time.monotonic()
    do()
    seconds = time.monotonic() - began
    parts = {part: (after - spent[part]) * 1000 / number for part, after in at.spent().items()}
    ours = {kind: count / number for kind, count in sorted((api.asked - calls).items())}
    parts["worker"] = (processor(os.getpid()) - own) * 1000 / number
    everybody = sum((at.asked() - asked).values()) / number
    return Cost(seconds, ours, (api.sent - sent) / number, (api.bytes - received) / number, everybody, parts)


def each(threads: int, do: Callable[[Any], object], things: Iterable[Any]) -> list[float]:
    """Do it for each by so many threads, as Celery's pool does; return the seconds that each took. The first failure is raised."""

    def timed(one: Any) -> float:
        began = time.monotonic()
        do(one)
        return time.monotonic() - began

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(timed, things))


def measure(at: Ground, tunnels: int, threads: int = THREADS) -> Outcome:
    """Open so many, look after them as the keeper does, and close them; nothing is left."""
    hands = Hands(at.worker(Counted))
    hands.reconcile((), grace=0)  # what a run that was killed has left
    each(1, lambda record: hands.acknowledge(record.tunnel), hands.ended())
    at.settled(SETTLING)
    plans = [plan() for _ in range(tunnels)]
    names = [one.tunnel for one in plans]
    waits: list[float] = []
    opened = cost(at, hands, tunnels, lambda: waits.extend(each(threads, hands.open, plans)))
    memory = {part: round(mib, 1) for part, mib in (at.memory() | {"worker": resident(os.getpid())}).items()}
    glance = cost(at, hands, 1, lambda: sound(len(hands.overview().tunnels) == tunnels))
    reconcile = cost(at, hands, 1, lambda: sound(hands.reconcile(frozenset(names)) == []))
    patrol = cost(at, hands, tunnels, lambda: each(AT_ONCE, lambda one: sound(hands.patrol(one).closed), names))
    closed = cost(at, hands, tunnels, lambda: each(threads, hands.close, names))
    sound(not hands.ended())
    found = (statistics.median(waits), sorted(waits)[int(tunnels * 0.99)])
    return Outcome(tunnels, threads, opened, found, glance, reconcile, patrol, closed, at.settled(SETTLING), memory)


def sound(condition: bool) -> None:
    """Refuse to report figures of something that did not happen."""
    if not condition:
        raise AssertionError("it is not as it should be: nothing measured here would mean anything")


def rows(one: Outcome) -> dict[str, str]:
    """Return what a reader sees of an outcome."""

    def kib(number: float) -> str:
        return f"{number / 1024:,.1f} KiB"

    def busy(of: Cost) -> str:
        return " + ".join(f"{of.processor[part]:.0f}" for part in ("worker", *WATCHED)) + f" = {sum(of.processor.values()):.0f} ms"

    return {
        "opened a second": f"{one.tunnels / one.opened.seconds:.2f}",
        "– an opening: median, p99": f"{one.waits[0]:.1f} s, {one.waits[1]:.1f} s",
        "– calls a tunnel: ours, everybody's": f"{sum(one.opened.calls.values()):.1f}, {one.opened.everybody:.0f}",
        "– bytes a tunnel: out, in": f"{kib(one.opened.sent)}, {kib(one.opened.received)}",
        "– processor a tunnel: worker, etcd, API, controllers, scheduler, kwok": busy(one.opened),
        "closed a second": f"{one.tunnels / one.closed.seconds:.2f}",
        "– calls a closing: ours, everybody's": f"{sum(one.closed.calls.values()):.1f}, {one.closed.everybody:.0f}",
        "– processor a closing": busy(one.closed),
        "– until nothing was left": f"{one.settled:.0f} s after the last",
        "glance: time, calls, bytes a tunnel": f"{one.glance.seconds:.2f} s, {sum(one.glance.calls.values()):.0f}, {one.glance.received / one.tunnels:.0f}",
        "reconcile: time, calls, bytes a tunnel": f"{one.reconcile.seconds:.2f} s, {sum(one.reconcile.calls.values()):.0f}, "
        f"{one.reconcile.received / one.tunnels:.0f}",
        "patrol of all: time, calls a tunnel": f"{one.patrol.seconds:.1f} s, {sum(one.patrol.calls.values()):.1f}",
        "memory, MiB: worker, etcd, API, controllers, scheduler, kwok": ", ".join(f"{one.memory[part]:.0f}" for part in ("worker", *WATCHED)),
    }


def show(outcomes: list[Outcome]) -> None:
    """Print the table."""
    table = Table("", *(f"{one.tunnels} tunnels" for one in outcomes), title=f"{outcomes[0].threads} threads")
    told = [list(rows(one).items()) for one in outcomes]
    for line in zip(*told, strict=True):
        table.add_row(line[0][0], *(value for _, value in line))
    out.print(table)


def main() -> int:
    """Return 0 once all of it was measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.scale", description=__doc__)
    parser.add_argument("--tunnels", default="100,1000,3000", help="how many, one measurement after the other")
    parser.add_argument("--threads", type=int, default=THREADS, help="of the worker")
    parser.add_argument("--peers", type=int, default=0, help="so many servers of KubeSpawner on the same ground, too")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON, too")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every process that was started is ended
    before, outcomes, peers = load(), [], {}
    with ground() as at:
        if told.peers:
            peers = scale_peer.measure(at, told.peers)
            out.print(peers)
        for number in map(int, told.tunnels.split(",")):
            out.print(f"[dim]{number} tunnels … (load {load()})[/dim]")
            outcomes.append(measure(at, number, told.threads))
            show(outcomes)
    out.print(f"{machine()}\nload average {before} before, {load()} after")
    if told.json:
        print(json.dumps({"peers": peers, "outcomes": [asdict(one) for one in outcomes]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
