"""How late a tunnel ends: three that were opened together reach their deadline within seconds of each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from sulku.plan import EndRecord
from tests.bench.figures import Row, Samples
from tests.bench.site import Site
from tests.stories.person import Watcher
from tests.stories.story import OTHERS

GOAL = 2.0  # seconds


def run(site: Site) -> Iterator[Row]:
    """Wait a minute with a loop running in each kernel; then compare when each socket and each process ended."""
    tunnels: dict[str, tuple[str, Watcher]] = {}

    def one(name: str) -> None:
        person = site.who(name)
        tunnel = site.open(person, minutes=1)
        tunnels[name] = (tunnel, Watcher(site.enter(person, tunnel)))

    for name in OTHERS:
        site.who(name)
    opening = [threading.Thread(target=one, args=(name,), daemon=True) for name in OTHERS]
    for thread in opening:
        thread.start()
    for thread in opening:
        thread.join(60)
    assert len(tunnels) == len(OTHERS), f"only {', '.join(tunnels)} got in: the machine is too busy for tunnels of a minute"
    late = [_lateness(site, name, *tunnels[name]) for name in OTHERS]
    for what, values in zip(("socket cut", "every process of it dead, nothing mounted"), zip(*late, strict=True), strict=True):
        found = Samples(values)
        yield Row(f"after the deadline: {what}", str(found), goal=f"≤ {GOAL:.0f} s, all", met=max(values) <= GOAL)


def _lateness(site: Site, name: str, tunnel: str, watcher: Watcher) -> tuple[float, float]:
    due = datetime.fromisoformat(site.who(name).get(f"/tunnels/{tunnel}")["deadline"])
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
    watcher.wait(20)
    until = time.monotonic() + 20
    while not isinstance(found := site.at.sandbox.status(tunnel), EndRecord):
        assert time.monotonic() < until, f"{tunnel} outlived its deadline"
        time.sleep(0.1)
    assert watcher.closed_at is not None, f"the socket of {tunnel} outlived its deadline"
    assert (found.cause, found.processes_left, found.mounts_left) == ("deadline", 0, 0), found
    return (watcher.closed_at - due).total_seconds(), (found.at - due).total_seconds()
