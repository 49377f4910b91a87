"""Permits: the paper, what it allows, and what stewards do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.flows import people, permits, releases, tunnels
from broker.web import oversight, views
from broker.web.pages import render
from broker.web.pages.asks import Act, By, Form, World, history, key, same
from sulku.errors import InvalidInputError, NotFoundError, RefusalError
from sulku.people import Actor, Role
from sulku.permits import MACHINE, Move, Permit, require_live
from sulku.ports import Ports
from sulku.tunnels import LIVE

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a steward does to a permit, and how it is asked."""

    move: Move
    title: str
    consequence: tuple[str, ...]
    button: str
    tone: str
    flow: Callable[[Ports, Actor, str, str], Any]
    reason: bool = True


CHANGES: Final = {
    "suspend": Change(
        Move.SUSPEND,
        "Suspend this permit?",
        ("Every live tunnel under it closes at once, and nobody can open another until it is resumed.",),
        "Suspend the permit",
        "bad",
        permits.suspend,
    ),
    "resume": Change(
        Move.RESUME,
        "Resume this permit?",
        ("Its people can open tunnels again. Tunnels that the suspension closed stay closed.",),
        "Resume the permit",
        "",
        lambda ports, by, permit, _: permits.resume(ports, by, permit),
        reason=False,
    ),
    "revoke": Change(
        Move.REVOKE,
        "Revoke this permit?",
        ("It ends for good. Every live tunnel under it closes at once.", "Its people have to apply anew."),
        "Revoke the permit",
        "bad",
        permits.revoke,
    ),
}


@router.get("/permits")
def listing(request: Request, ports: World, by: By) -> Response:
    """Show the permits that the reader may see."""
    return render.page(request, oversight.Permits(permits.listing(ports, by)))


@router.get("/permits/{permit}")
def view(request: Request, ports: World, by: By, permit: str) -> Response:
    """Show one permit."""
    known = permits.view(ports, by, permit)
    opened = tunnels.listing(ports, by, permit=permit)
    sent = releases.listing(ports, by, permit=permit)
    page = views.PermitPage(known, people.names(ports), _acts(ports, by, known), opened, sent, history(ports, by, known))
    return render.page(request, page)


def _acts(ports: Ports, by: Actor, known: Permit) -> tuple[Act, ...]:
    if by.role is Role.RESEARCHER:
        return (Act("Open a tunnel", f"/permits/{known.id}/open", against=_against_opening(ports, by, known)),)
    if by.role is not Role.STEWARD:
        return ()
    legal = MACHINE.moves(known.state)
    live = any(one.state in LIVE for one in tunnels.listing(ports, by, permit=known.id))
    halt = (Act("Halt its tunnels", f"/halt?scope=permit&identifier={known.id}", "bad"),) if live else ()
    return halt + tuple(
        Act(change.button, f"/permits/{known.id}/{verb}", "bad" if verb == "revoke" else "plain")
        for verb, change in CHANGES.items()
        if change.move in legal
    )


def _against_opening(ports: Ports, by: Actor, known: Permit) -> tuple[str, ...]:
    try:
        require_live(known, ports.clock.now())
    except RefusalError as error:
        return (f"{str(error)[:1].upper()}{str(error)[1:]}. {error.remedy()}",)
    live = [one for one in tunnels.listing(ports, by, permit=known.id) if one.person == by.id and one.state in LIVE]
    return ("You have a tunnel open under this permit. Enter it, or close it first.",) if live else ()


@router.get("/permits/{permit}/paper")
def paper(ports: World, by: By, permit: str) -> Response:
    """Return the signed paper."""
    return render.download(permits.view(ports, by, permit).envelope, f"{permit}.json")


@router.get("/permits/{permit}/open")
def opening(request: Request, ports: World, by: By, permit: str, minutes: int = 60) -> Response:
    """Ask for how long."""
    return render.page(request, views.OpenTunnel(permits.view(ports, by, permit), key(), str(minutes)))


@router.post("/permits/{permit}/open")
def open_(request: Request, ports: World, by: By, permit: str, sent: Form) -> Response:
    """Open a tunnel."""
    try:
        minutes = sent.number("minutes", "Minutes")
        receipt = tunnels.open_(ports, by, permit, minutes, sent.key)
    except InvalidInputError as error:
        return render.again(request, views.OpenTunnel(permits.view(ports, by, permit), key(), sent["minutes"]), error)
    made = next(identifier for identifier in receipt.facts if identifier.startswith("tun_"))
    return render.to(f"/tunnels/{made}")


@router.get("/permits/{permit}/{verb}")
def changing(request: Request, ports: World, by: By, permit: str, verb: str) -> Response:
    """Ask whether, and why."""
    return render.page(request, _confirm(permits.view(ports, by, permit), verb))


def _confirm(known: Permit, verb: str, given: dict[str, str] | None = None) -> views.Confirm:
    change = CHANGES.get(verb)
    if change is None:
        raise NotFoundError("there is nothing at this address")
    return views.Confirm(
        title=change.title,
        consequence=change.consequence,
        button=change.button,
        action=f"/permits/{known.id}/{verb}",
        back=f"/permits/{known.id}",
        tone=change.tone,
        reason="Why?" if change.reason else "",
        reason_hint="At least 10 characters. The people on the permit read it.",
        version=known.version,
        given=given or {},
        command=f"sulku permits {verb} {known.id}" + (" --reason …" if change.reason else ""),
    )


@router.post("/permits/{permit}/{verb}")
def change(request: Request, ports: World, by: By, permit: str, verb: str, sent: Form) -> Response:
    """Do it."""
    known = permits.view(ports, by, permit)
    page = _confirm(known, verb, sent.all)
    try:
        same(known, sent)
        if page.reason:
            sent.reason()
        CHANGES[verb].flow(ports, by, permit, sent["reason"])
    except InvalidInputError as error:
        return render.again(request, page, error)
    return render.to(f"/permits/{permit}")
