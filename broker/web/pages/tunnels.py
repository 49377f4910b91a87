"""Tunnels: opening step by step, the countdown, the way in, and what stewards may do about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from broker.flows import people, permits, tunnels
from broker.web import oversight, views
from broker.web.pages import render
from broker.web.pages.asks import Act, By, Form, World, history
from broker.web.views import Step
from sulku import ids
from sulku.errors import InvalidInputError, NotFoundError
from sulku.people import Actor, Role
from sulku.permits import Permit
from sulku.ports import Ports
from sulku.tunnels import LIVE, State, Tunnel

router = APIRouter()
PROGRESS: Final = {State.REQUESTED: 1, State.PROVED: 2, State.OPEN: 4}
SCOPES: Final = ("tunnel", "person", "permit", "dataset", "everything")
_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


@router.get("/tunnels")
def listing(request: Request, ports: World, by: By) -> Response:
    """Show what is live and what has ended."""
    every = tunnels.listing(ports, by)
    live = [one for one in every if one.state in LIVE]
    over = [one for one in every if one.state not in LIVE][:100]
    titles = {one.id: one.paper.title for one in permits.listing(ports, by)}
    return render.page(request, oversight.Tunnels(live, over, people.names(ports), titles, by.role is Role.STEWARD))


@router.get("/tunnels/{tunnel}")
def view(request: Request, ports: World, by: By, tunnel: str) -> Response:
    """Show one tunnel."""
    known = tunnels.view(ports, by, tunnel)
    gate = f"{request.app.state.settings.tunnel_url(ids.label(tunnel))}/.sulku/enter"
    mine = known.person == by.id
    left = render.until(known.deadline, ports.clock.now())
    page = views.TunnelPage(
        tunnel=known,
        permit=_permit(ports, by, known),
        names=people.names(ports),
        steps=steps(known),
        seconds_left=left,
        enter=gate if mine and known.state is State.OPEN and left else "",
        packages=packages(Path(request.app.state.settings.image)) if mine else (),
        acts=_acts(known, by),
        mine=mine,
        history=history(ports, by, known),
    )
    return render.page(request, page)


def _permit(ports: Ports, by: Actor, known: Tunnel) -> Permit | None:
    try:
        return permits.view(ports, by, known.permit)
    except NotFoundError:  # a person who was taken off it still sees their tunnel
        return None


def steps(known: Tunnel) -> tuple[Step, ...]:
    """Return how far the opening has come; a tunnel that ended says where it stopped."""
    done = PROGRESS.get(known.state, 4 if known.opened_at else 2 if known.closure else 1)
    over = known.state not in LIVE
    said = (
        ("Cleared", "The policy allowed it, and the deadline counts from then"),
        ("Closure proved", "A probe inside tried to get out and failed"),
        ("Data mounted", "Read only, this permit’s variables"),
        ("Workspace ready", "JupyterLab answers"),
    )

    def state(n: int) -> str:
        if n < done:
            return "done"
        return ("failed" if over else "now") if n == done else "waiting"

    return tuple(Step(title, state(n), detail) for n, (title, detail) in enumerate(said))


def packages(image: Path) -> tuple[str, ...]:
    """Return what is installed in a workspace, as its lock names it."""
    lock = image / "requirements.txt"
    return tuple(f"{name} {version}" for name, version in _PIN.findall(lock.read_text())) if lock.is_file() else ()


def _acts(known: Tunnel, by: Actor) -> tuple[Act, ...]:
    if known.state not in LIVE:
        again = by.id == known.person and by.role is Role.RESEARCHER
        return (Act("Open another tunnel", f"/permits/{known.permit}/open"),) if again else ()
    if by.id == known.person:
        return (Act("Close the tunnel", f"/tunnels/{known.id}/close", "plain"),)
    if by.role is Role.STEWARD:
        halts = (
            Act("Halt this tunnel", f"/halt?scope=tunnel&identifier={known.id}", "bad"),
            Act("Halt all of this person", f"/halt?scope=person&identifier={known.person}", "bad"),
        )
        closed = () if known.state is State.OPEN else ("It is not open yet.",)
        return (Act("Add viewing budget", f"/tunnels/{known.id}/top-up", "plain", against=closed), *halts)
    return ()


@router.get("/tunnels/{tunnel}/close")
def closing(request: Request, ports: World, by: By, tunnel: str) -> Response:
    """Ask whether to close it."""
    known = tunnels.view(ports, by, tunnel)
    view = views.Confirm(
        title="Close this tunnel?",
        consequence=("Whatever runs inside stops at once. Save first.", "Your home folder is kept until the permit ends."),
        button="Close the tunnel",
        action=f"/tunnels/{tunnel}/close",
        back=f"/tunnels/{tunnel}",
        version=known.version if known.state in LIVE else 0,
        tone="",
        command=f"sulku tunnels close {tunnel}",
    )
    return render.page(request, view)


@router.post("/tunnels/{tunnel}/close")
def close(ports: World, by: By, tunnel: str) -> Response:
    """Close it; no page is too stale for an ending."""
    tunnels.close(ports, by, tunnel)
    return render.to(f"/tunnels/{tunnel}")


@router.get("/enter/{tunnel}")
def enter(request: Request, ports: World, by: By, tunnel: str, nonce_hash: str = "") -> Response:
    """Give a ticket to a browser that comes from the tunnel's gate, and send it back there."""
    if not re.fullmatch(r"[0-9a-f]{64}", nonce_hash):
        raise InvalidInputError("this address is only for browsers that come from a tunnel's gate")
    ticket = tunnels.enter(ports, by, tunnel, nonce_hash)
    gate = request.app.state.settings.tunnel_url(ids.label(tunnel))
    return RedirectResponse(f"{gate}/.sulku/enter?ticket={ticket}", 303, headers={"Cache-Control": "no-store"})


