"""A release: outputs under review. Two blind verdicts by others, a consolidation, a decision, and a signed delivery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from sulku.errors import InvalidInputError, RuleError, StaleError
from sulku.events import Event, Happened, event
from sulku.machine import Machine
from sulku.reviews import Item, Mark, Reason, Review, Verdict, digest
from sulku.texts import clean

__all__ = ["Item", "Mark", "Reason", "Review", "Verdict", "digest"]  # a release is read together with its reviews

QUORUM: Final = 2  # independent reviewers
SCHEMA: Final = "sulku-release/1"


class State(StrEnum):
    """Where a release stands."""

    NEW = "new"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    APPROVED = "approved"
    RELEASED = "released"
    WITHDRAWN = "withdrawn"


class Move(StrEnum):
    """What can be done to a release."""

    SUBMIT = "submit"
    JUDGE = "judge"
    RETRACT = "retract"
    RETURN = "return"
    APPROVE = "approve"
    DELIVER = "deliver"
    WITHDRAW = "withdraw"


MACHINE: Final = Machine(
    "release",
    State.NEW,
    {
        (State.NEW, Move.SUBMIT): State.SUBMITTED,
        (State.SUBMITTED, Move.JUDGE): State.SUBMITTED,
        (State.SUBMITTED, Move.RETRACT): State.SUBMITTED,
        (State.SUBMITTED, Move.RETURN): State.RETURNED,
        (State.SUBMITTED, Move.APPROVE): State.APPROVED,
        (State.SUBMITTED, Move.WITHDRAW): State.WITHDRAWN,
        (State.RETURNED, Move.SUBMIT): State.SUBMITTED,
        (State.RETURNED, Move.WITHDRAW): State.WITHDRAWN,
        (State.APPROVED, Move.DELIVER): State.RELEASED,
    },
)


class Phase(StrEnum):
    """How far the present round of review is; decides who may see which verdict."""

    INDEPENDENT = "independent"
    CONSOLIDATING = "consolidating"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Release:
    """The fold of a release's events.

    Attributes:
        author: Who submitted; ``people`` are all on the permit, and none of them may judge.
        reviews: Of this round, in the order they came; hidden from each other until ``QUORUM`` are in.
        envelope: The signed manifest, once delivered.
        compared: The digest of the items that were last compared with each other; nobody judges before that.
        findings: What that comparison found, such as one table giving another's hidden cell away.
    """

    id: str
    version: int = 0
    state: State = MACHINE.start
    author: str = ""
    people: tuple[str, ...] = ()
    organisation: str = ""
    permit: str = ""
    tunnel: str = ""
    title: str = ""
    context: str = ""
    round: int = 0
    items: tuple[Item, ...] = ()
    reviews: tuple[Review, ...] = ()
    points: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    submitted_at: datetime | None = None
    decided_by: tuple[str, ...] = ()
    decided_at: datetime | None = None
    envelope: str = ""
    compared: str = ""
    findings: tuple[dict[str, Any], ...] = ()

    @property
    def phase(self) -> Phase:
        """How far the present round is."""
        if self.state is not State.SUBMITTED:
            return Phase.COMPLETE
        return Phase.CONSOLIDATING if len(self.reviews) >= QUORUM else Phase.INDEPENDENT


@event("release.submitted", private=("title", "context", "items"))
@dataclass(frozen=True, slots=True)
class Submitted(Event):
    """Outputs were put under review. ``digest`` is over the items."""

    author: str
    people: tuple[str, ...]
    organisation: str
    permit: str
    tunnel: str
    title: str
    context: str
    items: tuple[Item, ...]
    digest: str
    round: int
    at: datetime


@event("release.item-rebuilt")
@dataclass(frozen=True, slots=True)
class ItemRebuilt(Event):
    """The automatic checks are through with one output of it."""

    output: str
    rebuilt: str
    blocked: bool


@event("release.compared", private=("findings",))
@dataclass(frozen=True, slots=True)
class Compared(Event):
    """Its files were looked at together; ``digest`` is over the items as they were then."""

    digest: str
    findings: tuple[dict[str, Any], ...]


@event("release.reviewed", private=("marks",))
@dataclass(frozen=True, slots=True)
class Reviewed(Event):
    """One reviewer gave their verdict; the ledger shows that, and for whom it was, not yet what."""

    by: str
    marks: tuple[Mark, ...]
    at: datetime


@event("release.review-retracted")
@dataclass(frozen=True, slots=True)
class Retracted(Event):
    """One reviewer took their verdict back before the consolidation."""

    by: str


@event("release.returned", private=("points",))
@dataclass(frozen=True, slots=True)
class Returned(Event):
    """The author is asked to change it; ``reasons`` are coded."""

    by: str
    reasons: tuple[Reason, ...]
    points: tuple[str, ...]
    at: datetime


@event("release.approved")
@dataclass(frozen=True, slots=True)
class Approved(Event):
    """Two others found every file safe; ``digest`` is over the items as they were judged."""

    by: tuple[str, ...]
    consolidated_by: str
    digest: str
    at: datetime


@event("release.delivered", private=("envelope",))
@dataclass(frozen=True, slots=True)
class Delivered(Event):
    """The rebuilt files are at the pick-up, with a signed manifest; ``sha256`` is of its payload."""

    envelope: str
    sha256: str
    outputs: tuple[str, ...]
    at: datetime


@event("release.fetched", stateless=True)
@dataclass(frozen=True, slots=True)
class Fetched(Event):
    """A person on the permit took a file out."""

    by: str
    output: str
    rebuilt: str


@event("release.withdrawn")
@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """The author took it back."""

    by: str


@dataclass(frozen=True, slots=True)
class Submit:
    """Put outputs under review, or answer a return with corrected ones."""

    ACTION: ClassVar[str] = "release.submit"
    title: str
    context: str
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """Give your verdict on every file."""

    ACTION: ClassVar[str] = "release.judge"
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Retract:
    """Take your own verdict back before the consolidation."""

    ACTION: ClassVar[str] = "release.retract"


@dataclass(frozen=True, slots=True)
class Consolidate:
    """Close the round: let it out, or return it with points."""

    ACTION: ClassVar[str] = "release.consolidate"
    release: bool
    points: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the release back."""

    ACTION: ClassVar[str] = "release.withdraw"


