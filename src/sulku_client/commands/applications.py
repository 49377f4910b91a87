"""``sulku applications``: apply for access, and decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sulku.errors import InvalidInputError
from sulku_client.frame import Here, State, Why, Yes, command, group
from sulku_client.papers import document
from sulku_client.show import Column

app = group("applications", "Requests for access: drafted, sent, decided by two.")
Application = Annotated[str, typer.Argument(metavar="APPLICATION", help="app_…")]
Points = Annotated[list[str], typer.Option("--point", help="One thing to correct; may be repeated.")]
COLUMNS = (
    Column("Reference", "id"),
    Column("State", "state"),
    Column("Title", "form.title", prose=True),
    Column("Applicant", "applicant"),
    Column("Round", "round", spare=True),
    Column("Submitted", "submitted_at", spare=True),
)


@command(app, "list")
def listing(here: Here, state: State = None) -> None:
    """List the applications that you may see."""
    here.list(here.api.get("/applications", state=state), COLUMNS)


@command(app, "show")
def view(here: Here, application: Application) -> None:
    """Show one application, what changed since its last round, and what you may do with it now."""
    record, changes = here.api.get(f"/applications/{application}"), here.api.get(f"/applications/{application}/changes")
    known = {"changes": changes} if changes["since"] or here.json else {}
    here.one({**record, **known, "may": here.api.get(f"/applications/{application}/may")})


@command(app, "draft")
def draft(
    here: Here,
    application: Annotated[str, typer.Argument(metavar="[APPLICATION]", help="Which to save; leave out to begin one.")] = "",
    file: Annotated[Path | None, typer.Option("--from", metavar="FILE", help="The answers as JSON; options beat them.")] = None,
    title: Annotated[str | None, typer.Option("--title")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose")] = None,
    basis: Annotated[str | None, typer.Option("--basis", help="The legal basis.")] = None,
    outputs: Annotated[str | None, typer.Option("--outputs", help="Results that you expect to take out.")] = None,
    person: Annotated[list[str] | None, typer.Option("--person", help="usr_… of a co-worker; may be repeated.")] = None,
    dataset: Annotated[list[str] | None, typer.Option("--dataset", help="dst_…@VERSION:variable,variable; may be repeated.")] = None,
    starts: Annotated[str | None, typer.Option("--starts", metavar="DATE")] = None,
    ends: Annotated[str | None, typer.Option("--ends", metavar="DATE", help="The last day, itself included.")] = None,
) -> None:
    """Begin an application, or save its answers; what you leave out stays as it is."""
    answers: dict[str, Any] = here.api.get(f"/applications/{application}")["form"] if application else {}
    answers |= document(file) if file else {}
    given = {"title": title, "purpose": purpose, "basis": basis, "outputs": outputs, "people": person, "starts": starts, "ends": ends}
    answers |= {name: value for name, value in given.items() if value is not None}
    if dataset:
        answers["datasets"] = [wanted(one) for one in dataset]
    answer = here.api.put(f"/applications/{application}", answers) if application else here.api.post("/applications", answers)
    here.did(answer, f"Saved as {answer['record']['id']}.")


def wanted(text: str) -> dict[str, Any]:
    """Return what ``dst_…@VERSION:variable,variable`` asks for.

    Raises:
        InvalidInputError: It is not of that form.
    """
    reference, at, rest = text.partition("@")
    version, colon, variables = rest.partition(":")
    if not at or not colon or not version:
        raise InvalidInputError(f"{text!r} is not DATASET@VERSION:variable,variable", fields=[("--dataset", "dst_…@1.0:age,sex")])
    return {"dataset": reference, "version": version, "variables": [one.strip() for one in variables.split(",") if one.strip()]}


@command(app, "submit")
def submit(here: Here, application: Application) -> None:
    """Send an application to the stewards."""
    here.did(here.api.post(f"/applications/{application}/submit"), f"{application} is with the stewards.")


@command(app, "judge")
def judge(
    here: Here,
    application: Application,
    verdict: Annotated[str, typer.Argument(metavar="approve|refuse")],
    reason: Why = "",
) -> None:
    """Approve or refuse, as one of two; the second approval issues the permit."""
    answer = here.api.post(f"/applications/{application}/judge", {"verdict": verdict, "reason": reason})
    record = answer["record"]
    here.did(answer, f"{application} is {record['state']}{': permit ' + record['permit'] if record['permit'] else ''}.")


@command(app, "return")
def return_(here: Here, application: Application, point: Points) -> None:
    """Ask the applicant to correct points."""
    here.did(here.api.post(f"/applications/{application}/return", {"points": point}), f"{application} is with its applicant again.")


@command(app, "declare")
def declare(here: Here, application: Application, reason: Why = "", *, yes: Yes = False) -> None:
    """Declare a conflict of interest; you are out of this application for good."""
    here.sure(f"Declare a conflict of interest in {application}?", yes=yes)
    here.did(here.api.post(f"/applications/{application}/declare", {"reason": reason}), "Declared; others will judge it.")


@command(app, "retract")
def retract(here: Here, application: Application) -> None:
    """Take your own verdict back, before the decision."""
    here.did(here.api.post(f"/applications/{application}/retract"), "Your verdict is taken back.")


@command(app, "withdraw")
def withdraw(here: Here, application: Application, *, yes: Yes = False) -> None:
    """Take your application back for good."""
    here.sure(f"Withdraw {application} for good?", yes=yes)
    here.did(here.api.post(f"/applications/{application}/withdraw"), f"{application} is withdrawn.")
