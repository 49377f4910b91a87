"""The ledger: durable appends in batches of a hundred, and an auditor's verification of a bundle, each beside its floor."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from broker.store import migrate
from broker.store.store import SqlStore
from sulku import tunnels as core
from sulku.ledger import verify as offline
from tests.bench.changes import bare
from tests.bench.figures import Row, both, fsync, per_second, written
from tests.core import ledgers
from tests.store import deeds

BATCH, BATCHES, ROUNDS = 100, 15, 7
RECORDS = 60_000
APPENDED, VERIFIED = 20_000.0, 400_000.0  # goals, a second


def run() -> Iterator[Row]:
    """Append, then verify."""
    yield from _append()
    yield from _verify()


def _append() -> Iterator[Row]:
    """A batch is one authority, a hundred events, one commit; ``Entered`` is public, of ``CodeExecuted`` each text is committed to."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        store = SqlStore(f"sqlite:///{folder / 'sulku.db'}", folder / "spool")
        migrate.upgrade(store.database)
        tunnel = deeds.tunnel(store, core.ClosureProved(1, 1, "0" * 64), core.Opened(deeds.AT))
        kinds = {"public": core.Entered("0" * 64, 1), "private": core.CodeExecuted("x = 1", "k")}
        sides = {kind: lambda one=one: deeds.do(store, deeds.WORKER, tunnel, *[one] * BATCH) for kind, one in kinds.items()}
        sides["bare"] = bare(folder, BATCH)
        times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(ROUNDS):
            for side, do in sides.items():
                times[side].append(both(lambda do=do: [do() for _ in range(BATCHES)]))
        store.close()
        disk = fsync(folder)
    wall = {side: per_second(BATCH * BATCHES, [one for one, _ in each]) for side, each in times.items()}
    busy = {side: per_second(BATCH * BATCHES, [one for _, one in each]) for side, each in times.items()}
    for side, what, goal in (("public", "events", APPENDED), ("private", "events with a text to conceal", 0.0)):
        ratio = f"{wall[side].median / wall['bare'].median:.2f}×"
        met = wall[side].median >= goal if goal else None
        shown = f"≥ {goal:,.0f} /s" if goal else ""
        yield Row(f"ledger, durable append of {BATCH} {what} / bare insert", str(wall[side]), str(wall["bare"]), ratio, shown, met)
        yield Row("   per second of processor time", str(busy[side]), str(busy["bare"]), f"{busy[side].median / busy['bare'].median:.2f}×")
    yield Row("   one fsync of 4 KiB on this disk", f"{disk}, p99 {written(disk.at(0.99), 's')}")


def _verify() -> Iterator[Row]:
    """A core is a second of processor time; the floor is one SHA-256 of each record and nothing else."""
    world = ledgers.plain(RECORDS)
    data, entries = world.build(), world.entries
    sides = {
        "hashes": lambda: offline.verify(data, [ledgers.KEY.public], records=False),
        "records": lambda: offline.verify(data, [ledgers.KEY.public]),
        "floor": lambda: [sha256(b"\x00" + one).digest() for one in entries],
    }
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, do in sides.items():
            times[side].append(both(do))
    busy = {side: per_second(RECORDS, [cpu for _, cpu in each]) for side, each in times.items()}
    wall = {side: per_second(RECORDS, [one for one, _ in each]) for side, each in times.items()}
    for side, what, goal in (("hashes", "hashes, tiles, root", VERIFIED), ("records", "and every record read", 0.0)):
        ratio = f"{busy[side].median / busy['floor'].median:.2f}×"
        met = busy[side].median >= goal if goal else None
        shown = f"≥ {goal:,.0f} /s a core" if goal else ""
        yield Row(f"ledger, verification a core: {what} / SHA-256 alone", str(busy[side]), str(busy["floor"]), ratio, shown, met)
        yield Row("   on the wall", str(wall[side]), str(wall["floor"]))
