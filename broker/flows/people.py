"""What people and operators do with the directory; a person who leaves loses every live tunnel."""

from __future__ import annotations

from datetime import datetime

from broker.flows import tunnels
from broker.flows.act import Intent, act
from broker.flows.see import about_self, see
from sulku import ids, people
from sulku.clearance import Clearance
from sulku.errors import BoundElsewhereError, NotFoundError, RuleError, SignInRequiredError, StaleError
from sulku.events import Happened
from sulku.people import SIGN_IN, Actor, Person, Role, State
from sulku.ports import Facts, Ports, Receipt
from sulku.tunnels import Cause


def register(ports: Ports, by: Actor, command: people.Register, key: str | None = None) -> Receipt:
    """Enter a person into the directory; the new record is the receipt's only one besides the asker's.

    Raises:
        DeniedError: Only operators (and first set-up) may.
        RuleError: An auditor's account without an end, or the e-mail address is taken.
    """
    if ports.store.find("usr", email=people.folded(command.email), state=State.ACTIVE):
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


def unbind(ports: Ports, by: Actor, person: str, reason: str) -> Receipt:
    """Take a person's sign-in off; what it opened counts no longer, here at once and inside their tunnels by the worker.

    Raises:
        DeniedError: Only operators may, and not their own.
        RuleError: None is bound.
    """
    return _do(ports, by, ids.parse(person, "usr"), people.Unbind(reason))


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


def find_by_email(ports: Ports, email: str) -> Person | None:
    """Return who has this e-mail address in the directory, in any case; of several (they left, they came back) the newest."""
    return next(iter(ports.store.find("usr", email=people.folded(email))), None)


def names(ports: Ports) -> dict[str, str]:
    """Return every person's name by id, for pages that show who did something; services and the erased are known by their ids."""
    return {person.id: person.name for person in ports.store.find("usr") if person.name}


def sign_in(ports: Ports, subject: str, email: str, issued: datetime | None) -> Person:
    """Return whose sign-in this is. The first one of a person binds ``subject`` to them; from then on only it is theirs.

    Args:
        subject: ``issuer|sub``, proved.
        email: As the issuer verified it; empty if it did not, and then nothing is bound.
        issued: When the issuer gave it out; ``None`` if it does not say.

    Raises:
        SignInRequiredError: Nobody's in the directory, from before it was released, or the account has ended.
        BoundElsewhereError: The person of that address signs in with another account; that somebody tried is recorded.
    """
    known = find_by_subject(ports, subject)
    if known is None and not email:
        raise SignInRequiredError("this sign-in is nobody's here, and the issuer does not vouch for an e-mail address")
    person = known or find_by_email(ports, email)
    if person is None:
        raise SignInRequiredError("you are not in this environment's directory")
    try:
        people.may_sign_in(person, issued, ports.clock.now())
        return known or _bind(ports, person.id, people.Bind(subject, issued))
    except RuleError as error:
        if error.rule == "bound-elsewhere":
            raise BoundElsewhereError(str(error)) from None
        raise SignInRequiredError(str(error)) from None


def _bind(ports: Ports, person: str, command: people.Bind) -> Person:
    try:
        return _do(ports, SIGN_IN, person, command).facts[person]  # type: ignore[no-any-return]
    except StaleError:
        known = find_by_subject(ports, command.subject)  # two requests of a first sign-in at once, and the other one was first
        if known is None:
            raise
        return known


def actor(person: Person, *, role: Role | None, mfa: bool, signed_in: datetime | None) -> Actor:
    """Return ``person`` as an actor, in ``role`` or the first that they hold.

    Raises:
        NotFoundError: They do not hold that role.
    """
    if role is not None and role not in person.roles:
        raise NotFoundError(f"you do not hold the role {role}")
    acting = role or (person.roles[0] if person.roles else Role.PUBLIC)
    return Actor(person.id, acting, person.name, person.organisation, person.groups, mfa, signed_in)
