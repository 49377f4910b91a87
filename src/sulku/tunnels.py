"""A tunnel: one person's isolated workspace under one permit, with a deadline that it cannot outlive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from sulku.errors import RuleError
from sulku.events import Event, Happened, event
from sulku.machine import Machine
from sulku.permits import Permit, require_live

LEAST_MINUTES: Final = 1


class State(StrEnum):
    """Where a tunnel stands."""

    NEW = "new"
    REQUESTED = "requested"
    PROVED = "proved"  # closed to the outside, shown from inside; data may come in
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Move(StrEnum):
    """What can be done to a tunnel."""

    REQUEST = "request"
    PROVE = "prove"
    OPEN = "open"
    CLOSE = "close"
    END = "end"


MACHINE: Final = Machine(
    "tunnel",
    State.NEW,
    {
        (State.NEW, Move.REQUEST): State.REQUESTED,
        (State.REQUESTED, Move.PROVE): State.PROVED,
        (State.PROVED, Move.OPEN): State.OPEN,
        (State.REQUESTED, Move.CLOSE): State.CLOSING,
        (State.PROVED, Move.CLOSE): State.CLOSING,
        (State.OPEN, Move.CLOSE): State.CLOSING,
        (State.CLOSING, Move.END): State.CLOSED,
    },
)
LIVE: Final = frozenset({State.REQUESTED, State.PROVED, State.OPEN})


class Cause(StrEnum):
    """Why a tunnel ended."""

    DEADLINE = "deadline"
    PERSON = "closed-by-person"
    HALT = "halted-by-steward"
    PERMIT = "permit-ended"
    LEFT = "person-left"
    NOT_CLOSED = "closure-not-proved"
    FAILED = "could-not-open"
    LOST = "workspace-lost"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The fold of a tunnel's events.

    Attributes:
        permit_version: The permit's version when it opened; a change of permit closes the tunnel.
        epoch: Moves on suspension, sign-out and every ending; sessions of an older epoch are dead.
        deadline: The moment it ends, whatever happens; never moved later.
        opened_by: The decision under which it was requested; carries the authority to end it.
        closure: SHA-256 (hex) of the closure probe's report.
        budget: Bytes that may still be leased for showing things to the person.
        leased: Bytes leased so far.
        detail: What was said when it was halted; its person reads it.
    """

    id: str
    version: int = 0
    state: State = MACHINE.start
    permit: str = ""
    permit_version: int = 0
    person: str = ""
    epoch: int = 0
    minutes: int = 0
    requested_at: datetime | None = None
    deadline: datetime | None = None
    opened_at: datetime | None = None
    ended_at: datetime | None = None
    opened_by: str = ""
    closure: str = ""
    budget: int = 0
    leased: int = 0
    cause: Cause | None = None
    detail: str = ""


@event("tunnel.requested")
@dataclass(frozen=True, slots=True)
class Requested(Event):
    """Policy cleared a tunnel; nothing runs yet."""

    permit: str
    permit_version: int
    person: str
    minutes: int
    at: datetime
    deadline: datetime
    budget: int
    opened_by: str


@event("tunnel.closure-proved")
@dataclass(frozen=True, slots=True)
class ClosureProved(Event):
    """A probe inside tried ``attempts`` ways out, all failed, while as many controls outside succeeded."""

    attempts: int
    controls: int
    report: str  # SHA-256 (hex)


@event("tunnel.opened")
@dataclass(frozen=True, slots=True)
class Opened(Event):
    """The workspace answers."""

    at: datetime


@event("tunnel.entry-granted")
@dataclass(frozen=True, slots=True)
class EntryGranted(Event):
    """A single-use ticket was given. ``ticket`` is its digest, ``nonce`` that of the browser's cookie."""

    ticket: str
    nonce: str
    expires: datetime
    epoch: int
    person: str


@event("tunnel.entered", stateless=True)
@dataclass(frozen=True, slots=True)
class Entered(Event):
    """The ticket was used at the gateway."""

    ticket: str
    epoch: int


@event("tunnel.left", ending=True)
@dataclass(frozen=True, slots=True)
class Left(Event):
    """Its person signed out: every session inside is dead; they may enter again by a new ticket."""

    at: datetime


@event("tunnel.budget-leased")
@dataclass(frozen=True, slots=True)
class BudgetLeased(Event):
    """A slice of the egress budget went to a gateway, before the bytes flow."""

    bytes: int
    spent: int


@event("tunnel.budget-topped-up", private=("reason",))
@dataclass(frozen=True, slots=True)
class ToppedUp(Event):
    """A steward added to the egress budget."""

    bytes: int
    reason: str


@event("tunnel.code-executed", private=("code",), stateless=True)
@dataclass(frozen=True, slots=True)
class CodeExecuted(Event):
    """The person ran this in a kernel."""

    code: str
    kernel: str


