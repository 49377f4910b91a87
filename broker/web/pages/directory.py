"""Operators' pages (people, the system), and what stewards keep: their absence, the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.flows import datasets, ledger, people
from broker.web import oversight, views
from broker.web.pages import render, words
from broker.web.pages.asks import Act, By, Form, Sent, World, confirmed, history, key, require, same
from sulku.errors import InvalidInputError, NotFoundError, SulkuError
from sulku.people import Actor, Person, Register, Role, State
from sulku.ports import Ports

router = APIRouter()
HELD: Final = (Role.RESEARCHER, Role.STEWARD, Role.AUDITOR, Role.OPERATOR)
CHOICES: Final = tuple((role.value, words.ROLES[role.value]) for role in HELD)


@router.get("/people")
def listing(request: Request, ports: World, by: By) -> Response:
    """Show the directory."""
    return render.page(request, oversight.People(people.listing(ports, by)))


@router.get("/people/new")
def registering(request: Request, by: By) -> Response:
    """Ask who is to be registered."""
    if by.role is not Role.OPERATOR:
        raise NotFoundError("there is nothing at this address that you may see")
    return render.page(request, oversight.PersonPage(None, CHOICES, key()))


@router.post("/people/new")
def register(request: Request, ports: World, by: By, sent: Form) -> Response:
    """Register a person."""
    try:
        receipt = people.register(ports, by, _register(sent), sent.key)
    except InvalidInputError as error:
        return render.again(request, oversight.PersonPage(None, CHOICES, key(), {**sent.all, "roles": sent.every("role")}), error)
    made = next(identifier for identifier in receipt.facts if identifier.startswith("usr_") and identifier != by.id)
    return render.to(f"/people/{made}")


def _register(sent: Sent) -> Register:
    wrong = [
        (field, text) for field, text in (("name", "Give a name"), ("organisation", "Give an organisation")) if not sent[field].strip()
    ]
    if "@" not in sent["email"]:
        wrong.append(("email", "Give an e-mail address, such as name@example.org"))
    if not sent.every("role"):
        wrong.append(("roles", "Choose at least one role"))
    if wrong:
        raise InvalidInputError("the entry is not complete", fields=wrong)
    groups = tuple(filter(None, (group.strip() for group in sent["groups"].split(","))))
    name, email, organisation = (sent[field].strip() for field in ("name", "email", "organisation"))
    return Register(name, email, organisation, _roles(sent), groups, expires=_end(sent["expires"], "expires"))


def _roles(sent: Sent) -> tuple[Role, ...]:
    return tuple(role for role in HELD if role.value in sent.every("role"))


def _end(text: str, field: str) -> datetime | None:
    """Return the end of the day ``text`` in UTC; ``None`` if it is empty."""
    if not text.strip():
        return None
    try:
        return datetime.fromisoformat(text.strip()[:10]).replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError:
        raise InvalidInputError("not a day", fields=[(field, "Give a day as year-month-day")]) from None


def one(ports: Ports, by: Actor, person: str) -> Person:
    """Return one entry of the directory.

    Raises:
        NotFoundError: There is none.
    """
    found = next((one for one in people.listing(ports, by) if one.id == person), None)
    if found is None:
        raise NotFoundError(f"there is no person {person[:40]}")
    return found


@router.get("/people/{person}")
def view(request: Request, ports: World, by: By, person: str) -> Response:
    """Show one entry."""
    return render.page(request, _page(ports, by, one(ports, by, person)))


def _page(ports: Ports, by: Actor, known: Person, given: dict[str, Any] | None = None) -> oversight.PersonPage:
    gone = known.state is State.LEFT
    acts: tuple[Act, ...] = ()
    if by.role is Role.OPERATOR and not gone:
        release = (Act("Release the sign-in", f"/people/{known.id}/unbind", "plain"),) if known.subject and known.id != by.id else ()
        acts = (*release, Act("End this account", f"/people/{known.id}/leave", "bad"))
    elif by.role is Role.OPERATOR and known.name:
        acts = (Act("Erase who they were", f"/people/{known.id}/erase", "bad"),)
    last = (known.expires - timedelta(days=1)).date().isoformat() if known.expires else ""
    shown = given or {"roles": tuple(role.value for role in known.roles), "expires": last}
    return oversight.PersonPage(known, CHOICES, key(), shown, acts, history(ports, by, known))


@router.post("/people/{person}/roles")
def change_roles(request: Request, ports: World, by: By, person: str, sent: Form) -> Response:
    """Set a person's roles anew."""
    known = one(ports, by, person)
    try:
        same(known, sent)
        require(sent.every("role"), "roles", "Choose at least one role, or end the account")
        people.change_roles(ports, by, person, _roles(sent), _end(sent["expires"], "expires"))
    except InvalidInputError as error:
        return render.again(request, _page(ports, by, known, {**sent.all, "roles": sent.every("role")}), error)
    return render.to(f"/people/{person}")


@router.get("/people/{person}/leave")
def leaving(request: Request, ports: World, by: By, person: str) -> Response:
    """Ask whether to end an account."""
    return render.page(request, _leave(one(ports, by, person)))


