"""People and services: who acts, in which role, and what would make it a conflict of interest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, assert_never

from sulku.errors import InvalidInputError, RuleError
from sulku.events import Event, Happened, event
from sulku.texts import clean


class Role(StrEnum):
    """What a person may act as; the value is stored."""

    RESEARCHER = "researcher"
    STEWARD = "steward"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    PUBLIC = "public"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, as the edge has authenticated them.

    Attributes:
        id: ``usr_…`` for a person, ``service:worker`` and the like for our own parts, ``public`` for nobody in particular.
        role: The one role that they act in now.
        name: For people to read; never in the ledger.
        organisation: Short name of the employer, as the directory has it.
        groups: Research groups, for conflicts of interest.
        mfa: Whether the sign-in used more than one factor.
        signed_in: When; ``None`` for services.
    """

    id: str
    role: Role
    name: str = ""
    organisation: str = ""
    groups: tuple[str, ...] = ()
    mfa: bool = False
    signed_in: datetime | None = None


PUBLIC: Final = Actor("public", Role.PUBLIC)


def service(name: str) -> Actor:
    """Return the actor for one of our own parts: ``worker``, ``gateway``, ``hub``, ``clock``, ``setup``, ``sign-in``."""
    return Actor(f"service:{name}", Role.SERVICE, name=name)


SIGN_IN: Final = service("sign-in")  # the edge that has checked what the issuer says; it binds sign-ins, and refuses others


class State(StrEnum):
    """Whether a person may act at all."""

    ACTIVE = "active"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Person:
    """One entry of the directory.

    Attributes:
        subject: ``issuer|subject`` of the OpenID Connect sign-in; unique; empty until the first sign-in binds it, and after the end.
        roles: The roles that they may choose from.
        expires: When the account ends by itself (auditors' accounts always have one).
        away_until: Absence; ``delegate`` then receives the reminders and may act in the queue.
        unbound: When a sign-in was last taken off; what was issued before counts no longer.
    """

    id: str
    version: int = 0
    state: State = State.ACTIVE
    name: str = ""
    email: str = ""
    organisation: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    subject: str = ""
    expires: datetime | None = None
    away_until: datetime | None = None
    delegate: str = ""
    unbound: datetime | None = None


def folded(email: str) -> str:
    """Return an e-mail address as it is compared: in lower case."""
    return email.lower()


@event("person.registered", private=("name", "email"))
@dataclass(frozen=True, slots=True)
class RegisteredOpenly(Event):
    """A person was entered into the directory, their sign-in readable in the ledger; no longer written."""

    name: str
    email: str
    organisation: str
    groups: tuple[str, ...]
    roles: tuple[Role, ...]
    subject: str
    expires: datetime | None


@event("person.registered", schema=2, private=("name", "email", "subject"))
@dataclass(frozen=True, slots=True)
class Registered(RegisteredOpenly):
    """A person was entered into the directory."""


@event("person.sign-in-bound", private=("subject",))
@dataclass(frozen=True, slots=True)
class SignInBound(Event):
    """A person signed in for the first time: from here on nobody else's sign-in is theirs."""

    subject: str


@event("person.sign-in-unbound", private=("reason",))
@dataclass(frozen=True, slots=True)
class SignInUnbound(Event):
    """A person's sign-in was taken off; their next one is bound anew."""

    reason: str
    at: datetime


@event("person.roles-changed")
@dataclass(frozen=True, slots=True)
class RolesChanged(Event):
    """A person's roles were set anew."""

    roles: tuple[Role, ...]
    expires: datetime | None


@event("person.absence-set")
@dataclass(frozen=True, slots=True)
class AbsenceSet(Event):
    """A person said until when they are away and who stands in."""

    away_until: datetime | None
    delegate: str


@event("person.left", private=("reason",))
@dataclass(frozen=True, slots=True)
class Left(Event):
    """A person left: no sign-in, no live tunnel from here on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Register:
    """Enter a person."""

    ACTION: ClassVar[str] = "person.register"
    name: str
    email: str
    organisation: str
    roles: tuple[Role, ...]
    groups: tuple[str, ...] = ()
    subject: str = ""
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChangeRoles:
    """Set a person's roles."""

    ACTION: ClassVar[str] = "person.change-roles"
    roles: tuple[Role, ...]
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class SetAbsence:
    """Say until when you are away; ``None`` means back."""

    ACTION: ClassVar[str] = "person.set-absence"
    away_until: datetime | None
    delegate: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """End a person's account."""

    ACTION: ClassVar[str] = "person.leave"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind a sign-in (``issuer|subject``), ``issued`` by the issuer at that time, to the person whose verified e-mail address it brings."""

    ACTION: ClassVar[str] = "person.bind"
    subject: str
    issued: datetime | None


@dataclass(frozen=True, slots=True)
class Unbind:
    """Take a person's sign-in off, so that the next one is bound."""

    ACTION: ClassVar[str] = "person.unbind"
    reason: str = ""


