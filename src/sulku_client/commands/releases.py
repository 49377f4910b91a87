"""``sulku releases`` and ``sulku outputs``: review what is to leave, and fetch what may."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sulku.errors import InvalidInputError, UnsafeNameError
from sulku_client import show, verify
from sulku_client.frame import Here, State, Yes, command, group
from sulku_client.papers import Keys, Rings, To, read, write
from sulku_client.show import Column

app = group("releases", "Results under review, and out.")
outputs = group("outputs", "The files of a release.")
Release = Annotated[str, typer.Argument(metavar="RELEASE", help="rel_…")]
COLUMNS = (
    Column("Reference", "id"),
    Column("State", "state"),
    Column("Title", "title", prose=True),
    Column("Author", "author"),
    Column("Round", "round", spare=True),
    Column("Submitted", "submitted_at", spare=True),
)
FILES = (
    Column("Reference", "id"),
    Column("Name", "name"),
    Column("Kind", "kind"),
    Column("State", "state"),
    Column("Blocked", "blocked"),
    Column("Findings", "findings", prose=True),
)


@command(outputs, "list")
def files(here: Here, release: Release) -> None:
    """List a release's files with their findings."""
    answer = here.api.get(f"/releases/{release}/outputs")
    if here.json:
        show.as_json(answer)
        return
    found = [{**one, "findings": " ".join(finding.get("message", "") for finding in one["findings"])} for one in answer["items"]]
    show.table(found, FILES)


@command(outputs, "preview")
def preview(here: Here, output: Annotated[str, typer.Argument(metavar="OUTPUT", help="out_…")], to: To) -> None:
    """Save what an output was rebuilt to; reading it is recorded."""
    write(to, here.api.bytes(f"/outputs/{output}/preview")[1])
    here.did({"file": str(to)}, f"Saved {to}.")


@command(app, "list")
def listing(here: Here, state: State = None) -> None:
    """List the releases that you may see."""
    here.list(here.api.get("/releases", state=state), COLUMNS)


@command(app, "show")
def view(here: Here, release: Release) -> None:
    """Show one release, what changed since its last round, and what you may do with it now."""
    record, changes = here.api.get(f"/releases/{release}"), here.api.get(f"/releases/{release}/changes")
    known = {"changes": changes} if changes["since"] or here.json else {}
    here.one({**record, **known, "may": here.api.get(f"/releases/{release}/may")})


@command(app, "judge")
def judge(
    here: Here,
    release: Release,
    approve: Annotated[
        list[str] | None, typer.Option("--approve", metavar="OUTPUT", help="This file may leave; `all` for the rest.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--change", metavar="OUTPUT=REASON[:COMMENT]", help="It must change, and why.")
    ] = None,
) -> None:
    """Give your verdict on every file; nobody else sees it until both are in."""
    items = here.api.get(f"/releases/{release}")["items"]
    answer = here.api.post(f"/releases/{release}/judge", {"marks": marks(items, approve or [], change or [])})
    here.did(answer, f"Your verdict on {len(items)} {'file' if len(items) == 1 else 'files'} is in.")


def marks(items: list[dict[str, Any]], approve: list[str], change: list[str]) -> list[dict[str, Any]]:
    """Return a verdict for each item; the digests are of the files as they are now.

    Raises:
        InvalidInputError: A file has no verdict, or two, or is not in the release.
    """
    asked = dict(_change(one) for one in change)
    approved = {item["output"] for item in items} - set(asked) if "all" in approve else set(approve)
    known = {item["output"] for item in items}
    if (approved & set(asked)) or (approved | set(asked)) != known:
        missing = ", ".join(sorted(known - approved - set(asked))) or "one has two, or is not in this release"
        raise InvalidInputError("judge every file once", fields=[("--approve, --change", missing)])
    return [{"output": item["output"], "rebuilt": item["rebuilt"], **asked.get(item["output"], {"verdict": "approve"})} for item in items]


def _change(text: str) -> tuple[str, dict[str, Any]]:
    output, _, rest = text.partition("=")
    reason, _, comment = rest.partition(":")
    return output, {"verdict": "change", "reason": reason or None, "comment": comment}


@command(app, "retract")
def retract(here: Here, release: Release) -> None:
    """Take your own verdict back, before the consolidation."""
    here.did(here.api.post(f"/releases/{release}/retract"), "Your verdict is taken back.")


@command(app, "consolidate")
def consolidate(
    here: Here,
    release: Release,
    point: Annotated[list[str] | None, typer.Option("--point", help="Return it with this to change; may be repeated.")] = None,
    *,
    let_out: Annotated[bool, typer.Option("--let-out", help="Every file leaves; cannot be undone.")] = False,
    yes: Yes = False,
) -> None:
    """Close the round: let it out, or return it with points."""
    if let_out == bool(point):
        raise InvalidInputError("either --let-out, or --point", fields=[("--let-out, --point", "One of them")])
    if let_out:
        here.sure(f"Let every file of {release} out?", yes=yes)
    answer = here.api.post(f"/releases/{release}/consolidate", {"release": let_out, "points": point or []})
    here.did(answer, f"{release} is {answer['record']['state']}.")


@command(app, "withdraw")
def withdraw(here: Here, release: Release, *, yes: Yes = False) -> None:
    """Take your release back for good."""
    here.sure(f"Withdraw {release} for good?", yes=yes)
    here.did(here.api.post(f"/releases/{release}/withdraw"), f"{release} is withdrawn.")


@command(app, "fetch")
def fetch(here: Here, release: Release, to: To = Path()) -> None:
    """Save every file of a delivered release, and its signed manifest, into a folder."""
    items = here.api.get(f"/releases/{release}")["items"]
    to.mkdir(parents=True, exist_ok=True)
    saved = []
    with show.progress("files", len(items)) as set_done:
        for number, item in enumerate(items, 1):
            name, data = here.api.bytes(f"/releases/{release}/files/{item['output']}")
            saved.append(to / _plain(name))
            write(saved[-1], data)
            set_done(number)
    manifest = to / f"{release}.manifest.json"
    write(manifest, here.api.bytes(f"/releases/{release}/manifest")[1])
    here.did(
        {"files": [str(one) for one in saved], "manifest": str(manifest)}, f"Saved {len(saved)} in {to}, and the manifest {manifest.name}."
    )


def _plain(name: str) -> str:
    """Return ``name`` if it can be nothing but a file in the chosen folder.

    Raises:
        UnsafeNameError: It could be something else.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise UnsafeNameError(f"the server names a file {name!r}")
    return name


@command(app, "verify")
def check(
    here: Here,
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST")],
    file: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...")] = None,
    key: Keys = None,
    rings: Rings = None,
) -> None:
    """Check a release's manifest offline, and that it holds these files."""
    ring = verify.read_ring(verify.read_keys(key or ()), read(rings) if rings else None)
    found = verify.verify_release(read(manifest), ring, file or (), signed_at="delivered")
    document = found.document if here.json else {name: value for name, value in found.document.items() if name != "checkpoint"}
    here.one({"signed_by": list(found.signers), "compared": [list(pair) for pair in found.files], **document})
    here.say(f"The signature holds; {len(found.files)} files are those that were released.")