Command = Judge | Retract | Consolidate | Withdraw


def decide(release: Release, command: Command, by: str, at: datetime) -> tuple[Happened, ...]:
    """Return what happens if ``by`` gives ``command``; change nothing.

    Raises:
        IllegalMoveError: The lifecycle has no such step now.
        InvalidInputError: A mark is missing or doubled, or a change has no reason.
        RuleError: Self-review, a second verdict, a blocked file, no quorum, or a dissent.
        StaleError: A file is not the one that was looked at.
    """

    def one(happened: Event) -> tuple[Happened, ...]:
        return (Happened(release.id, happened),)

    match command:
        case Judge(marks):
            MACHINE.after(release.state, Move.JUDGE)
            _require_other(release, by)
            if by in {review.by for review in release.reviews}:
                raise RuleError("judged-already", "you have given your verdict", "Retract it first if you changed your mind.")
            _require_marks(release, marks)
            return one(Reviewed(by, marks, at))
        case Retract():
            MACHINE.after(release.state, Move.RETRACT)
            if by not in {review.by for review in release.reviews}:
                raise RuleError("no-verdict", "you have given no verdict in this round")
            if release.phase is not Phase.INDEPENDENT:
                raise RuleError("consolidating", "both verdicts are open now", "Say it in the consolidation instead.")
            return one(Retracted(by))
        case Consolidate():
            return one(_consolidate(release, command, by, at))
        case Withdraw():
            MACHINE.after(release.state, Move.WITHDRAW)
            return one(Withdrawn(by))


def _require_other(release: Release, by: str) -> None:
    if by == release.author or by in release.people:
        raise RuleError("self-review", "nobody judges outputs of a permit that names them", "Leave it to another steward.")


