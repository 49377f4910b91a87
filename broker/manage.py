"""The operator's command, ``sulku-broker``: first steps, running, checking, keys, backup. It decides nothing and shows no data."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker import checkup, processes, serving, settings, signing, telemetry, wiring
from broker.adapters import certificates
from broker.adapters.clock import SystemClock
from broker.adapters.keys import FileKeys, secret
from broker.adapters.sandbox import doctor as isolation
from broker.adapters.vault import FileVault
from broker.flows import people
from broker.store import backup as backups
from broker.store import migrate, verify
from broker.store.unit import Database
from sulku import ids
from sulku.codec import plain
from sulku.crypto import seal
from sulku.errors import ConfigurationError, InvalidInputError, SulkuError
from sulku.people import Register, Role, service
from sulku.soundness import safe

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
out = Console(stderr=True)
State = Annotated[Path, typer.Option("--state", envvar="SULKU_STATE", help="Folder of everything that is kept.")]
HERE = Path("var")
SIGNED = "signed"  # beside the keys once they have signed a checkpoint
BESIDES = ("policies", "vault/datasets")  # what a backup holds besides records and outputs: immutable, so copied as it is


@app.command()
def init(
    state: State = HERE,
    person: Annotated[list[str], typer.Option(help="role:name:e-mail:organisation, repeatable; auditors end after a year.")] = [],  # noqa: B006
) -> None:
    """Make keys, secrets and an empty database, and enter the first people. Nothing is decided here."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = SystemClock().now()
    found = settings.load(state)
    if not (state / "keys" / "keyrings.jsonl").exists():
        FileKeys.make(state / "keys", f"{urlsplit(found.url).hostname}/ledger", now)
    secret(found.session_key, seal.token(48))
    (state / "run").mkdir(mode=0o700, exist_ok=True)
    (state / "spool").mkdir(mode=0o700, exist_ok=True)
    _prepare_database(found)
    wired = wiring.wire(found)
    wiring.publish(wired)
    for one in person:
        role, name, email, organisation = (*one.split(":", 3), "", "", "")[:4]
        ends = now + timedelta(days=365) if role == Role.AUDITOR else None
        command = Register(name, email, organisation, (Role(role),), expires=ends)
        people.register(wired.ports, service("setup"), command)
        out.print(f"entered {role} {name} <{email}>")
    wired.archive.checkpoint()  # every paper names a checkpoint, so there is one before the first paper
    (state / "keys" / SIGNED).touch(mode=0o600)
    out.print(f"ready: {state}; key {wired.keys.key.public.vkey}", soft_wrap=True)  # a key is copied from a log, on one line


def _prepare_database(found: settings.Settings) -> None:
    """Bring the schema up; never begin a second ledger under keys that have signed one.

    Raises:
        ConfigurationError: The database is empty, and the keys are not new.
    """
    database = Database(wiring.database_url(found))
    if (found.state / "keys" / SIGNED).exists() and not migrate.schema(database):
        raise ConfigurationError("the database is empty, and the keys have signed a ledger: restore its database, or begin with new keys")
    migrate.upgrade(database)


@app.command("serve")
def serve_(state: State = HERE) -> None:
    """Run the broker: pages, API, the socket inside, and the worker and clock unless Celery does that."""
    telemetry.configure()
    serving.serve(settings.load(state))


@app.command()
def issuer(state: State = HERE) -> None:
    """Run the development sign-in, which proves nothing and refuses to run in production."""
    telemetry.configure()
    serving.serve_issuer(settings.load(state))


@app.command()
def worker(state: State = HERE) -> None:
    """Run a Celery worker with its relay, in production."""
    telemetry.configure()
    serving.serve_worker(settings.load(state))


@app.command()
def up(state: State = HERE) -> None:
    """Run every part on this machine: gateway, hub, broker and (in demo mode) the development sign-in."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it takes its parts with it, as Ctrl-C does
    with processes.Running(settings.load(state), log=state / "log") as running:
        running.wait_ready()
        out.print(f"serving at {running.settings.url} (Ctrl-C ends it)")
        running.wait()


@app.command()
def doctor(
    state: State = HERE,
    *,
    cluster: Annotated[bool, typer.Option("--cluster", help="Attack the Kubernetes cluster of the settings instead, from pods that are removed again.")] = False,
    dataset: Annotated[list[str], typer.Option(help="With --cluster: KEY=VALUE of a dataset whose volume is tried, repeatable; name=… among them.")] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="With --cluster: print JSON.")] = False,
) -> None:
    """Try what sulku needs of this machine, or of the cluster, and show where each setting comes from. Exit status 6: it will not do."""
    found = settings.load(state)
    if cluster:
        _examine(found, checkup.sampled(dataset), as_json=as_json)
    table = Table("check", "", "what was found", "what to do")
    checks = isolation(found.workspace.expanduser(), found.image.resolve())
    for check in checks:
        table.add_row(check.name, "ok" if check.ok else "MISSING" if check.needed else "no", check.detail, "" if check.ok else check.remedy)
    out.print(table)
    origins = Table("setting", "value", "from")
    for name, (value, origin) in settings.provenance(found).items():
        origins.add_row(name, value, origin)
    out.print(origins)
    raise typer.Exit(0 if all(check.ok for check in checks if check.needed) else 6)


def _examine(found: settings.Settings, sample: dict[str, str], *, as_json: bool) -> NoReturn:
    """Have the cluster examined and exit: 0 if a tunnel would be safe."""
    progress = checkup.Progress(out)
    with progress.ticking():
        findings = checkup.examine(found, sample, progress.say, progress.tell)
    if as_json:
        typer.echo(checkup.printed(findings))
    else:
        checkup.show(findings, checkup.console())
    raise typer.Exit(0 if safe(findings) else 6)


@app.command("take-in")
def take_in(
    folder: Annotated[Path, typer.Argument(help="Folder of CSV files, nothing else in it.")],
    version: Annotated[str, typer.Option(help="Name of this version; it never changes afterwards.")],
    person_key: Annotated[str, typer.Option(help="Column that tells persons apart, in every file.")],
    dataset: Annotated[str, typer.Option(help="Of a dataset that has versions already.")] = "",
    state: State = HERE,
) -> None:
    """Copy a dataset's files in. Prints what a steward then catalogues: `sulku datasets catalogue --from FILE`."""
    target = ids.parse(dataset, "dst") if dataset else ids.new("dst")
    edition = FileVault(state / "vault").take_in(target, version, folder, person_key=person_key)
    out.print(f"taken in: {edition.persons} persons in {len(edition.files)} files; a steward now catalogues it")
    typer.echo(json.dumps({"dataset": target, "edition": plain(edition)}, indent=1))


