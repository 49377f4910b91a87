"""``sulku people``: the directory, for operators; and everybody's own absence."""

from __future__ import annotations

from typing import Annotated

import typer

from sulku_client.frame import Here, Why, Yes, command, group
from sulku_client.show import Column

app = group("people", "Who may act, and as what.")
Person = Annotated[str, typer.Argument(metavar="PERSON", help="usr_…")]
Roles = Annotated[list[str], typer.Option("--role", help="researcher, steward, auditor or operator; may be repeated.")]
Expires = Annotated[str | None, typer.Option("--expires", metavar="TIME", help="When the account ends, as 2027-01-31T00:00:00Z.")]
COLUMNS = (
    Column("Reference", "id"),
    Column("Name", "name", prose=True),
    Column("E-mail", "email"),
    Column("Organisation", "organisation", prose=True),
    Column("Roles", "roles", prose=True),
    Column("State", "state"),
)


@command(app, "list")
def listing(here: Here) -> None:
    """List the directory."""
    here.list(here.api.get("/people"), COLUMNS)


@command(app, "register")
def register(
    here: Here,
    name: Annotated[str, typer.Option("--name")],
    email: Annotated[str, typer.Option("--email", help="As their organisation's sign-in verifies it.")],
    organisation: Annotated[str, typer.Option("--organisation")],
    role: Roles,
    group: Annotated[list[str] | None, typer.Option("--group", help="A research group; may be repeated.")] = None,
    expires: Expires = None,
) -> None:
    """Enter a person into the directory."""
    body = {"name": name, "email": email, "organisation": organisation, "roles": role, "groups": group or [], "expires": expires}
    answer = here.api.post("/people", body)
    here.did(answer, f"{answer['record']['name']} is {answer['record']['id']}.")


@command(app, "roles")
def roles(here: Here, person: Person, role: Roles, expires: Expires = None) -> None:
    """Set a person's roles anew."""
    answer = here.api.put(f"/people/{person}/roles", {"roles": role, "expires": expires})
    here.did(answer, f"{person} now holds {', '.join(role)}.")


@command(app, "leave")
def leave(here: Here, person: Person, reason: Why, *, yes: Yes = False) -> None:
    """End a person's account, and at once every live tunnel of theirs."""
    here.sure(f"End the account of {person} and their live tunnels?", yes=yes)
    here.did(here.api.post(f"/people/{person}/leave", {"reason": reason}), f"The account of {person} has ended.")


@command(app, "unbind")
def unbind(here: Here, person: Person, reason: Why, *, yes: Yes = False) -> None:
    """Release a person's sign-in, so that their next one is bound to them."""
    here.sure(f"Release the sign-in of {person}, so that the next one that proves their address is theirs?", yes=yes)
    here.did(here.api.post(f"/people/{person}/unbind", {"reason": reason}), f"The sign-in of {person} is released; their next one is bound.")


@command(app, "absence")
def absence(
    here: Here,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Away until then; leave out when you are back.")] = None,
    delegate: Annotated[str, typer.Option("--delegate", metavar="PERSON", help="Who stands in for you.")] = "",
) -> None:
    """Say until when you are away, and who stands in."""
    answer = here.api.put("/me/absence", {"away_until": until, "delegate": delegate})
    here.did(answer, f"Away until {until}." if until else "Back.")
