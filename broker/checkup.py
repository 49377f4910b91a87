"""`doctor --cluster`: has the cluster examined, looks at our own ledger as well, and shows what came of it."""

from __future__ import annotations

import json
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker import wiring
from broker.adapters.clock import SystemClock, monotonic
from broker.adapters.examination import Doctor, Subject
from broker.adapters.examination.ward import Eyes
from broker.adapters.kubernetes_api import Api
from broker.settings import Settings
from broker.store.trial import require_writable
from broker.store.unit import Database
from sulku.errors import ConfigurationError, SulkuError
from sulku.soundness import Finding, Verdict, finding, safe

QUIET: Final = 5.0  # seconds after which it is said that something still goes on
WIDTH: Final = 140  # of a table that nobody's terminal bounds
COLOURS: Final = {Verdict.OK: "green", Verdict.NO: "bold red", Verdict.UNKNOWN: "yellow"}


class Progress:
    """Lines on a console, and one at least every few seconds."""

    def __init__(self, out: Console) -> None:
        """Keep the console."""
        self._out, self._turn, self._over = out, threading.Lock(), threading.Event()
        self._last, self._since = "", monotonic()

    def say(self, text: str) -> None:
        """Print what is being done."""
        with self._turn:
            self._last, self._since = text, monotonic()
            self._out.print(f"[dim]  {escape(text)}[/dim]", highlight=False)

    def tell(self, one: Finding) -> None:
        """Print one finding."""
        self.say(f"{one.check}: {one.verdict}")

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Say what still goes on, for as long as this is open."""
        thread = threading.Thread(target=self._tick, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _tick(self) -> None:
        while not self._over.wait(1):
            if monotonic() - self._since > QUIET:
                self.say(self._last if self._last.startswith("still: ") else f"still: {self._last}")


def examine(settings: Settings, sample: Mapping[str, str], say: Callable[[str], None], tell: Callable[[Finding], None]) -> list[Finding]:
    """Examine the cluster of ``settings`` and our own ledger; ends early, and cleanly, on a signal.

    Args:
        sample: What fills the braces of the place's ``datasets``, to try the volume of one.
        say: Told what is being done.
        tell: Told each finding.

    Raises:
        ConfigurationError: It is not set how tunnels are made on a cluster.
        ClusterUnavailableError: There is no way to reach one.
        KeyboardInterrupt: Somebody ended it; what it made is gone.
    """
    if settings.place is None:
        raise ConfigurationError("place is not set: how are tunnels made on this cluster?")
    program = (settings.image.resolve().parent / "poddoctor.py").read_text()
    subject = Subject(settings.place, settings.namespace, program, sample=sample)
    api = Eyes.of(Api.connect(str(settings.kubeconfig or "")))
    doctor = Doctor(api, subject, now=SystemClock().now, say=say, tell=tell)
    with _interruptible(lambda: doctor.leaving, say):
        findings = doctor.examine()
    say("write into the ledger and undo it")
    findings.append(ledger(settings))
    tell(findings[-1])
    return findings


@contextmanager
def _interruptible(leaving: Callable[[], bool], say: Callable[[str], None]) -> Iterator[None]:
    """Interrupt the work once, on SIGINT or SIGTERM, and never its clean-up."""

    def stop(_: int, __: FrameType | None) -> None:
        if leaving():
            say("what was made is being removed; a moment")
        else:
            raise KeyboardInterrupt

    kept = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, before in kept.items():
            signal.signal(one, before)


def ledger(settings: Settings) -> Finding:
    """Try to write the ledger, and the folders of what is spooled and what is kept."""
    if not settings.database and not (settings.state / "sulku.db").exists():
        return finding("ledger", Verdict.UNKNOWN, f"there is none in {settings.state}: run this where the broker runs, with its settings")
    try:
        said = require_writable(Database(wiring.database_url(settings)))
        for name in ("spool", "blobs"):
            folder = settings.state / name
            folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder) as file:
                file.write(b"trial")
    except (SulkuError, OSError) as error:
        return finding("ledger", Verdict.NO, str(error))
    return finding("ledger", Verdict.OK, f"{said}; spool and blobs can be written")


def show(findings: list[Finding], out: Console) -> None:
    """Print the table."""
    table = Table(show_lines=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was tried", max_width=40)
    table.add_column("", no_wrap=True)
    table.add_column("what happened, and what to do", overflow="fold")
    for one in findings:
        mark = "" if one.blocks or one.verdict is Verdict.OK else " *"
        told = escape(one.found) + (f"\n[bold]{escape(one.remedy)}[/bold]" if one.remedy else "")
        table.add_row(one.check, one.attack, f"[{COLOURS[one.verdict]}]{one.verdict}[/]{mark}", told)
    out.print(table)
    if any(not one.blocks and one.verdict is not Verdict.OK for one in findings):
        out.print("* no tunnel rests on it here")
    blocking = [one.check for one in findings if one.blocks]
    if safe(findings):
        out.print("A tunnel would be safe on this cluster.")
    else:
        out.print(f"A tunnel would [bold]not[/bold] be safe on this cluster: {', '.join(blocking) or 'not everything was tried'}.")


def console() -> Console:
    """Return where the table goes."""
    made = Console()
    return made if made.is_terminal else Console(width=WIDTH)


def printed(findings: list[Finding]) -> str:
    """Return the findings as JSON."""
    return json.dumps({"safe": safe(findings), "findings": [one.document() for one in findings]}, indent=1)


def sampled(pairs: list[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` pairs as a mapping.

    Raises:
        ConfigurationError: One has no ``=``, or there is no name.
    """
    told = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(told) != len(pairs) or (told and "name" not in told):
        raise ConfigurationError("--dataset takes KEY=VALUE, each key once, and name=… among them")
    return told

