"""``sulku permits`` and ``sulku register``: the papers, checking them offline, stopping work under them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sulku_client import verify
from sulku_client.frame import Here, State, Why, Yes, command, group
from sulku_client.papers import Keys, Rings, To, read, write

app = group("permits", "What an approval gives: a signed paper.")
register = group("register", "The public register of permits.")
Permit = Annotated[str, typer.Argument(metavar="PERMIT", help="per_…")]
COLUMNS = (
    ("Reference", "id"),
    ("State", "state"),
    ("Title", "document.title"),
    ("Organisation", "document.organisation"),
    ("Starts", "document.starts"),
    ("Ends", "document.ends"),
)
PUBLIC = (
    ("Permit", "permit"),
    ("State", "state"),
    ("Title", "title"),
    ("Organisation", "organisation"),
    ("Datasets", "datasets"),
    ("Ends", "ends"),
)


@command(register, "list")
def public(here: Here) -> None:
    """List every permit: purpose, datasets, organisation, dates. Needs no sign-in."""
    here.list(here.api.get("/register"), PUBLIC)


@command(app, "list")
def listing(here: Here, state: State = None) -> None:
    """List the permits that you may see."""
    here.list(here.api.get("/permits", state=state), COLUMNS)


@command(app, "show")
def view(here: Here, permit: Permit) -> None:
    """Show one permit."""
    here.one({name: value for name, value in here.api.get(f"/permits/{permit}").items() if name != "envelope" or here.json})


@command(app, "paper")
def paper(here: Here, permit: Permit, to: To) -> None:
    """Save the signed paper, for checking it offline."""
    write(to, here.api.bytes(f"/permits/{permit}/paper")[1])
    here.did({"file": str(to)}, f"Saved {to}. Check it with: sulku permits verify {to} --key KEY")


@command(app, "status")
def status(here: Here, to: To) -> None:
    """Save the signed list of every permit's state, good for a day. Needs no sign-in."""
    write(to, here.api.bytes("/permit-status")[1])
    here.did({"file": str(to)}, f"Saved {to}.")


@command(app, "verify")
def check(here: Here, file: Annotated[Path, typer.Argument(metavar="FILE")], key: Keys = None, rings: Rings = None) -> None:
    """Check a permit's paper offline: whose signature it bears, and what it says."""
    ring = verify.read_ring(verify.read_keys(key or ()), read(rings) if rings else None)
    found = verify.verify_permit(read(file), ring, signed_at="issued")
    here.one(
        {"signed_by": list(found.signers), **found.document} if here.json else {"signed_by": list(found.signers), **_short(found.document)}
    )
    here.say("The signature holds. Whether it was suspended since is in the status list: sulku permits status")


def _short(document: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in document.items() if name != "checkpoint"}


@command(app, "suspend")
def suspend(here: Here, permit: Permit, reason: Why) -> None:
    """Stop all work under a permit for now; its live tunnels close at once."""
    here.did(here.api.post(f"/permits/{permit}/suspend", {"reason": reason}), f"{permit} is suspended; its tunnels close.")


@command(app, "resume")
def resume(here: Here, permit: Permit) -> None:
    """End a suspension."""
    here.did(here.api.post(f"/permits/{permit}/resume"), f"{permit} is active again.")


@command(app, "revoke")
def revoke(here: Here, permit: Permit, reason: Why, *, yes: Yes = False) -> None:
    """End a permit for good; its live tunnels close at once."""
    here.sure(f"Revoke {permit} for good?", yes=yes)
    here.did(here.api.post(f"/permits/{permit}/revoke", {"reason": reason}), f"{permit} is revoked; its tunnels close.")