@router.get("/tunnels/{tunnel}/top-up")
def topping_up(request: Request, ports: World, by: By, tunnel: str) -> Response:
    """Ask how much viewing budget to add, and why."""
    return render.page(request, _top_up(tunnels.view(ports, by, tunnel)))


def _top_up(known: Tunnel, given: dict[str, str] | None = None) -> views.Confirm:
    return views.Confirm(
        title="Add viewing budget",
        consequence=(f"{render.size(known.budget)} are left. The budget limits how much can be carried away by looking.",),
        button="Add to the budget",
        action=f"/tunnels/{known.id}/top-up",
        back=f"/tunnels/{known.id}",
        tone="",
        number="How many MiB?",
        reason="Why?",
        reason_hint="At least 10 characters; it is kept in the ledger.",
        version=0,  # the version moves with every lease; what is added does not depend on it
        given=given or {},
        command=f"sulku tunnels top-up {known.id} --mib 50 --reason …",
    )


@router.post("/tunnels/{tunnel}/top-up")
def top_up(request: Request, ports: World, by: By, tunnel: str, sent: Form) -> Response:
    """Add to the budget."""
    try:
        tunnels.top_up(ports, by, tunnel, sent.number("number", "MiB") * 2**20, sent.reason())
    except InvalidInputError as error:
        return render.again(request, _top_up(tunnels.view(ports, by, tunnel), sent.all), error)
    return render.to(f"/tunnels/{tunnel}")


@router.get("/halt")
def halting(request: Request, ports: World, by: By, scope: str = "everything", identifier: str = "") -> Response:
    """Ask whether to halt, and why."""
    if by.role is not Role.STEWARD or scope not in SCOPES:
        raise NotFoundError("there is nothing at this address that you may see")
    return render.page(request, _halt(ports, scope, identifier))


def _halt(ports: Ports, scope: str, identifier: str, given: dict[str, str] | None = None) -> views.Confirm:
    what = "every live tunnel" if scope == "everything" else f"every live tunnel of this {scope}" if scope != "tunnel" else "this tunnel"
    live = len(tunnels.concerned(ports, scope, identifier))
    lost = "What is unsaved is lost; home folders are kept."
    return views.Confirm(
        title=f"Halt {what}?",
        consequence=(
            f"{render.plural(live, 'tunnel')} live now.",
            "Each is cut within seconds; its processes die and its data is unmounted.",
            lost,
        ),
        button="Halt now",
        action="/halt",
        back="/tunnels",
        reason="Why?",
        reason_hint="At least 10 characters. The people in the tunnels read it.",
        hidden=(("scope", scope), ("identifier", identifier)),
        given=given or {},
        command=" ".join(("sulku tunnels halt", scope, *([identifier] if identifier else []), "--reason …")),
    )


@router.post("/halt")
def halt(request: Request, ports: World, by: By, sent: Form) -> Response:
    """Halt."""
    try:
        tunnels.halt(ports, by, sent["scope"], sent["identifier"], sent.reason())
    except InvalidInputError as error:
        return render.again(request, _halt(ports, sent["scope"], sent["identifier"], sent.all), error)
    return render.to("/tunnels")
