"""An application: who wants which data for what, and the judgement of two stewards without a conflict of interest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from sulku import forms
from sulku.errors import InvalidInputError, RuleError
from sulku.events import Event, Happened, event
from sulku.forms import Form
from sulku.machine import Machine
from sulku.texts import clean

QUORUM: Final = 2  # distinct stewards who approve; a dissent blocks


class State(StrEnum):
    """Where an application stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Move(StrEnum):
    """What can be done to an application."""

    EDIT = "edit"
    SUBMIT = "submit"
    JUDGE = "judge"
    RETRACT = "retract"
    DECLARE = "declare"
    RETURN = "return"
    APPROVE = "approve"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"


MACHINE: Final = Machine(
    "application",
    State.DRAFT,
    {
        (State.DRAFT, Move.EDIT): State.DRAFT,
        (State.DRAFT, Move.SUBMIT): State.SUBMITTED,
        (State.DRAFT, Move.WITHDRAW): State.WITHDRAWN,
        (State.SUBMITTED, Move.JUDGE): State.SUBMITTED,
        (State.SUBMITTED, Move.RETRACT): State.SUBMITTED,
        (State.SUBMITTED, Move.DECLARE): State.SUBMITTED,
        (State.SUBMITTED, Move.RETURN): State.RETURNED,
        (State.SUBMITTED, Move.APPROVE): State.APPROVED,
        (State.SUBMITTED, Move.REFUSE): State.REFUSED,
        (State.SUBMITTED, Move.WITHDRAW): State.WITHDRAWN,
        (State.RETURNED, Move.EDIT): State.RETURNED,
        (State.RETURNED, Move.SUBMIT): State.SUBMITTED,
        (State.RETURNED, Move.WITHDRAW): State.WITHDRAWN,
    },
)


class Verdict(StrEnum):
    """What one steward says."""

    APPROVE = "approve"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One steward's verdict in the present round; ``reason`` is shown to the applicant once decided."""

    by: str
    verdict: Verdict
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Application:
    """The fold of an application's events. ``conflicts`` are stewards who declared an interest; ``points`` what to correct."""

    id: str
    version: int = 0
    state: State = MACHINE.start
    applicant: str = ""
    organisation: str = ""
    form: Form = Form()
    round: int = 0
    judgements: tuple[Judgement, ...] = ()
    conflicts: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    submitted_at: datetime | None = None
    decided_at: datetime | None = None
    permit: str = ""


@event("application.drafted", private=("form",))
@dataclass(frozen=True, slots=True)
class Drafted(Event):
    """Somebody began an application, or saved its answers."""

    applicant: str
    organisation: str
    form: Form


@event("application.submitted", private=("form",))
@dataclass(frozen=True, slots=True)
class Submitted(Event):
    """The answers were sent to the stewards, frozen as they stand."""

    form: Form
    round: int
    at: datetime


@event("application.judged", private=("reason",))
@dataclass(frozen=True, slots=True)
class Judged(Event):
    """One steward gave a verdict."""

    by: str
    verdict: Verdict
    reason: str
    at: datetime


@event("application.judgement-retracted")
@dataclass(frozen=True, slots=True)
class Retracted(Event):
    """One steward took their verdict back before the decision."""

    by: str


@event("application.conflict-declared", private=("reason",))
@dataclass(frozen=True, slots=True)
class ConflictDeclared(Event):
    """One steward declared an interest and is out of this application for good."""

    by: str
    reason: str


@event("application.returned", private=("points",))
@dataclass(frozen=True, slots=True)
class Returned(Event):
    """The applicant is asked to correct these points."""

    by: str
    points: tuple[str, ...]


@event("application.decided")
@dataclass(frozen=True, slots=True)
class Decided(Event):
    """The stewards have decided. ``permit`` is the document that an approval gives; empty on refusal."""

    verdict: Verdict
    by: tuple[str, ...]
    permit: str
    at: datetime


@event("application.withdrawn")
@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """The applicant took it back."""

    by: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Begin an application or save its answers."""

    ACTION: ClassVar[str] = "application.draft"
    form: Form


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the application to the stewards."""

    ACTION: ClassVar[str] = "application.submit"


@dataclass(frozen=True, slots=True)
class Judge:
    """Approve or refuse, as one of two."""

    ACTION: ClassVar[str] = "application.judge"
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retract:
    """Take your own verdict back."""

    ACTION: ClassVar[str] = "application.retract"