@event("tunnel.closing", private=("reason",), ending=True)
@dataclass(frozen=True, slots=True)
class Closing(Event):
    """The tunnel is over: no entry from this record on; the effects follow. ``reason`` is what a steward who halted it said."""

    cause: Cause
    at: datetime
    reason: str = ""


@event("tunnel.ended", private=("detail",), ending=True)
@dataclass(frozen=True, slots=True)
class Ended(Event):
    """What was destroyed, as found afterwards: processes left, mounts left, and which clock ended it."""

    at: datetime
    processes_left: int
    mounts_left: int
    clock: str
    detail: str


@event("ledger.stray-ended", private=("detail",), stateless=True)
@dataclass(frozen=True, slots=True)
class StrayEnded(Event):
    """A workspace was found of whose tunnel there is no record, and ended: the backup is older than it, or somebody else made it."""

    tunnel: str
    at: datetime
    processes_left: int
    mounts_left: int
    clock: str
    detail: str


@dataclass(frozen=True, slots=True)
class Open:
    """Ask for a tunnel of ``minutes``."""

    ACTION: ClassVar[str] = "tunnel.open"
    permit: str
    minutes: int


@dataclass(frozen=True, slots=True)
class Enter:
    """Ask for a ticket, bound to a browser's nonce (SHA-256, hex)."""

    ACTION: ClassVar[str] = "tunnel.enter"
    nonce: str


@dataclass(frozen=True, slots=True)
class TopUp:
    """Add to the egress budget."""

    ACTION: ClassVar[str] = "tunnel.top-up"
    bytes: int
    reason: str


def request(tunnel: str, command: Open, permit: Permit, person: str, live: int, leased: int, *, decision: str, at: datetime) -> Happened:
    """Return the event that begins a tunnel.

    Args:
        live: Tunnels of this person under this permit that are live now.
        leased: Bytes of egress that this person has used under this permit in earlier tunnels.

    Raises:
        PermitNotLiveError: The permit does not hold now.
        RuleError: Too many at once, a time out of range, past the permit's end, or the person is not on it.
    """
    paper = require_live(permit, at)
    if person not in paper.people:
        raise RuleError("not-on-permit", "you are not on this permit", "Ask the applicant to have it amended.")
    if not LEAST_MINUTES <= command.minutes <= paper.limits.minutes:
        raise RuleError("minutes", f"a tunnel lasts {LEAST_MINUTES} to {paper.limits.minutes} minutes", "Ask for a time in that range.")
    if live >= paper.limits.at_once:
        raise RuleError("too-many-tunnels", "you have a tunnel under this permit", "Enter it, or close it first.")
    deadline = at + timedelta(minutes=command.minutes)
    if deadline > paper.ends:
        left = int((paper.ends - at).total_seconds() // 60)
        raise RuleError("beyond-permit", "the tunnel would outlive its permit", f"At most {left} minutes are left.")
    budget = max(0, paper.limits.egress - leased)
    return Happened(
        tunnel, Requested(permit.id, permit.version, person, command.minutes, at, deadline, budget, decision)
    )


def require_enterable(tunnel: Tunnel, at: datetime) -> None:
    """Require that people may be inside at ``at``.

    Raises:
        RuleError: It is not open (yet, or any more), or its deadline has passed.
    """
    if tunnel.state is not State.OPEN or tunnel.deadline is None or at >= tunnel.deadline:
        raise RuleError("tunnel-not-open", f"the tunnel is {tunnel.state}", "Open a new one from its permit.")


def close(tunnel: Tunnel, cause: Cause, at: datetime, reason: str = "") -> tuple[Happened, ...]:
    """Return the end of ``tunnel``; nothing if it is ending already, so that any clock may call it at any time."""
    if tunnel.state not in LIVE:
        return ()
    return (Happened(tunnel.id, Closing(cause, at, reason)),)


def evolve(tunnel: Tunnel, happened: Event) -> Tunnel:
    """Return ``tunnel`` as it stands after ``happened``; total on history."""
    after = replace(tunnel, version=tunnel.version + 1)
    match happened:
        case Requested():
            return replace(
                after,
                state=State.REQUESTED,
                permit=happened.permit,
                permit_version=happened.permit_version,
                person=happened.person,
                minutes=happened.minutes,
                requested_at=happened.at,
                deadline=happened.deadline,
                budget=happened.budget,
                opened_by=happened.opened_by,
                epoch=1,
            )
        case ClosureProved(_, _, report):
            return replace(after, state=State.PROVED, closure=report)
        case Opened(at):
            return replace(after, state=State.OPEN, opened_at=at)
        case Left():
            return replace(after, epoch=tunnel.epoch + 1)
        case BudgetLeased(size):
            return replace(after, budget=tunnel.budget - size, leased=tunnel.leased + size)
        case ToppedUp(size):
            return replace(after, budget=tunnel.budget + size)
        case Closing(cause, _, reason):
            return replace(after, state=State.CLOSING, cause=cause, detail=reason, epoch=tunnel.epoch + 1)
        case Ended(at):
            return replace(after, state=State.CLOSED, ended_at=at)
        case _:
            return after
