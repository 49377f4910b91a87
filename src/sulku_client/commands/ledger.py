"""``sulku ledger``: what happened, provable without the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sulku.errors import LedgerBrokenError
from sulku_client import show, verify
from sulku_client.frame import Here, Yes, command, group
from sulku_client.papers import Keys, To, read, write
from sulku_client.show import Column

app = group("ledger", "Everything that happened, append-only and provable.")
COLUMNS = (
    Column("#", "index"),
    Column("When", "at"),
    Column("What", "type"),
    Column("Record", "id"),
    Column("By", "by.id"),
    Column("Role", "by.role", spare=True),
    Column("Decision", "clearance.decision"),
)
ACCESS = (
    Column("Person", "person"),
    Column("Edition", "edition"),
    Column("Permit", "permit"),
    Column("Tunnel", "tunnel"),
    Column("Since", "since"),
    Column("Until", "until"),
)
TEXTS = (Column("Field", "field"), Column("Commitment", "checks", prose=True), Column("Text", "text", prose=True))
CHECKS = (
    Column("Check", "name"),
    Column("Done", "done"),
    Column("Of", "total"),
    Column("Found", "detail", prose=True),
)
Known = Annotated[list[Path] | None, typer.Option("--known", metavar="FILE", help="A checkpoint that you kept; may be repeated.")]


@command(app, "head")
def head(here: Here, to: Annotated[Path | None, typer.Option("--to", metavar="PATH", help="Keep the checkpoint here.")] = None) -> None:
    """Show the ledger's size and root, and keep its signed checkpoint. Needs no sign-in."""
    answer = here.api.get("/ledger")
    if to is not None:
        write(to, answer["checkpoint"].encode())
    here.one(answer)