@app.command("rotate-keys")
def rotate_keys(state: State = HERE) -> None:
    """Sign with a new key from now on; the old one still verifies what it signed. Restart the broker afterwards."""
    made = FileKeys.make(state / "keys", FileKeys(state / "keys").key.name, SystemClock().now())
    out.print(f"new key: {made.key.public.vkey}")


trial = typer.Typer(no_args_is_help=True, help="Certificates for links by TCP, for trials; production brings its own.")
app.add_typer(trial, name="certificates")
app.add_typer(signing.app, name="policies")
Days = Annotated[int, typer.Option(min=1, max=90, help="Days until the certificates end.")]


def _require_trial(state: Path) -> None:
    if settings.load(state).mode is settings.Mode.PRODUCTION:
        raise ConfigurationError("production brings certificates of its own issuer; this one's key would lie beside the broker")


@trial.command("init")
def certificates_init(days: Days = 7, state: State = HERE) -> None:
    """Make a private authority, and a certificate for each part: broker, worker, gateway, hub."""
    _require_trial(state)
    until = certificates.init(state / "certificates", SystemClock().now(), timedelta(days=days))
    out.print(f"made {state / 'certificates'}: an authority and one certificate for each part, good until {until:%d %B %Y, %H:%M} UTC")
    out.print("for a trial: whoever has authority/tls.key can be any part")


@trial.command("renew")
def certificates_renew(days: Days = 7, state: State = HERE) -> None:
    """Make a new key and certificate for each part, under the same authority. What runs takes them up by itself."""
    _require_trial(state)
    until = certificates.renew(state / "certificates", SystemClock().now(), timedelta(days=days))
    out.print(f"renewed, good until {until:%d %B %Y, %H:%M} UTC")


@app.command()
def backup(target: Path, state: State = HERE) -> None:
    """Write a backup of the records, outputs, datasets and rules into a new folder, while the broker runs. Keys are not in it."""
    keys = FileKeys(state / "keys")
    backups.backup(state / "sulku.db", state / "blobs", target, keys=[one.key.vkey for one in keys.ring.keys])
    for name in BESIDES:
        if (state / name).exists():
            shutil.copytree(state / name, target / name)
    out.print(f"written: {target}; keep the keys of {state / 'keys'} and {state / 'secrets'} elsewhere, and homes if people want them")


@app.command()
def restore(source: Path, state: State = HERE) -> None:
    """Bring a backup back into an empty state folder and verify its ledger."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = backups.restore(source, state / "sulku.db", state / "blobs")
    for name in BESIDES:
        if (source / name).exists():
            shutil.copytree(source / name, state / name)
    out.print(f"restored and verified: {found.ledger.entries} entries, {found.ledger.records} records, {found.blobs} files")


@app.command("verify")
def verify_(state: State = HERE) -> None:
    """Recompute the ledger and every record from it."""
    found = verify.verify(Database(wiring.database_url(settings.load(state))))
    out.print(f"{found.entries} entries, {found.checkpoints} checkpoints, {found.records} records agree; root {found.root.hex()}")


@app.command()
def migrate_database(state: State = HERE) -> None:
    """Bring the database to the schema of this version."""
    migrate.upgrade(Database(wiring.database_url(settings.load(state))))


def main() -> None:
    """Run the command; errors say what, why and what next, and the exit status tells their family."""
    try:
        app()
    except SulkuError as error:
        out.print(f"[red]{error.code}[/red]: {escape(str(error))}\n{error.remedy()}")
        for field, problem in error.fields if isinstance(error, InvalidInputError) else ():
            out.print(f"  {field}: {problem}", markup=False, soft_wrap=True)
        sys.exit(error.exit)


if __name__ == "__main__":
    main()

