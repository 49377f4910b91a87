"""A whole installation in a temporary folder: real processes on free ports of this machine, with people and three datasets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from broker import settings as settings_module
from broker import wiring
from broker.adapters.clock import SystemClock
from broker.adapters.sandbox import Sandbox
from broker.flows import datasets
from broker.processes import Running
from broker.settings import Settings
from sulku import ids
from sulku.datasets import Catalogue
from sulku.people import Actor, Role
from sulku.plan import EndRecord
from tests.ports import free_port
from tests.stories import clinical
from tests.stories.person import Person

CACHE = Path.home() / ".cache" / "sulku"
PEOPLE = (  # role, name, e-mail, organisation
    ("researcher", "Ada Salmi", "ada@uni.example", "Lakeside University"),
    ("researcher", "Aki Niemi", "aki@uni.example", "Lakeside University"),
    ("researcher", "Eva Koski", "eva@uni.example", "Lakeside University"),
    ("researcher", "Ilo Rinne", "ilo@uni.example", "Lakeside University"),
    ("steward", "Maria Lind", "maria@register.example", "Register Authority"),
    ("steward", "Bo Ek", "bo@register.example", "Register Authority"),
    ("steward", "Cai Rask", "cai@register.example", "Register Authority"),
    ("steward", "Sten Salo", "sten@uni.example", "Lakeside University"),  # a conflict of interest, by employer
    ("auditor", "Tove Holm", "tove@audit.example", "Audit Office"),
    ("operator", "Olli Aho", "olli@ops.example", "Computing Centre"),
)


def command(url: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command `sulku` for the installation at ``url``, as somebody whose home folder is ``home``."""
    env = {**os.environ, "PYTHONPATH": f"src{os.pathsep}.", "HOME": str(home), "SULKU_URL": url, "NO_COLOR": "1"}
    argv = [sys.executable, "-m", "sulku_client", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=120, stdin=subprocess.DEVNULL)