Command = Register | ChangeRoles | SetAbsence | Leave | Bind | Unbind


def decide(person: Person, command: Command, at: datetime) -> tuple[Happened, ...]:
    """Return what happens; change nothing.

    Raises:
        InvalidInputError: A name is missing, too long or unsafe.
        RuleError: The person has left, is already registered, is bound to another sign-in or to none, or an auditor's account
            would never end.
    """
    if person.state is State.LEFT:
        raise RuleError("person-left", "this person has left", "Register them anew if they came back.")
    facts: Event
    match command:
        case Register():
            if person.version:
                raise RuleError("already-registered", "this person is in the directory", "Change their roles instead.")
            _auditors_end(command.roles, command.expires, at)
            facts = Registered(
                name=_said("name", command.name),
                email=_said("email", command.email),
                organisation=_said("organisation", command.organisation),
                groups=command.groups,
                roles=command.roles,
                subject=command.subject,
                expires=command.expires,
            )
        case ChangeRoles():
            _auditors_end(command.roles, command.expires, at)
            facts = RolesChanged(command.roles, command.expires)
        case SetAbsence():
            if command.delegate == person.id:
                raise RuleError("own-delegate", "nobody stands in for themselves", "Name another person.")
            facts = AbsenceSet(command.away_until, command.delegate)
        case Leave():
            facts = Left(command.reason)
        case Bind():
            may_sign_in(person, command.issued, at)
            if person.subject not in {"", command.subject}:
                raise RuleError("bound-elsewhere", "this person signs in with another account", "Have an operator release that sign-in.")
            if person.subject:
                return ()  # another request of the same first sign-in was first
            facts = SignInBound(command.subject)
        case Unbind():
            if not person.subject:
                raise RuleError("not-bound", "no sign-in is bound to this person", "Their next sign-in is bound by itself.")
            facts = SignInUnbound(command.reason, at)
        case _:
            assert_never(command)
    return (Happened(person.id, facts),)


def _said(field: str, text: str) -> str:
    """Return a name as it is kept: one safe line, not empty."""
    kept = clean(text, most=200, lines=False)
    if not kept:
        raise InvalidInputError(f"the {field} is missing", fields=[(field, "Give one")])
    return kept


def _auditors_end(roles: tuple[Role, ...], expires: datetime | None, at: datetime) -> None:
    if Role.AUDITOR in roles and (expires is None or expires <= at):
        raise RuleError("auditor-must-expire", "an auditor's account needs an end date", "Give a date in the future.")
    if Role.AUDITOR in roles and len(set(roles)) > 1:
        raise RuleError("auditor-alone", "an auditor holds no other role", "Use two accounts or drop a role.")


def evolve(person: Person, happened: Event) -> Person:
    """Return ``person`` as they stand after ``happened``; total on history."""
    after = replace(person, version=person.version + 1)
    match happened:
        case RegisteredOpenly():
            return replace(
                after,
                name=happened.name,
                email=happened.email,
                organisation=happened.organisation,
                groups=happened.groups,
                roles=happened.roles,
                subject=happened.subject,
                expires=happened.expires,
            )
        case RolesChanged(roles, expires):
            return replace(after, roles=roles, expires=expires)
        case AbsenceSet(away_until, delegate):
            return replace(after, away_until=away_until, delegate=delegate)
        case SignInBound(subject):
            return replace(after, subject=subject)
        case SignInUnbound(_, at):
            return replace(after, subject="", unbound=at)
        case Left():
            return replace(after, state=State.LEFT, subject="")  # who comes back is registered anew, and signs in as before
        case _:
            return after


def may_act(person: Person, at: datetime) -> None:
    """Require that ``person`` may act at all.

    Raises:
        RuleError: They have left, or their account has ended.
    """
    if person.state is State.LEFT or (person.expires is not None and person.expires <= at):
        raise RuleError("account-ended", "this account has ended", "Ask an operator whether it can be renewed.")


def may_sign_in(person: Person, issued: datetime | None, at: datetime) -> None:
    """Require that ``person`` may act, and that a sign-in of theirs counts that the issuer gave out at ``issued``.

    Raises:
        RuleError: They have left, their account has ended, or their sign-in was taken off since (or the issuer does not say when).
    """
    may_act(person, at)
    if person.unbound is not None and (issued is None or issued <= person.unbound):
        raise RuleError("sign-in-released", "this sign-in is from before an operator released it", "Sign in again.")
