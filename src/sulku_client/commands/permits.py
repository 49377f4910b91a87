"""``sulku permits`` and ``sulku register``: the papers, whether they hold, stopping work under them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sulku.codec import stamp
from sulku.crypto.keys import Keyring
from sulku.errors import PermitNotLiveError, StatusListStaleError, StatusUnknownError, SulkuError
from sulku.standing import Standing, StatusList
from sulku_client import config, verify
from sulku_client.frame import Here, State, Why, Yes, command, group
from sulku_client.papers import Keys, Rings, To, read, write
from sulku_client.show import Column
from sulku_client.verify import Paper

app = group("permits", "What an approval gives: a signed paper.")
register = group("register", "The public register of permits.")
Permit = Annotated[str, typer.Argument(metavar="PERMIT", help="per_…")]
COLUMNS = (
    Column("Reference", "id"),
    Column("State", "state"),
    Column("Title", "document.title", prose=True),
    Column("Organisation", "document.organisation", prose=True, spare=True),
    Column("Starts", "document.starts", spare=True),
    Column("Ends", "document.ends"),
)
PUBLIC = (
    Column("Permit", "permit"),
    Column("State", "state"),
    Column("Title", "title", prose=True),
    Column("Organisation", "organisation", prose=True),
    Column("Datasets", "datasets", prose=True),
    Column("Ends", "ends"),
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
def status_(here: Here, to: To) -> None:
    """Save the signed list of every permit's state, good for a day. Needs no sign-in."""
    write(to, here.api.bytes("/permit-status")[1])
    here.did({"file": str(to)}, f"Saved {to}.")


@command(app, "verify")
def check(
    here: Here,
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    key: Keys = None,
    rings: Rings = None,
    status: Annotated[Path | None, typer.Option("--status", metavar="FILE", help="A signed status list; then no server is asked.")] = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no server for the status list.")] = False,
) -> None:
    """Check a permit's paper: whose signature it bears, what it says, and whether it holds now.

    Its state is in a signed list that is good for a day: give one with --status, or have it fetched from the broker that you chose
    (SULKU_SERVER, --server, or signed in). Exit status 0: it holds now. 3: suspended, revoked, superseded, expired or not valid yet.
    7: the signature does not hold. 8: there is no status list that speaks of it. 9: the list is too old.
    """
    ring = verify.read_ring(verify.read_keys(key or ()), read(rings) if rings else None)
    found = verify.verify_permit(read(file), ring, signed_at="issued")
    source, statuses, missed = _statuses(here, ring, found, status, offline=offline)
    stands = verify.stand(found, statuses, config.now())
    why = f"{stands.why} ({missed})" if missed and stands.standing is Standing.UNKNOWN else stands.why
    listed = {"from": source, "issued": stamp(statuses.issued), "expires": stamp(statuses.expires)} if statuses else None
    document = found.document if here.json else {name: value for name, value in found.document.items() if name != "checkpoint"}
    here.one({"status": stands.standing.value, "why": why, "status_list": listed, "signed_by": list(found.signers), **document})
    match stands.standing:
        case Standing.ACTIVE:
            here.say(f"The signature holds, and {why}.")
        case Standing.UNKNOWN:
            raise StatusUnknownError(why)
        case Standing.STALE:
            raise StatusListStaleError(why)
        case _:
            raise PermitNotLiveError(str(document["id"]), why.removeprefix("it is "))


def _statuses(here: Here, ring: Keyring, permit: Paper, file: Path | None, *, offline: bool) -> tuple[str, StatusList | None, str]:
    """Return where the status list is from, the list, and why there is none: a server's list is taken only if it is good."""
    if file is not None:
        return str(file), verify.verify_status(read(file), ring, permit), ""
    if offline or not here.chosen:
        return "", None, ""
    try:
        return here.server, verify.verify_status(here.api.bytes("/permit-status")[1], ring, permit), ""
    except SulkuError as error:
        return "", None, f"the broker's own cannot be had: {error}"


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
