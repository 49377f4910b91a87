"""What the flows need of the world, as protocols; adapters and the store implement them, fakes are tested against the same contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sulku.clearance import Authority, Clearance, Mandate, Query
from sulku.closure import ClosureReport
from sulku.codec import Plain
from sulku.disclosure.findings import Finding
from sulku.events import Event, Happened
from sulku.permits import Grant
from sulku.plan import Alive, EndRecord, MountProof, Volume, WorkspacePlan
from sulku.records import Access, Found, Held, Notice, Opened, Proof, Replay, Search, Verified
from sulku.tunnels import Tunnel

Facts = Mapping[str, Any]  # id -> snapshot; a record that does not exist yet has version 0


class Clock(Protocol):
    """The only source of the time."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC, to the millisecond."""


class Policy(Protocol):
    """The only source of a yes."""

    def ask(self, query: Query) -> Clearance:
        """Return the proof that policy said yes.

        Raises:
            DeniedError: Policy said no, or its answer was undefined.
            PolicyUnavailableError: There was no answer in time, or it made no sense.

        Either error carries ``refusal`` (a ``Refusal``), good for one entry in the ledger.
        """


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to do outside the database, once the change is in it.

    Attributes:
        name: Deterministic: the same change gives the same name, and a name is done once.
        kind: Which handler of the worker, such as ``open-tunnel``.
        target: The record that it is about.
        epoch: Fence: a handler whose record has a later epoch does nothing.
        body: Plain values.
        due: Not before; ``None`` means now.
    """

    name: str
    kind: str
    target: str
    epoch: int = 0
    body: Plain = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a recorded change gives back: the records as they stand now, and where in the ledger it is.

    Attributes:
        entries: Indices of the ledger entries, in order.
        repeated: Whether this is the answer to an earlier request with the same idempotency key.
    """

    facts: Facts
    entries: tuple[int, ...]
    repeated: bool = False


class Unit(Protocol):
    """One transaction, open under one authority."""

    def lock(self, identifiers: Iterable[str]) -> Facts:
        """Lock and return records; a clearance's versions are checked again.

        Raises:
            StaleError: A record has moved on since policy saw it.
        """

    def record(self, happened: Sequence[Happened], effects: Callable[[Sequence[Happened], Facts], Sequence[Effect]] | None = None) -> Receipt:
        """Fold the events into their records, append them to the ledger, queue the effects; committed when the unit closes.

        Raises:
            RuleError: The authority does not carry such an event.
        """

    def spend_ticket(self, digest: str, nonce: str, at: datetime) -> Plain:
        """Use a single-use ticket up and return what it was given for.

        Raises:
            NotFoundError: Unknown, used, expired, or of another nonce.
        """

    def note_reports(self, tunnel: str, run: str, number: int) -> int:
        """Note that a gateway's ``run`` has reported on ``tunnel``, locked, up to ``number``; return up to where it had, or 0."""


class Store(Protocol):
    """All rows."""

    def peek(self, identifiers: Iterable[str]) -> dict[str, Any]:
        """Return records without locking them; a record that does not exist has version 0."""

    def begin(self, authority: Authority, *, at: datetime, key: str | None = None) -> AbstractContextManager[Unit]:
        """Open a transaction under ``authority``; commits on leaving, rolls back on any error.

        Raises:
            StoreUnavailableError: The database is away or full.
        """

    def repeated(self, key: str, digest: str) -> Receipt | None:
        """Return the receipt of the request that used idempotency ``key`` before (keys are kept per actor), or ``None``.

        Raises:
            RepeatedKeyError: The key was used for another request.
        """

    def spool(self, mandate: Mandate, happened: Sequence[Happened], at: datetime) -> None:
        """Keep an ending that has happened while the database was away; ``replay`` records it."""

    def replay(self, at: datetime, effects: Callable[[Sequence[Happened], Facts], Sequence[Effect]] | None = None) -> int:
        """Record what was spooled, in order, each once; return how many there were."""

    def latest_checkpoint(self) -> str:
        """Return the newest signed checkpoint (a signed note, text); empty before the first."""

    def find(self, noun: str, **where: Plain) -> list[Any]:
        """Return snapshots of ``noun`` (a prefix such as ``tun``) whose indexed facts match, newest first."""

    def end_session(self, session: str, until: datetime, at: datetime) -> None:
        """Remember that a sign-in's ``session`` is over, until it would have ended anyway."""

    def session_ended(self, session: str) -> bool:
        """Tell whether ``session`` was ended."""


