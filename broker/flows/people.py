"""What people and operators do with the directory; a person who leaves loses every live tunnel."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from broker.flows import tunnels
from broker.flows.act import Intent, act
from broker.flows.see import about_self, see
from sulku import ids, people
from sulku.clearance import Clearance
from sulku.errors import NotFoundError, RuleError, SignInRequiredError
from sulku.events import Happened
from sulku.people import Actor, Person, Role
from sulku.ports import Facts, Ports, Receipt
from sulku.tunnels import Cause


def register(ports: Ports, by: Actor, command: people.Register, key: str | None = None) -> Receipt:
    """Enter a person into the directory; the new record is the receipt's only one besides the asker's.

    Raises:
        DeniedError: Only operators (and first set-up) may.
        RuleError: An auditor's account without an end, or the e-mail address is taken.
    """
    if any(known.email.lower() == command.email.lower() for known in ports.store.find("usr")):
        raise RuleError("already-registered", "somebody with this e-mail address is in the directory", "Change their roles instead.")
    return _do(ports, by, ids.new("usr"), command, key)


def change_roles(ports: Ports, by: Actor, person: str, roles: tuple[Role, ...], expires: datetime | None = None) -> Receipt:
    """Set a person's roles anew."""
    return _do(ports, by, ids.parse(person, "usr"), people.ChangeRoles(roles, expires))


def set_absence(ports: Ports, by: Actor, away_until: datetime | None, delegate: str = "") -> Receipt:
    """Say until when the asker is away, and who stands in."""
    return _do(ports, by, by.id, people.SetAbsence(away_until, delegate))


def leave(ports: Ports, by: Actor, person: str, reason: str) -> Receipt:
    """End a person's account and, at once, every tunnel of theirs."""
    receipt = _do(ports, by, ids.parse(person, "usr"), people.Leave(reason))
    finish_tunnels(ports, person, by)
    return receipt


def finish_tunnels(ports: Ports, person: str, by: Actor) -> None:
    """End every live tunnel of ``person``; may be repeated."""
    for tunnel in ports.store.find("tun", person=person):
        tunnels.finish(ports, tunnel.id, Cause.LEFT, by)


def _do(ports: Ports, by: Actor, target: str, command: people.Command, key: str | None = None) -> Receipt:
    about = about_self(by)
    if isinstance(command, people.SetAbsence) and command.delegate:
        about["delegate"] = ids.parse(command.delegate, "usr")
    intent = Intent(by, command.ACTION, target, command, about, key)

    def decide(facts: Facts, _: Clearance, at: datetime) -> tuple[Happened, ...]:
        return people.decide(facts[target], command, at)

    return act(ports, intent, decide)


def listing(ports: Ports, by: Actor) -> list[Person]:
    """Return the directory, by name.

    Raises:
        DeniedError: Researchers see only themselves, through ``me``.
    """
    see(ports, Intent(by, "person.list", ids.LEDGER, {}, about_self(by)))
    return sorted(ports.store.find("usr"), key=lambda person: person.name)


def me(ports: Ports, by: Actor) -> Person:
    """Return the asker's own entry."""
    facts, _ = see(ports, Intent(by, "person.view", by.id, {}, about_self(by)))
    return facts[by.id]  # type: ignore[no-any-return]


def find_by_subject(ports: Ports, subject: str) -> Person | None:
    """Return whose sign-in ``subject`` (``issuer|sub``) is, if anybody's."""
    return next(iter(ports.store.find("usr", subject=subject)), None)


def names(ports: Ports) -> dict[str, str]:
    """Return every person's name by id, for pages that show who did something; ids of services name themselves."""
    return {person.id: person.name for person in ports.store.find("usr")}


def actor(ports: Ports, email: str, *, role: Role | None, mfa: bool, signed_in: datetime) -> Actor:
    """Return the actor for an authenticated e-mail address, in ``role`` or the first that they hold.

    Raises:
        SignInRequiredError: Nobody of that address is in the directory, or their account has ended.
        NotFoundError: They do not hold that role.
    """
    person = next((known for known in ports.store.find("usr") if known.email.lower() == email.lower()), None)
    if person is None:
        raise SignInRequiredError("you are not in this environment's directory")
    try:
        people.may_act(person, ports.clock.now())
    except RuleError as error:
        raise SignInRequiredError(str(error)) from None
    if role is not None and role not in person.roles:
        raise NotFoundError(f"you do not hold the role {role}")
    acting = role or (person.roles[0] if person.roles else Role.PUBLIC)
    return replace(
        Actor(person.id, acting), name=person.name, organisation=person.organisation, groups=person.groups, mfa=mfa, signed_in=signed_in
    )
