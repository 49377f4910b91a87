"""A recorded change from end to end, as a flow does it, against the least that SQLite can do to keep the same bytes."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from broker.adapters.clock import SystemClock
from broker.adapters.policy_regorus import RegorusPolicy
from broker.flows import applications, datasets, people, tunnels
from broker.store import migrate
from broker.store.store import SqlStore
from sulku import ids
from sulku import tunnels as core
from sulku.datasets import Catalogue, Edition, File, Sensitivity, Variable
from sulku.people import Actor, Register, Role, service
from sulku.ports import Ports
from tests.bench.figures import Row, both, fsync, per_second, written
from tests.policies import cases
from tests.store import deeds

CHANGES = 60
ROUNDS = 7
GOAL = 500.0  # a second


@dataclass(frozen=True, slots=True)
class Desk:
    """A store with a researcher, a dataset, and a tunnel that is open."""

    ports: Ports
    store: SqlStore
    ada: Actor
    dataset: str
    tunnel: str
    epoch: int

    def draft(self) -> None:
        """Begin an application: a researcher's change, with a record of its own."""
        wanted = {"dataset": self.dataset, "version": "1", "variables": ["age"]}
        answers = {"title": "Falls among the old", "purpose": "To see who falls and when, so that it happens less.", "datasets": [wanted]}
        applications.draft(self.ports, self.ada, answers)

    def lease(self) -> None:
        """Lease a byte of the egress budget: what a gateway asks for most."""
        granted, _ = tunnels.lease(self.ports, self.tunnel, self.epoch, 1, 0)
        assert granted == 1


def run() -> Iterator[Row]:
    """Do a batch of each change and of the bare insertion in turn; policy, decision, ledger and commit are all in it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        desk, insert = _desk(Path(folder)), bare(Path(folder), 1)
        works = {"draft": desk.draft, "lease": desk.lease, "bare": insert}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for do in works.values():
            _repeat(do, 10)
        for _ in range(ROUNDS):
            for name, do in works.items():
                times[name].append(both(lambda do=do: _repeat(do, CHANGES)))
        desk.store.close()
        disk = fsync(Path(folder))
    rates = {name: per_second(CHANGES, [wall for wall, _ in each]) for name, each in times.items()}
    busy = {name: per_second(CHANGES, [cpu for _, cpu in each]) for name, each in times.items()}
    for name, what in (("draft", "a draft is saved"), ("lease", "budget is leased")):
        ratio = rates[name].median / rates["bare"].median
        best = max(rates[name].values)
        yield Row(
            f"changes, {what} / bare insert",
            str(rates[name]),
            str(rates["bare"]),
            f"{ratio:.2f}×",
            f"≥ {GOAL:.0f} /s",
            rates[name].median >= GOAL,
        )
        yield Row("   per second of processor time", str(busy[name]), str(busy["bare"]), f"at best {best:.0f} /s")
    yield Row("   one fsync of 4 KiB on this disk", f"{disk}, p99 {written(disk.at(0.99), 's')}")


def _repeat(do: Callable[[], None], times: int) -> None:
    for _ in range(times):
        do()


def _desk(folder: Path) -> Desk:
    store = SqlStore(f"sqlite:///{folder / 'sulku.db'}", folder / "spool")
    migrate.upgrade(store.database)
    clock = SystemClock()
    ports = Ports(clock, RegorusPolicy(cases.bundle()), store, None, None, None)  # type: ignore[arg-type]  # nothing is signed here
    found = {}
    for role in (Role.RESEARCHER, Role.STEWARD):
        registered = people.register(ports, service("setup"), Register(role.value.title(), f"{role}@uni.example", f"{role} house", (role,)))
        (person,) = (one for one in registered.facts.values() if one.id.startswith("usr_"))
        found[role] = Actor(person.id, role, organisation=person.organisation, mfa=True, signed_in=clock.now())
    edition = Edition("1", "0" * 64, (File("a.csv", 10, 2, "1" * 64),), (Variable("age", "integer", "Age"),), 500, "person")
    command = Catalogue(
        name="falls", title="Falls", description="Who fell", controller="Practice Register Holder", sensitivity=Sensitivity.SPECIAL,
        terms="", edition=edition,
    )  # fmt: skip
    dataset = ids.new("dst")
    datasets.catalogue(ports, found[Role.STEWARD], command, dataset=dataset)
    ada, now = found[Role.RESEARCHER], clock.now()
    permit = deeds.permit(store, ada.id, dataset=dataset, ends=now + timedelta(days=1))
    steps = (core.ClosureProved(1, 1, "0" * 64), core.Opened(now), core.ToppedUp(10**6, "for the benchmark"))
    tunnel = deeds.tunnel(store, *steps, by=ada, at=now, person_id=ada.id, permit=permit, deadline=now + timedelta(hours=1))
    return Desk(ports, store, ada, dataset, tunnel, store.peek([tunnel])[tunnel].epoch)


def bare(folder: Path, batch: int) -> Callable[[], None]:
    """Return what puts ``batch`` rows of 1 kB into a table with one index and commits, with the same settings of SQLite."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE kept (seq INTEGER PRIMARY KEY, at TEXT, body BLOB)")
    connection.execute("CREATE INDEX kept_at ON kept (at)")
    rows = [("2026-11-22T10:00:00.000Z", bytes(1000))] * batch

    def keep() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO kept (at, body) VALUES (?, ?)", rows)
        connection.execute("COMMIT")

    return keep
