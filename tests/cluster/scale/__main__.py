"""Thousands of tunnels on a real API server: `python -m tests.cluster.scale --tunnels 100,1000,3000 [--threads 4] [--peers 100] [--json]`.

Judges nothing but that all of it happened; what grows with what is for the reader, and for `test_scale.py`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from tests.bench.figures import load, machine
from tests.cluster.scale import ours, peer
from tests.cluster.scale.ground import WATCHED, ground
from tests.cluster.scale.measure import THREADS, Cost, Outcome, measure

CALLERS = 16  # callers of our own hub at once
out = Console(width=None if sys.stdout.isatty() else 170, highlight=False)


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
        at.join()
        if told.peers:
            peers = peer.measure(at, told.peers) | {"our hub": ours.measure(told.peers, CALLERS)}
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