@command(app, "search")
def search(
    here: Here,
    person: Annotated[str, typer.Option("--person", help="Who acted, or whose record it is.")] = "",
    noun: Annotated[str, typer.Option("--noun", help="A prefix, such as tun.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Such as tunnel.opened, or the part before the dot.")] = "",
    dataset: Annotated[str, typer.Option("--dataset")] = "",
    record: Annotated[str, typer.Option("--record")] = "",
    outcome: Annotated[str, typer.Option("--outcome", help="clearance, refusal or mandate.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME")] = "",
    before: Annotated[int | None, typer.Option("--before", help="Go on below this entry.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=500)] = 50,
) -> None:
    """List entries, newest first."""
    where = {"person": person, "noun": noun, "type": kind, "dataset": dataset, "record": record, "outcome": outcome}
    found = here.api.get("/ledger/entries", **where, since=since, until=until, before=before, most=most)
    if here.json:
        show.as_json(found)
        return
    show.table(found["entries"], COLUMNS)
    if found["before"] is not None:
        show.line(f"More: --before {found['before']}")


@command(app, "export")
def export(
    here: Here, to: To, *, private: Annotated[bool, typer.Option("--private", help="Also the texts behind the commitments.")] = False
) -> None:
    """Save the auditor's bundle: everything up to now, provable without us."""
    with here.api.stream("/ledger/bundle", private=str(private).lower()) as answer:
        total = int(answer.headers.get("content-length", "0"))
        parts, done = [], 0
        with show.progress("bundle", total, size=True) as set_done:
            for part in answer.iter_bytes():
                parts.append(part)
                done += len(part)
                set_done(done)
    write(to, b"".join(parts))
    here.did({"file": str(to), "bytes": done}, f"Saved {to}. Check it with: sulku ledger verify {to}")


@command(app, "verify")
def check(
    here: Here,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    key: Keys = None,
    known: Known = None,
) -> None:
    """Verify a bundle offline: no server is asked. Exit status 7 if anything was changed."""
    keys = verify.read_keys(key or ())
    earlier = [read(path) for path in known or ()]
    with _progress() as tell:
        report = verify.verify_ledger(bundle, keys, known=earlier, progress=tell)
    checks = [{"name": one.name, "done": one.done, "total": one.total, "detail": one.detail} for one in report.checks]
    used = [{"key": one.key.vkey, "fingerprint": one.key.fingerprint} for one in report.keys]
    if here.json:
        show.as_json(
            {"origin": report.origin, "size": report.size, "root": report.root, "anchored": report.anchored, "keys": used, "checks": checks}
        )
        return
    show.table(checks, CHECKS)
    show.line(f"Intact: {report.size} records of {report.origin}, root {report.root}")
    if not report.anchored:
        show.line("No key that you gave vouches for it: compare these fingerprints with the ones you were given on paper.")
        for one in used:
            show.line(f"  {one['fingerprint']}\n  --key {one['key']}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each phase of a verification, on a terminal; totals come with the phase's first call."""
    with ExitStack() as bars:
        phase = ""
        set_done: Callable[[int], None] = lambda done: None  # noqa: E731

        def tell(name: str, done: int, total: int) -> None:
            nonlocal phase, set_done
            if name != phase:
                bars.close()
                phase, set_done = name, bars.enter_context(show.progress(name, total))
            set_done(done)

        yield tell


@command(app, "check")
def check_here(here: Here) -> None:
    """Have the server recompute its ledger and compare every record with it."""
    here.list(here.api.post("/ledger/verifications"), CHECKS)


@command(app, "consistent")
def consistent(here: Here, checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="One that you kept.")]) -> None:
    """Check that the ledger of now begins with the one that your checkpoint signed."""
    answer = here.api.post("/ledger/consistency", {"checkpoint": read(checkpoint).decode(errors="replace")})
    here.did(answer, f"Consistent: {answer['before']} entries then, {answer['now']} now.")


@command(app, "proof")
def proof(here: Here, index: Annotated[int, typer.Argument(metavar="INDEX", min=0)]) -> None:
    """Show what proves that an entry is in the ledger."""
    here.one(here.api.get(f"/ledger/entries/{index}/proof"))


@command(app, "replay")
def replay(here: Here, decision: Annotated[str, typer.Argument(metavar="DECISION", help="dec_…")]) -> None:
    """Evaluate a decision again, with the policy and the input of then. Exit status 7 if the answer differs."""
    answer = here.api.post("/ledger/replays", {"decision": decision})
    here.one(answer if here.json else {name: value for name, value in answer.items() if name != "asked"})
    if not answer["same"]:
        raise LedgerBrokenError(f"{decision} is answered differently now")
    here.say("The same, bit for bit.")


@command(app, "access")
def access(here: Here, dataset: Annotated[str, typer.Argument(metavar="DATASET", help="dst_…")]) -> None:
    """List who had which version of a dataset, and when."""
    here.list(here.api.get(f"/ledger/access/{dataset}"), ACCESS)


@command(app, "texts")
def texts(here: Here, index: Annotated[int, typer.Argument(metavar="INDEX", min=0)]) -> None:
    """Open the private texts beside an entry, and check each against its commitment; that you looked is recorded."""
    answer = here.api.get(f"/ledger/entries/{index}/texts")
    if here.json:
        show.as_json(answer)
        return
    gone = answer["erased"]
    said = {True: "checks", False: "DOES NOT CHECK", None: "erased" if gone else "GONE, and no erasure says so"}
    show.table([{**one, "checks": said[one["fits"]]} for one in answer["texts"]], TEXTS)
    if gone:
        show.line(f"Erased by {gone['by']['id']}, {show.text(gone['at'])} (record {gone['index']}). The tree still holds.")
        show.line(f"Legal ground: {gone['body']['ground']}")


@command(app, "erase")
def erase(
    here: Here,
    record: Annotated[list[str], typer.Argument(metavar="RECORD...", help="usr_…, app_…, tun_… or rel_…")],
    ground: Annotated[str, typer.Option("--ground", help="The legal ground. It stays for ever: name nobody.")],
    *,
    yes: Yes = False,
) -> None:
    """Erase the private texts about records that are over, as an operator. No entry goes; repeating it does nothing."""
    here.sure(f"Erase the private texts about {', '.join(record)} for good?", yes=yes)
    done = [here.api.post("/ledger/erasures", {"record": one, "ground": ground}) for one in record]
    if here.json:
        show.as_json({"items": done, "count": len(done)})
        return
    for one in done:
        what = f"{one['texts']} texts and {one['decisions']} decisions erased" if one["entries"] else "nothing is left to erase"
        here.did(one, f"{one['record']}: {what}.")
