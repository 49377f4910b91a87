"""A broker without its processes: real flows, store, policy, keys, blobs and inspection; neighbours that keep what they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker.adapters import policy
from broker.adapters.blobs import FileBlobs
from broker.adapters.keys import FileKeys
from broker.adapters.policy_regorus import RegorusPolicy
from broker.flows import applications, datasets, mounts, people, releases, tunnels
from broker.flows import outputs as outputs_flow
from broker.store import migrate
from broker.store.archive import Archive
from broker.store.store import SqlStore
from broker.worker.handlers import Neighbours, Watch, handlers
from broker.worker.perform import perform
from sulku.applications import Verdict
from sulku.closure import CONTROLS, WAYS, Attempt, ClosureReport, Control, judge
from sulku.datasets import Catalogue, Edition, File, Sensitivity, Variable
from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.errors import TunnelEndedError, WorkspaceNotReadyError
from sulku.people import Actor, Register, Role, service
from sulku.permits import Grant
from sulku.plan import Alive, EndRecord, MountProof, Volume, WorkspacePlan
from sulku.ports import Ports
from sulku.records import Search
from sulku.releases import Mark
from sulku.reviews import Verdict as Say
from sulku.tunnels import Tunnel

ROOT = Path(__file__).resolve().parents[2]
CAST = {  # first name -> organisation, role
    "ada": ("uni", Role.RESEARCHER),
    "aki": ("uni", Role.RESEARCHER),
    "eve": ("college", Role.RESEARCHER),
    "bo": ("authority", Role.STEWARD),
    "cy": ("authority", Role.STEWARD),
    "di": ("authority", Role.STEWARD),
    "sten": ("uni", Role.STEWARD),
    "tove": ("audit", Role.AUDITOR),
    "olli": ("ops", Role.OPERATOR),
}


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 9, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at


class Broken(Exception):
    """What an injected fault raises: like a process that died, it is nothing that a handler expects."""


@dataclass
class World:
    """Neighbours that remember. ``fail`` is called with each thing they are asked, and may raise."""

    clock: HandClock
    fail: Callable[[str], None] = lambda asked: None
    alive: set[str] = field(default_factory=set)
    records: dict[str, EndRecord] = field(default_factory=dict)
    volumes: dict[str, list[Volume]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hole: str = ""  # a way out that the probe finds open
    released: set[str] = field(default_factory=set)  # workspaces that data came into
    served: set[str] = field(default_factory=set)  # servers that the hub remembers
    wiped: list[str] = field(default_factory=list)  # permits whose homes are destroyed
    furnish: Callable[[str], object] = lambda tunnel: None

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self.fail(what)

    # workspaces
    def start(self, plan: WorkspacePlan | Tunnel) -> Any:
        if isinstance(plan, Tunnel):  # the hub: it spawns by asking the broker back
            self._ask("hub.start")
            self.served.add(plan.id)
            self.furnish(plan.id)
            self.fail("hub.started")
            return None
        self._ask("workspace.start")
        if plan.tunnel in self.records:
            raise TunnelEndedError(f"{plan.tunnel} has ended")
        attempts = [Attempt(way, way != self.hole, "ENETUNREACH") for way in sorted(WAYS)]
        report = judge(plan.tunnel, attempts, [Control(name, alive=True, strangers=0) for name in sorted(CONTROLS)], 50)
        self.alive.add(plan.tunnel)
        if not report.closed:
            self.end(plan.tunnel, "closure-failed")
        self.fail("workspace.started")
        return report

    def release(self, tunnel: str, volumes: Sequence[Volume]) -> Sequence[MountProof]:
        self._ask("workspace.release")
        assert tunnel in self.alive, "data was released into a workspace that does not run"
        self.volumes[tunnel] = list(volumes)
        self.fail("workspace.released")
        self.released.add(tunnel)
        return [MountProof(one.name, "ro", 1, "EROFS") for one in volumes]

    def wait_ready(self, tunnel: str, timeout: float) -> str:
        self._ask("workspace.ready")
        if tunnel not in self.released & self.alive:
            raise WorkspaceNotReadyError(f"{tunnel} does not answer")
        return f"/run/{tunnel}/ws.sock"

    def stop(self, tunnel: str | Tunnel) -> Any:
        if isinstance(tunnel, Tunnel):
            self._ask("hub.stop")
            self.served.discard(tunnel.id)
            return None
        self._ask("workspace.stop")
        if self.status(tunnel) is None:
            raise TunnelEndedError(f"{tunnel} does not run here")
        self.end(tunnel, "stopped")
        self.fail("workspace.stopped")
        return self.records[tunnel]

    def end(self, tunnel: str, cause: str) -> None:
        """End a workspace by a clock of its own."""
        self.alive.discard(tunnel)
        self.volumes.pop(tunnel, None)
        self.records.setdefault(tunnel, EndRecord(tunnel, cause, self.clock.at, 0, 0, home_kept=True))

    def wipe(self, permit: str) -> None:
        self._ask("homes.wipe")
        self.wiped.append(permit)

    def status(self, tunnel: str) -> Alive | EndRecord | None:
        if tunnel in self.alive:
            return Alive(tunnel, "released", 1000, 3)
        return self.records.get(tunnel)

    # gate
    def cut(self, tunnel: str, reason: str) -> int:
        self._ask("gate.cut")
        return 1

    # vault
    def materialise(self, grant: Grant) -> Volume:
        self._ask("vault.materialise")
        return Volume(grant.name, f"/views/{grant.name}")

    # inspector
    def inspect(self, name: str, data: bytes, manifest: Any, profile: Any) -> Any:
        self._ask("inspect")
        small = b"3" in data
        return Inspected(
            findings=(found(Code.SMALL_COUNT, Severity.BLOCK, "A cell of 3.", None),) if small else (),
            rebuilt=data.upper(),
            rebuilt_name=name,
        )

    def compare(self, files: Any, profile: Any) -> tuple[Finding, ...]:
        self._ask("compare")
        return ()


@dataclass(frozen=True)
class Inspected:
    """What the remembering inspector says."""

    findings: tuple[Finding, ...]
    rebuilt: bytes
    rebuilt_name: str
    kind: str = "csv"
    media_type: str = "text/csv"
    summary: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def blocked(self) -> bool:
        return bool(self.findings)


@dataclass
class Broker:
    """Everything that a test holds, with the shortest ways to a permit, a tunnel and a release."""

    ports: Ports
    store: SqlStore
    clock: HandClock
    world: World
    neighbours: Neighbours
    watch: Watch
    state: Path
    ids: dict[str, str] = field(default_factory=dict)
    dataset: str = ""

    def by(self, name: str) -> Actor:
        organisation, role = CAST[name]
        return Actor(self.ids[name], role, name, organisation, mfa=True, signed_in=self.clock.at)

    def answers(self, **other: Any) -> dict[str, Any]:
        day = self.clock.at.date()
        return {
            "title": "Light chains and survival",
            "purpose": "Whether a high concentration of free light chain foretells death.",
            "basis": "Act 552/2019, section 38",
            "outputs": "Tables of counts",
            "people": [self.ids["aki"]],
            "datasets": [{"dataset": self.dataset, "version": "1", "variables": ["age", "sex"]}],
            "starts": day.isoformat(),
            "ends": (day + timedelta(days=30)).isoformat(),
            **other,
        }

    def submitted(self, **other: Any) -> str:
        made = applications.draft(self.ports, self.by("ada"), self.answers(**other))
        application = next(one for one in made.facts if one.startswith("app"))
        applications.submit(self.ports, self.by("ada"), application)
        return application

    def permit(self, **other: Any) -> str:
        application = self.submitted(**other)
        for steward in ("bo", "cy"):
            applications.judge(self.ports, self.by(steward), application, Verdict.APPROVE)
        return str(self.ports.store.peek([application])[application].permit)

    def requested(self, permit: str, minutes: int = 60, who: str = "ada") -> str:
        receipt = tunnels.open_(self.ports, self.by(who), permit, minutes)
        return next(one for one in receipt.facts if one.startswith("tun"))

    def tunnel(self, permit: str | None = None, minutes: int = 60, who: str = "ada") -> str:
        tunnel = self.requested(permit or self.permit(), minutes, who)
        self.work()
        assert self.read(tunnel).state == "open", self.read(tunnel)
        return tunnel

    def release(self, tunnel: str, *files: bytes, answers: str | None = None) -> str:
        frozen = tuple(outputs_flow.freeze(self.ports, tunnel, f"s{n}", f"t{n}.csv", data, {}).id for n, data in enumerate(files))
        made = releases.submit(self.ports, tunnel, "A table", "", frozen, answers)
        self.work()
        return made.id

    def judge(self, release: str, *stewards: str) -> None:
        for one in stewards:
            seen = self.read(release)
            marks = tuple(Mark(item.output, item.rebuilt, Say.APPROVE) for item in seen.items)
            releases.judge(self.ports, self.by(one), release, marks)

    def read(self, identifier: str) -> Any:
        return self.ports.store.peek([identifier])[identifier]

    def work(self, most: int = 100) -> None:
        """Do what is due in the outbox, as the worker would, until nothing is."""
        table = handlers(self.ports, self.neighbours)
        for _ in range(most):
            claimed = self.store.outbox.claim(self.clock.now())
            if not claimed:
                return
            for one in claimed:
                perform(self.store.outbox, table, self.ports.clock, one)

    def ledger(self, **where: str) -> list[dict[str, Any]]:
        return list(self.store.queries.search(Search(**where), most=500).entries)

    def refusals(self, record: str = "") -> list[str]:
        """Return the codes of the recorded refusals, newest first."""
        return [code for entry in self.ledger(type="refusal.recorded", record=record) for code in entry["body"]["codes"]]


@contextmanager
def broker(state: Path, url: str | None = None) -> Iterator[Broker]:
    """Make a broker with people and one dataset."""
    state.mkdir(exist_ok=True, parents=True)
    clock = HandClock()
    store = SqlStore(url or f"sqlite:///{state / 'sulku.db'}", state / "spool.jsonl", timeout=30)
    migrate.upgrade(store.database)
    keys = FileKeys.make(state / "keys", "sulku.test", clock.now())
    rules = policy.read(ROOT / "policies")
    blobs = FileBlobs(state / "blobs")
    archive = Archive(store, keys, blobs, lambda: [rules.data], clock.now)
    ports = Ports(clock, RegorusPolicy(rules), store, keys, blobs, archive)
    world = World(clock)
    neighbours = Neighbours(world, world, world, world, {"default": {"name": "default"}}, lambda to, what, about: None, world.wipe)  # type: ignore[arg-type]
    made = Broker(ports, store, clock, world, neighbours, Watch(ports, neighbours, archive.checkpoint, lambda: None), state)
    world.furnish = lambda tunnel: mounts.furnish(made.ports, world, world, plan(made, tunnel))  # type: ignore[arg-type]
    _fill(made)
    yield made
    store.close()


def plan(made: Broker, tunnel: str) -> WorkspacePlan:
    one: Tunnel = made.read(tunnel)
    assert one.deadline is not None
    return WorkspacePlan(tunnel, one.person, one.permit, "A title", one.deadline, ("flchain",), "/homes/x", "t" * 32)


def _fill(made: Broker) -> None:
    for name, (organisation, role) in CAST.items():
        expires = made.clock.at + timedelta(days=300) if role is Role.AUDITOR else None
        command = Register(name.title(), f"{name}@example.org", organisation, (role,), expires=expires)
        receipt = people.register(made.ports, service("setup"), command)
        made.ids[name] = next(one for one in receipt.facts if one.startswith("usr"))
    variables = tuple(Variable(name, "integer") for name in ("person", "age", "sex"))
    edition = Edition("1", "d" * 64, (File("flchain.csv", 100, 10, "e" * 64),), variables, 10, "person")
    command_ = Catalogue("flchain", "Light chains", "", "Holder", Sensitivity.SPECIAL, "For the purpose only.", edition)
    receipt = datasets.catalogue(made.ports, made.by("bo"), command_)
    made.dataset = next(one for one in receipt.facts if one.startswith("dst"))


def swapped(made: Broker, **other: Any) -> Broker:
    """Return the same broker with other ports, for all of its parts."""
    made.ports = replace(made.ports, **other)
    made.watch = Watch(made.ports, made.neighbours, lambda: None, lambda: None)
    return made


__all__ = ["Broken", "Broker", "ClosureReport", "HandClock", "World", "broker", "plan", "swapped"]