def _require_marks(release: Release, marks: tuple[Mark, ...]) -> None:
    if any(item.blocked is None for item in release.items) or release.compared != digest(release.items):
        raise RuleError("not-inspected", "the automatic checks are not through", "Wait a few seconds and read the page again.")
    by_output = {mark.output: mark for mark in marks}
    if len(by_output) != len(marks) or set(by_output) != {item.output for item in release.items}:
        raise InvalidInputError("judge every file once", fields=[("marks", "One verdict for each file")])
    for item in release.items:
        mark = by_output[item.output]
        if mark.rebuilt != item.rebuilt:
            raise StaleError(f"{item.name} is not the file that you looked at")
        if mark.verdict is Verdict.APPROVE and item.blocked is not False:
            raise RuleError("blocked", f"{item.name} has a finding that forbids release", "Ask for a change, with its reason.")
        if mark.verdict is Verdict.CHANGE and mark.reason is None:
            raise InvalidInputError("a change needs a reason", fields=[(f"marks.{item.name}", "Choose a reason")])
        clean(mark.comment)


def _consolidate(release: Release, command: Consolidate, by: str, at: datetime) -> Event:
    MACHINE.after(release.state, Move.APPROVE if command.release else Move.RETURN)
    _require_other(release, by)
    if release.phase is Phase.INDEPENDENT:
        raise RuleError("no-quorum", f"{len(release.reviews)} of {QUORUM} verdicts are in", "Wait for the other reviewer.")
    if by not in {review.by for review in release.reviews}:
        raise RuleError("not-a-reviewer", "only those who reviewed it consolidate", "Leave it to its reviewers.")
    if command.release:
        if not all(review.approves for review in release.reviews):
            raise RuleError("dissent", "a reviewer asks for changes", "Return it, with what to change.")
        together = any(finding.get("severity") == "block" for finding in release.findings)
        if together or any(item.blocked is not False for item in release.items):
            raise RuleError("blocked", "a file has a finding that forbids release", "Return it.")
        return Approved(tuple(review.by for review in release.reviews), by, digest(release.items), at)
    points = tuple(filter(None, (clean(point, most=1000) for point in command.points)))
    if not points:
        raise InvalidInputError("nothing to change", fields=[("points", "Say at least one thing to change")])
    reasons = {mark.reason for review in release.reviews for mark in review.marks if mark.reason}
    return Returned(by, tuple(sorted(reasons)), points, at)


def evolve(release: Release, happened: Event) -> Release:
    """Return ``release`` as it stands after ``happened``; total on history."""
    after = replace(release, version=release.version + 1)
    match happened:
        case Submitted():
            return replace(
                after,
                state=State.SUBMITTED,
                author=happened.author,
                people=happened.people,
                organisation=happened.organisation,
                permit=happened.permit,
                tunnel=happened.tunnel,
                title=happened.title,
                context=happened.context,
                items=happened.items,
                round=happened.round,
                submitted_at=happened.at,
                reviews=(),
                points=(),
                reasons=(),
                compared="",
                findings=(),
            )
        case ItemRebuilt(output, rebuilt, blocked):
            items = tuple(
                replace(item, rebuilt=rebuilt, blocked=blocked) if item.output == output else item for item in release.items
            )
            return replace(after, items=items, reviews=())  # a verdict on other bytes is no verdict
        case Compared(compared, findings):
            return replace(after, compared=compared, findings=findings)
        case Reviewed(by, marks, at):
            return replace(after, reviews=(*release.reviews, Review(by, marks, at)))
        case Retracted(by):
            return replace(after, reviews=tuple(review for review in release.reviews if review.by != by))
        case Returned(by, reasons, points, at):
            return replace(after, state=State.RETURNED, reasons=reasons, points=points, decided_by=(by,), decided_at=at)
        case Approved(by, _, _, at):
            return replace(after, state=State.APPROVED, decided_by=by, decided_at=at)
        case Delivered(envelope):
            return replace(after, state=State.RELEASED, envelope=envelope)
        case Withdrawn():
            return replace(after, state=State.WITHDRAWN)
        case _:
            return after


def blind(release: Release, viewer: str, *, reviewer: bool) -> Release:
    """Return ``release`` as ``viewer`` may see it: others' verdicts are hidden until the round's quorum is in.

    Args:
        reviewer: Whether the viewer reads as a steward; an author never sees reviews, only the points and reasons.
    """
    if release.phase is Phase.INDEPENDENT:
        return replace(release, reviews=tuple(review for review in release.reviews if reviewer and review.by == viewer))
    return release if reviewer else replace(release, reviews=())
