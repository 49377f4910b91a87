"""A permit: what an approval gives. A signed, versioned document; everything that a tunnel may do is compiled from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from sulku.applications import Application
from sulku.codec import Plain, plain, stamp, typed
from sulku.datasets import Dataset, edition
from sulku.errors import InvalidInputError, PermitNotLiveError, RuleError
from sulku.events import Event, Happened, event
from sulku.forms import Wanted
from sulku.machine import Machine

SCHEMA: Final = "sulku-permit/1"


class State(StrEnum):
    """Where a permit stands; whether it is *live* also depends on the time."""

    NEW = "new"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


OVER: Final = frozenset({State.REVOKED, State.EXPIRED})  # for good; after a supersession, work goes on under the next permit


class Move(StrEnum):
    """What can be done to a permit."""

    ISSUE = "issue"
    SUSPEND = "suspend"
    RESUME = "resume"
    REVOKE = "revoke"
    SUPERSEDE = "supersede"
    EXPIRE = "expire"


MACHINE: Final = Machine(
    "permit",
    State.NEW,
    {
        (State.NEW, Move.ISSUE): State.ACTIVE,
        (State.ACTIVE, Move.SUSPEND): State.SUSPENDED,
        (State.SUSPENDED, Move.RESUME): State.ACTIVE,
        (State.ACTIVE, Move.REVOKE): State.REVOKED,
        (State.SUSPENDED, Move.REVOKE): State.REVOKED,
        (State.ACTIVE, Move.SUPERSEDE): State.SUPERSEDED,
        (State.SUSPENDED, Move.SUPERSEDE): State.SUPERSEDED,
        (State.ACTIVE, Move.EXPIRE): State.EXPIRED,
        (State.SUSPENDED, Move.EXPIRE): State.EXPIRED,
    },
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What each tunnel may use at most: minutes, tunnels at once a person, bytes shown a person, bytes of home."""

    minutes: int = 480
    at_once: int = 1
    egress: int = 200 * 2**20
    home: int = 512 * 2**20
    memory: int = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Grant:
    """One dataset version that the permit opens: only these variables, only these bytes."""

    dataset: str
    name: str
    version: str
    digest: str
    variables: tuple[str, ...]
    sensitivity: str


@dataclass(frozen=True, slots=True)
class Document:
    """The signed paper, as it is outside (JSON Schema: ``docs/reference/permit.schema.json``).

    Attributes:
        schema: ``SCHEMA``.
        revision: 1, 2, …; a higher one of the same ``id`` supersedes.
        starts: First moment it holds (UTC).
        ends: First moment it no longer holds (UTC).
        approved_by: The stewards who decided, by id.
        checkpoint: The ledger's latest checkpoint at issue, so that rewriting history contradicts papers that others hold.
    """

    schema: str
    id: str
    revision: int
    application: str
    title: str
    purpose: str
    organisation: str
    people: tuple[str, ...]
    grants: tuple[Grant, ...]
    starts: datetime
    ends: datetime
    limits: Limits
    profile: str
    approved_by: tuple[str, ...]
    issued: datetime
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Permit:
    """The fold of a permit's events. ``envelope`` is the signed document as it was issued."""

    id: str
    version: int = 0
    state: State = MACHINE.start
    document: Document | None = None
    envelope: str = ""
    reason: str = ""

    @property
    def paper(self) -> Document:
        """Return the document.

        Raises:
            InvalidInputError: The permit was never issued.
        """
        if self.document is None:
            raise InvalidInputError(f"{self.id} was never issued")
        return self.document


@event("permit.issued", private=("document", "envelope"))
@dataclass(frozen=True, slots=True)
class Issued(Event):
    """A permit was signed. ``sha256`` (``sha256:…``) is of the signed payload; the ledger holds it in the open."""

    document: Document
    envelope: str
    sha256: str
    revision: int
    application: str


@event("permit.suspended", private=("reason",))
@dataclass(frozen=True, slots=True)
class Suspended(Event):
    """No new tunnel; live ones are closed."""

    reason: str


@event("permit.resumed")
@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """A suspension ended."""


@event("permit.revoked", private=("reason",))
@dataclass(frozen=True, slots=True)
class Revoked(Event):
    """It ended for good before its time."""

    reason: str


@event("permit.superseded")
@dataclass(frozen=True, slots=True)
class Superseded(Event):
    """A later permit took its place."""

    by: str


@event("permit.expired", ending=True)
@dataclass(frozen=True, slots=True)
class Expired(Event):
    """Its last day has passed."""

    at: datetime


