"""``sulku tunnels``: open, watch and end them. Work happens in a browser, through the gateway."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from sulku.errors import RuleError
from sulku_client import show
from sulku_client.frame import Here, State, Why, Yes, command, group
from sulku_client.show import Column

app = group("tunnels", "Isolated workspaces with a deadline.")
Tunnel = Annotated[str, typer.Argument(metavar="TUNNEL", help="tun_…")]
COLUMNS = (
    Column("Reference", "id"),
    Column("State", "state"),
    Column("Permit", "permit"),
    Column("Person", "person"),
    Column("Deadline", "deadline"),
    Column("Bytes left", "budget"),
)
STEPS: Final = ("requested", "proved", "open")


@command(app, "list")
def listing(here: Here, state: State = None) -> None:
    """List the tunnels that you may see."""
    here.list(here.api.get("/tunnels", state=state), COLUMNS)


@command(app, "show")
def view(here: Here, tunnel: Tunnel) -> None:
    """Show one tunnel: its state, deadline and the screen budget that is left."""
    here.one(here.api.get(f"/tunnels/{tunnel}"))


@command(app, "open")
def open_(
    here: Here,
    permit: Annotated[str, typer.Argument(metavar="PERMIT", help="per_…")],
    minutes: Annotated[int, typer.Option("--minutes", help="How long; the deadline counts from now.")] = 60,
    *,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is open.")] = True,
) -> None:
    """Open a tunnel under a permit."""
    answer = here.api.post("/tunnels", {"permit": permit, "minutes": minutes})
    if wait:
        answer = {**answer, "record": _until_open(here, answer["record"])}
    tunnel = answer["record"]
    here.did(answer, f"{tunnel['id']} is {tunnel['state']} until {show.text(tunnel['deadline'])}.")
    here.say(f"Enter it at {here.server}/tunnels/{tunnel['id']}")


def _until_open(here: Here, tunnel: dict[str, Any]) -> dict[str, Any]:
    with show.progress("cleared, proved closed, open", len(STEPS)) as set_done:
        while tunnel["state"] in STEPS[:2]:
            set_done(STEPS.index(tunnel["state"]) + 1)
            time.sleep(0.5)
            tunnel = here.api.get(f"/tunnels/{tunnel['id']}")
    if tunnel["state"] != "open":
        raise RuleError(
            "could-not-open",
            f"{tunnel['id']} is {tunnel['state']}: {tunnel['cause']}",
            "Open another; if it happens again, tell the service desk.",
        )
    return tunnel


@command(app, "close")
def close(here: Here, tunnel: Tunnel) -> None:
    """End your tunnel now; your files are kept until the permit ends."""
    here.did(here.api.post(f"/tunnels/{tunnel}/close"), f"{tunnel} is closing.")


@command(app, "halt")
def halt(
    here: Here,
    scope: Annotated[str, typer.Argument(metavar="tunnel|person|permit|dataset|everything")],
    identifier: Annotated[str, typer.Argument(metavar="[REFERENCE]")] = "",
    reason: Why = "",
    *,
    yes: Yes = False,
) -> None:
    """End live tunnels at once, as a steward."""
    here.sure(f"End every live tunnel of {scope} {identifier}".rstrip() + "?", yes=yes)
    answer = here.api.post("/halts", {"scope": scope, "identifier": identifier, "reason": reason})
    here.did(answer, f"Ended: {', '.join(answer['tunnels']) or 'none was live'}.")


@command(app, "top-up")
def top_up(here: Here, tunnel: Tunnel, mib: Annotated[int, typer.Option("--mib", help="MiB to add.")], reason: Why) -> None:
    """Add to a live tunnel's screen budget, as a steward."""
    answer = here.api.post(f"/tunnels/{tunnel}/top-up", {"bytes": mib * 2**20, "reason": reason})
    here.did(answer, f"{tunnel} has {answer['record']['budget'] / 2**20:.0f} MiB left.")
