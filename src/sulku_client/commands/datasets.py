"""``sulku datasets``: the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sulku_client.frame import Here, Why, Yes, command, group
from sulku_client.papers import document
from sulku_client.show import Column

app = group("datasets", "What can be applied for.")
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="dst_…")]
From = Annotated[Path, typer.Option("--from", metavar="FILE", help="A JSON document; see the API's reference.")]
COLUMNS = (
    Column("Reference", "id"),
    Column("Name", "name"),
    Column("Title", "title", prose=True),
    Column("Controller", "controller", prose=True, spare=True),
    Column("Sensitivity", "sensitivity"),
    Column("State", "state"),
)


@command(app, "list")
def listing(here: Here) -> None:
    """List the catalogue."""
    here.list(here.api.get("/datasets"), COLUMNS)


@command(app, "show")
def view(here: Here, dataset: Dataset) -> None:
    """Show one dataset: its versions, variables, persons and terms."""
    here.one(here.api.get(f"/datasets/{dataset}"))


@command(app, "catalogue")
def catalogue(here: Here, file: From) -> None:
    """Enter a dataset into the catalogue."""
    answer = here.api.post("/datasets", document(file))
    here.did(answer, f"{answer['record']['name']} is {answer['record']['id']}.")


@command(app, "revise")
def revise(here: Here, dataset: Dataset, file: From) -> None:
    """Add a version; permits keep the version that they name."""
    answer = here.api.post(f"/datasets/{dataset}/editions", document(file))
    here.did(answer, f"{answer['record']['name']} has version {answer['record']['editions'][-1]['version']}.")


@command(app, "withdraw")
def withdraw(here: Here, dataset: Dataset, reason: Why, *, yes: Yes = False) -> None:
    """Take a dataset out of the catalogue: no new tunnel mounts it."""
    here.sure(f"Withdraw {dataset} for good?", yes=yes)
    here.did(here.api.post(f"/datasets/{dataset}/withdraw", {"reason": reason}), f"{dataset} is withdrawn.")
