"""What opening, looking after and closing so many tunnels cost, by part: seconds, calls, bytes, processor time, memory."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from broker.worker.keeper import AT_ONCE
from tests.cluster.scale.ground import Ground, processor, resident
from tests.cluster.scale.hands import Counted, Hands, plan

THREADS: Final = 4  # as a worker opens and ends unless told otherwise
SETTLING: Final = 900.0  # seconds that the cluster may take to be rid of what was removed


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