@dataclass(frozen=True, slots=True)
class Declare:
    """Declare a conflict of interest."""

    ACTION: ClassVar[str] = "application.declare"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Return:
    """Ask the applicant to correct points."""

    ACTION: ClassVar[str] = "application.return"
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the application back."""

    ACTION: ClassVar[str] = "application.withdraw"


Command = Draft | Submit | Judge | Retract | Declare | Return | Withdraw


def decide(application: Application, command: Command, by: str, organisation: str, permit: str, at: datetime) -> tuple[Happened, ...]:
    """Return what happens if ``by`` gives ``command``; change nothing.

    Args:
        organisation: Of ``by``; kept with a new draft.
        permit: A fresh identifier, used if this verdict makes the quorum of approvals.

    Raises:
        IllegalMoveError: The lifecycle has no such step now.
        InvalidInputError: The form is not complete, or a text is unsafe.
        RuleError: A person judged twice, judged their own, or retracted nothing.
    """

    def one(*happened: Event) -> tuple[Happened, ...]:
        return tuple(Happened(application.id, each) for each in happened)

    match command:
        case Draft(form):
            MACHINE.after(application.state, Move.EDIT)
            return one(Drafted(application.applicant or by, application.organisation or organisation, form))
        case Submit():
            MACHINE.after(application.state, Move.SUBMIT)
            forms.require_complete(application.form)
            return one(Submitted(application.form, application.round + 1, at))
        case Judge(verdict, reason):
            return one(*_judge(application, Judged(by, verdict, clean(reason), at), permit))
        case Retract():
            MACHINE.after(application.state, Move.RETRACT)
            if by not in {judgement.by for judgement in application.judgements}:
                raise RuleError("no-verdict", "you have given no verdict in this round")
            return one(Retracted(by))
        case Declare(reason):
            MACHINE.after(application.state, Move.DECLARE)
            return one(ConflictDeclared(by, clean(reason)))
        case Return(points):
            MACHINE.after(application.state, Move.RETURN)
            kept = tuple(filter(None, (clean(point, most=1000) for point in points)))
            if not kept:
                raise InvalidInputError("nothing to correct", fields=[("points", "Say at least one thing to correct")])
            return one(Returned(by, kept))
        case Withdraw():
            MACHINE.after(application.state, Move.WITHDRAW)
            return one(Withdrawn(by))


def _judge(application: Application, judged: Judged, permit: str) -> tuple[Event, ...]:
    MACHINE.after(application.state, Move.JUDGE)
    by = judged.by
    if by == application.applicant or by in application.form.people:
        raise RuleError("own-application", "nobody judges an application that names them", "Leave it to another steward.")
    if by in application.conflicts:
        raise RuleError("conflict-declared", "you declared a conflict of interest", "Leave it to another steward.")
    if by in {judgement.by for judgement in application.judgements}:
        raise RuleError("judged-already", "you have given your verdict", "Retract it first if you changed your mind.")
    if judged.verdict is Verdict.REFUSE and len(judged.reason) < 10:
        raise InvalidInputError("a refusal needs a reason", fields=[("reason", "Give at least 10 characters")])
    verdicts = {judgement.by: judgement.verdict for judgement in application.judgements} | {by: judged.verdict}
    if len(verdicts) < QUORUM or len(set(verdicts.values())) > 1:
        return (judged,)
    approved = judged.verdict is Verdict.APPROVE
    return (judged, Decided(judged.verdict, tuple(sorted(verdicts)), permit if approved else "", judged.at))


def evolve(application: Application, happened: Event) -> Application:
    """Return ``application`` as it stands after ``happened``; total on history."""
    after = replace(application, version=application.version + 1)
    match happened:
        case Drafted(applicant, organisation, form):
            return replace(after, applicant=applicant, organisation=organisation, form=form)
        case Submitted(form, round_, at):
            return replace(
                after, state=State.SUBMITTED, form=form, round=round_, judgements=(), points=(), submitted_at=at
            )
        case Judged(by, verdict, reason, at):
            return replace(after, judgements=(*application.judgements, Judgement(by, verdict, reason, at)))
        case Retracted(by):
            return replace(after, judgements=tuple(one for one in application.judgements if one.by != by))
        case ConflictDeclared(by):
            kept = tuple(one for one in application.judgements if one.by != by)
            return replace(after, conflicts=(*application.conflicts, by), judgements=kept)
        case Returned(_, points):
            return replace(after, state=State.RETURNED, points=points, judgements=())
        case Decided(verdict, _, permit, at):
            state = State.APPROVED if verdict is Verdict.APPROVE else State.REFUSED
            return replace(after, state=state, permit=permit, decided_at=at)
        case Withdrawn():
            return replace(after, state=State.WITHDRAWN)
        case _:
            return after