class At(Protocol):
    """Where the story happens: what it asks of an installation, on one machine or on a cluster.

    Attributes:
        keeper: What ends a workspace by itself there, in words.
        clocks: Who ends a tunnel while the broker is dead, in words.
        causes: What a workspace's end record may then say.
        shortest: Minutes of a tunnel in which three can be opened at once.
        late: Seconds within which a workspace is dead after its deadline.
    """

    settings: Settings
    keeper: str
    clocks: str
    causes: tuple[str, ...]
    shortest: int
    late: float

    def person(self, email: str, role: str | None = None) -> Person:
        """Return somebody, signed in."""

    def catalogue(self) -> dict[str, str]:
        """Take the three datasets in and catalogue them; return their ids by name."""

    def cli(self, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
        """Run the researcher's, steward's and auditor's command."""

    def kill(self, part: str) -> None:
        """End a part without warning, and keep it dead."""

    def start(self, part: str) -> None:
        """Have a part that was killed run and answer again."""

    def tail(self, part: str) -> str:
        """Return the end of what a part wrote."""

    def kill_keeper(self, tunnel: str) -> None:
        """Kill what ends the workspace of a tunnel by itself."""

    def ended(self, tunnel: str) -> EndRecord | None:
        """Return what was left of a workspace at its end, if it has ended."""


@dataclass
class Installation:
    """One installation on this machine. ``given`` are settings that differ from the defaults, such as for the production services."""

    given: Mapping[str, Any] = field(default_factory=dict)
    keep: Path | None = None  # a folder to use and leave in place; else a temporary one
    trust: ssl.SSLContext | None = None  # of people, where TLS ends in front of it
    people: list[Person] = field(default_factory=list)
    keeper: str = "the supervisor"
    clocks: str = "gateway and supervisor"
    causes: tuple[str, ...] = ("deadline",)
    shortest: int = 1
    late: float = 5.0

    def __enter__(self) -> Self:
        self.state = self.keep or Path(tempfile.mkdtemp(prefix="sulku-"))
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        port, gate, issuer = (free_port() for _ in range(3))
        said = {
            "url": f"http://broker.localhost:{port}",
            "port": port,
            "preview_url": f"http://preview.localhost:{port}",
            "gate_domain": f"sulku.localhost:{gate}",
            "gate_port": gate,
            "issuer": f"http://issuer.localhost:{issuer}",
            "issuer_port": issuer,
            **self.given,
        }
        (self.state / "settings.json").write_text(json.dumps(said, indent=1))
        if any(str(value).startswith("https:") for name, value in self.given.items() if name.endswith("_address")):
            self.manage("certificates", "init")
        self.manage("init", *(f"--person={':'.join(one)}" for one in PEOPLE))
        self.settings = settings_module.load(self.state)
        self.running = Running(self.settings, log=self.state / "log")
        self.running.__enter__()
        try:
            self.running.wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for person in self.people:
            person.close()
        self.running.__exit__(None, None, None)
        self._end_workspaces()
        if self.keep is None:
            shutil.rmtree(self.state, ignore_errors=True)

    @property
    def sandbox(self) -> Sandbox:
        """The workspaces of this machine, as anybody with the state folder sees them, whether the broker lives or not."""
        return Sandbox(self.state, self.settings.workspace.expanduser(), self.settings.image, now=SystemClock().now)

    def kill_keeper(self, tunnel: str) -> None:
        """Kill the supervisor of a tunnel."""
        told = json.loads((self.state / "run" / ids.label(tunnel) / "namespaces.json").read_text())
        os.kill(int(told["supervisor"]), signal.SIGKILL)

    def ended(self, tunnel: str) -> EndRecord | None:
        """Return the end record of a tunnel, if it has ended."""
        found = self.sandbox.status(tunnel)
        return found if isinstance(found, EndRecord) else None

    def kill(self, part: str) -> None:
        """End a process without warning."""
        self.running.kill(part)

    def start(self, part: str) -> None:
        """Start a process again and wait until all answer."""
        self.running.start(part)
        self.running.wait_ready()

    def tail(self, part: str) -> str:
        """Return the end of a process's log."""
        return self.running.tail(part)

    def _end_workspaces(self) -> None:
        """Supervisors outlive the broker by design; a test's do not outlive the test."""
        sandbox = self.sandbox
        for folder in (self.state / "run").glob("t-*"):
            tunnel = ids.from_label(folder.name)
            if sandbox.status(tunnel) is not None:
                sandbox.stop(tunnel)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the operator's command."""
        argv = [sys.executable, "-m", "broker.manage", *arguments, "--state", str(self.state)]
        env = {**os.environ, "PYTHONPATH": f"src{os.pathsep}."}
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments[:1])}: {done.stdout}{done.stderr}")
        return done

    def cli(self, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
        """Run the researcher's, steward's and auditor's command as somebody whose home folder is ``home``."""
        return command(self.settings.url, *arguments, home=home)

    def person(self, email: str, role: str | None = None) -> Person:
        """Return somebody, signed in."""
        self.people.append(Person(self.settings, email, role, trust=self.trust))
        return self.people[-1]

    def catalogue(self) -> dict[str, str]:
        """Take the three datasets in and catalogue them, as a steward; return their ids by name."""
        wired = wiring.wire(self.settings)
        steward = next(one for one in wired.store.find("usr") if one.email == "maria@register.example")
        by = Actor(steward.id, Role.STEWARD, organisation=steward.organisation, mfa=True, signed_in=wired.ports.clock.now())
        found = {}
        with tempfile.TemporaryDirectory() as scratch:
            for one in clinical.DATASETS:
                folder = clinical.write(one, CACHE / "demo-data", Path(scratch) / one.name)
                target = ids.new("dst")
                edition = wired.vault.take_in(target, "1", folder, person_key="person", labels=one.labels)
                command = Catalogue(
                    name=one.name,
                    title=one.title,
                    description=one.description,
                    controller=one.controller,
                    sensitivity=one.sensitivity,
                    terms=one.terms,
                    edition=edition,
                    source=clinical.SOURCE,
                )
                found[one.name] = datasets.catalogue(wired.ports, by, command, dataset=target).facts[target].id
        wired.store.close()
        return found