@event("permit.homes-wiped", ending=True, stateless=True)
@dataclass(frozen=True, slots=True)
class HomesWiped(Event):
    """What people had kept in their tunnels under it was destroyed, after the last of those had ended."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Suspend:
    """Stop all work under a permit for now."""

    ACTION: ClassVar[str] = "permit.suspend"
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """End a suspension."""

    ACTION: ClassVar[str] = "permit.resume"


@dataclass(frozen=True, slots=True)
class Revoke:
    """End a permit for good."""

    ACTION: ClassVar[str] = "permit.revoke"
    reason: str


Command = Suspend | Resume | Revoke


def write(
    application: Application, permit: str, datasets: dict[str, Dataset], approved_by: tuple[str, ...], *, at: datetime, checkpoint: str, profile: str = "default"
) -> Document:
    """Write the paper that an approved application gives, with the standard limits and disclosure ``profile``.

    Raises:
        NotFoundError: A dataset version is gone.
        InvalidInputError: The form's dates are not dates.
    """
    form = application.form
    grants = tuple(_grant(datasets[wanted.dataset], wanted) for wanted in form.datasets)
    return Document(
        schema=SCHEMA,
        id=permit,
        revision=1,
        application=application.id,
        title=form.title,
        purpose=form.purpose,
        organisation=application.organisation,
        people=(application.applicant, *form.people),
        grants=grants,
        starts=_midnight(form.starts),
        ends=_midnight(form.ends) + timedelta(days=1),
        limits=Limits(),
        profile=profile,
        approved_by=approved_by,
        issued=at,
        checkpoint=checkpoint,
    )


def _grant(dataset: Dataset, wanted: Wanted) -> Grant:
    known = edition(dataset, wanted.version)
    return Grant(dataset.id, dataset.name, known.version, known.digest, wanted.variables, dataset.sensitivity)


def _midnight(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time.min, UTC)
    except ValueError:
        raise InvalidInputError(f"not a date: {text[:20]!r}") from None


def read(payload: Plain) -> Document:
    """Return the document in a *verified* payload.

    Raises:
        InvalidInputError: It is of another schema or incomplete.
    """
    if not isinstance(payload, dict) or payload.get("schema") != SCHEMA:
        raise InvalidInputError("not a permit of a schema that this version knows")
    return typed(Document, payload)


def decide(permit: Permit, command: Command) -> tuple[Happened, ...]:
    """Return what happens; change nothing.

    Raises:
        IllegalMoveError: The lifecycle has no such step now.
        RuleError: A suspension or revocation without a reason.
    """
    match command:
        case Suspend(reason):
            MACHINE.after(permit.state, Move.SUSPEND)
            return (Happened(permit.id, Suspended(_reason(reason))),)
        case Resume():
            MACHINE.after(permit.state, Move.RESUME)
            return (Happened(permit.id, Resumed()),)
        case Revoke(reason):
            MACHINE.after(permit.state, Move.REVOKE)
            return (Happened(permit.id, Revoked(_reason(reason))),)


def _reason(text: str) -> str:
    if len(text.strip()) < 10:
        raise RuleError("reason-needed", "say why, in at least 10 characters", "The people on the permit will read it.")
    return text.strip()


def evolve(permit: Permit, happened: Event) -> Permit:
    """Return ``permit`` as it stands after ``happened``; total on history."""
    after = replace(permit, version=permit.version + 1)
    match happened:
        case Issued(document, envelope):
            return replace(after, state=State.ACTIVE, document=document, envelope=envelope)
        case Suspended(reason):
            return replace(after, state=State.SUSPENDED, reason=reason)
        case Resumed():
            return replace(after, state=State.ACTIVE, reason="")
        case Revoked(reason):
            return replace(after, state=State.REVOKED, reason=reason)
        case Superseded():
            return replace(after, state=State.SUPERSEDED)
        case Expired():
            return replace(after, state=State.EXPIRED)
        case _:
            return after


def require_live(permit: Permit, at: datetime) -> Document:
    """Return the paper if work under it is allowed at ``at``.

    Raises:
        PermitNotLiveError: Not issued, not yet, no longer, suspended, revoked or superseded; ``why`` says which.
    """
    if permit.state is not State.ACTIVE or permit.document is None:
        raise PermitNotLiveError(permit.id, permit.state)
    if at < permit.document.starts:
        raise PermitNotLiveError(permit.id, f"not valid before {stamp(permit.document.starts)}")
    if at >= permit.document.ends:
        raise PermitNotLiveError(permit.id, State.EXPIRED)
    return permit.document


def payload(document: Document) -> dict[str, Plain]:
    """Return the plain form that is signed."""
    return plain(document)  # type: ignore[no-any-return]