def _leave(known: Person, given: dict[str, str] | None = None) -> views.Confirm:
    return views.Confirm(
        title=f"End the account of {known.name}?",
        consequence=("They cannot sign in any more, and every live tunnel of theirs closes at once.", "What they did stays in the ledger."),
        button="End the account",
        action=f"/people/{known.id}/leave",
        back=f"/people/{known.id}",
        reason="Why?",
        reason_hint="For example: left the university on 30 November.",
        version=known.version,
        given=given or {},
        command=f"sulku people leave {known.id} --reason …",
    )


@router.post("/people/{person}/leave")
def leave(request: Request, ports: World, by: By, person: str, sent: Form) -> Response:
    """End an account."""
    known = one(ports, by, person)
    return confirmed(request, known, sent, _leave, lambda: people.leave(ports, by, person, sent.reason()), f"/people/{person}")


@router.get("/people/{person}/unbind")
def unbinding(request: Request, ports: World, by: By, person: str) -> Response:
    """Ask whether to release a sign-in."""
    return render.page(request, _unbind(one(ports, by, person)))


def _unbind(known: Person, given: dict[str, str] | None = None) -> views.Confirm:
    return views.Confirm(
        title=f"Release the sign-in of {known.name}?",
        consequence=(
            "Whoever is signed in as them is signed out at once, here and inside their tunnels.",
            f"The next sign-in that proves {known.email} becomes theirs. Make sure that this address is theirs today.",
        ),
        button="Release the sign-in",
        action=f"/people/{known.id}/unbind",
        back=f"/people/{known.id}",
        reason="Why?",
        reason_hint="For example: the university gave them a new account on 30 November; they showed their passport.",
        version=known.version,
        given=given or {},
        command=f"sulku people unbind {known.id} --reason …",
    )


@router.post("/people/{person}/unbind")
def unbind(request: Request, ports: World, by: By, person: str, sent: Form) -> Response:
    """Release a sign-in."""
    known = one(ports, by, person)
    return confirmed(request, known, sent, _unbind, lambda: people.unbind(ports, by, person, sent.reason()), f"/people/{person}")


@router.get("/absence")
def away(request: Request, ports: World, by: By) -> Response:
    """Show and ask until when one is away."""
    return render.page(request, _absence(ports, by))


def _absence(ports: Ports, by: Actor, given: dict[str, str] | None = None) -> oversight.Absence:
    others = [one for one in people.listing(ports, by) if one.state is State.ACTIVE and by.role in one.roles and one.id != by.id]
    return oversight.Absence(people.me(ports, by), others, people.names(ports), given or {})


@router.post("/absence")
def set_absence(request: Request, ports: World, by: By, sent: Form) -> Response:
    """Save it."""
    try:
        until = None if sent["back"] else _end(sent["until"], "until")
        require(until or sent["back"], "until", "Give the last day of your absence")
        people.set_absence(ports, by, until, "" if sent["back"] else sent["delegate"])
    except InvalidInputError as error:
        return render.again(request, _absence(ports, by, sent.all), error)
    return render.to("/absence")


@router.get("/system")
def system(request: Request, ports: World, by: By) -> Response:
    """Show how the parts are."""
    if by.role is not Role.OPERATOR:
        raise NotFoundError("there is nothing at this address that you may see")
    found = []
    for check in request.app.state.checks:
        try:
            check.require()
            found.append((check.name, True, ""))
        except (SulkuError, OSError) as error:
            found.append((check.name, False, type(error).__name__))
    facts = (("Mode", str(request.app.state.settings.mode)), ("Ledger", f"{ledger.head(ports)['size']:,} records"))
    return render.page(request, oversight.System(tuple(found), facts))


@router.get("/datasets/{dataset}/withdraw")
def withdrawing(request: Request, ports: World, by: By, dataset: str) -> Response:
    """Ask whether to take a dataset out of the catalogue."""
    return render.page(request, _withdraw(ports, by, dataset))


def _withdraw(ports: Ports, by: Actor, dataset: str, given: dict[str, str] | None = None) -> views.Confirm:
    known = datasets.view(ports, by, dataset)
    return views.Confirm(
        title=f"Withdraw {known.title or known.name}?",
        consequence=("No new tunnel can mount it and nobody can apply for it. Tunnels that are open stay open.", "It cannot be undone."),
        button="Withdraw the dataset",
        action=f"/datasets/{dataset}/withdraw",
        back=f"/datasets/{dataset}",
        reason="Why?",
        reason_hint="At least 10 characters.",
        version=known.version,
        given=given or {},
        command=f"sulku datasets withdraw {dataset} --reason …",
    )


@router.post("/datasets/{dataset}/withdraw")
def withdraw(request: Request, ports: World, by: By, dataset: str, sent: Form) -> Response:
    """Take it out."""
    try:
        same(datasets.view(ports, by, dataset), sent)
        datasets.withdraw(ports, by, dataset, sent.reason())
    except InvalidInputError as error:
        return render.again(request, _withdraw(ports, by, dataset, sent.all), error)
    return render.to(f"/datasets/{dataset}")