class Archive(Protocol):
    """Everything recorded, for those who look and check; who may is for the flow that asks."""

    def head(self) -> tuple[int, bytes]:
        """Return how many entries the ledger has and the root of their tree, 32 bytes."""

    def search(self, search: Search, *, before: int | None, most: int) -> Found:
        """Return a page of the ledger, newest first."""

    def access(self, dataset: str) -> list[Access]:
        """Return who could read which version of ``dataset`` and when, newest first."""

    def notices(self, person: str) -> list[Notice]:
        """Return what ``person`` was told, newest first."""

    def history(self, record: str) -> list[Event]:
        """Return what happened to ``record``, oldest first, without what only the ledger holds; erased texts are empty."""

    def opened(self, index: int, *, texts: bool) -> Opened:
        """Return what stands beside entry ``index``, with the ``texts`` themselves or without.

        Raises:
            NotFoundError: There is no such entry.
        """

    def held(self, records: Sequence[str]) -> tuple[Held, ...]:
        """Return what an erasure of each of ``records`` would take, in order; a decision that shows several counts for the first."""

    def export(self, *, private: bool) -> bytes:
        """Return the auditor's bundle, a zip file, of everything up to now."""

    def replay(self, decision: str) -> Replay:
        """Ask policy again what it was asked then, under the rules of then.

        Raises:
            NotFoundError: There is no such decision.
        """

    def verify(self) -> tuple[Verified, ...]:
        """Recompute the tree and every projection.

        Raises:
            LedgerBrokenError: A record is not what was recorded.
        """

    def prove(self, index: int) -> Proof:
        """Return the proof that entry ``index`` is in the ledger that the latest checkpoint signed."""

    def consistent(self, since: bytes) -> tuple[int, int]:
        """Check that the ledger begins with the one that checkpoint ``since`` signed; return both sizes."""


class Signer(Protocol):
    """Signs papers with the broker's keys."""

    def sign(self, payload_type: str, payload: bytes) -> str:
        """Return a DSSE envelope (JSON text) over ``payload``."""


class Blobs(Protocol):
    """Immutable bytes, by the SHA-256 (hex) of their content."""

    def put(self, data: bytes) -> str:
        """Keep ``data`` durably and return its digest."""

    def get(self, digest: str) -> bytes:
        """Return the bytes.

        Raises:
            IntegrityError: They are not what their digest says.
            NotFoundError: There are none.
        """


class Workspaces(Protocol):
    """Isolated places to work: a local sandbox, or a cluster."""

    def start(self, plan: WorkspacePlan) -> ClosureReport:
        """Raise an empty workspace and have a probe inside it try to get out.

        Raises:
            IsolationUnavailableError: This machine cannot isolate; nothing was started.
        """

    def release(self, tunnel: str, volumes: Sequence[Volume]) -> Sequence[MountProof]:
        """Let the data in, read-only, and the person's programs start."""

    def wait_ready(self, tunnel: str, timeout: float) -> str:
        """Return the address of the workspace's socket once it answers."""

    def stop(self, tunnel: str) -> EndRecord:
        """Destroy the workspace and return what is left of it; may be repeated."""

    def status(self, tunnel: str) -> Alive | EndRecord | None:
        """Return what is known of the workspace of ``tunnel``; ``None`` if there never was one here."""


class Vault(Protocol):
    """The datasets' bytes."""

    def materialise(self, grant: Grant) -> Volume:
        """Return a folder that holds exactly what ``grant`` opens: that version, those variables.

        Raises:
            IntegrityError: The files are not those that were catalogued.
            UnsafeFileError: A file is a link or a device, or climbs out of its folder.
        """


class Hub(Protocol):
    """JupyterHub, which spawns by asking us."""

    def start(self, tunnel: Tunnel) -> None:
        """Have the hub spawn the tunnel's server; returns when it is ready."""

    def stop(self, tunnel: Tunnel) -> None:
        """Have the hub stop and forget the tunnel's server; may be repeated."""


class Gate(Protocol):
    """The gateway's control socket."""

    def cut(self, tunnel: str, reason: str) -> int:
        """Close every socket of the tunnel at once and return how many there were."""


class Inspection(Protocol):
    """What an inspector says of one file."""

    @property
    def kind(self) -> str:
        """What it is, by its bytes."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, gravest first."""

    @property
    def rebuilt(self) -> bytes:
        """The only bytes that may leave; empty if the file was refused."""

    @property
    def rebuilt_name(self) -> str:
        """Name of those."""

    @property
    def media_type(self) -> str:
        """Media type of those."""

    @property
    def summary(self) -> dict[str, Plain]:
        """Plain values about it, such as its rows and columns."""

    @property
    def text(self) -> str:
        """The findings as a reviewer reads them."""

    @property
    def blocked(self) -> bool:
        """Whether a finding forbids release."""


class Inspector(Protocol):
    """Checks and rebuilds a hostile file, in isolation."""

    def inspect(self, name: str, data: bytes, manifest: Mapping[str, Plain], profile: Mapping[str, Plain]) -> Inspection:
        """Return what was found and the rebuilt file."""

    def compare(self, files: Sequence[tuple[str, bytes, Plain]], profile: Mapping[str, Plain]) -> tuple[Finding, ...]:
        """Return what tables (name, rebuilt bytes, manifest entry) give away of each other."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a flow may use."""

    clock: Clock
    policy: Policy
    store: Store
    signer: Signer
    blobs: Blobs
    archive: Archive
