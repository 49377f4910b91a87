"""The processes of one installation on one machine, as data, and a context that runs them all and ends what it started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from broker.adapters import certificates
from broker.settings import Mode, Settings
from sulku.errors import ConfigurationError
from sulku.links import BROKER, GATEWAY, HUB, Address

READY: Final = 60.0  # seconds for every part to answer
GRACE: Final = 5.0  # seconds between asking a process to end and killing it


@dataclass(frozen=True, slots=True)
class Spec:
    """One process: its name, what to run, and how to tell that it answers."""

    name: str
    argv: tuple[str, ...]
    answers: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)


def specs(settings: Settings) -> tuple[Spec, ...]:
    """Return the processes of an installation with ``settings``, in the order in which they start."""
    state = settings.state.resolve()
    manage = (sys.executable, "-m", "broker.manage")
    gateway = (sys.executable, "-m", "broker.gateway", "--config", str(_gateway(settings, state)))
    hub = (sys.executable, "-m", "jupyterhub", "-f", str(Path("hub/jupyterhub_config.py").resolve()))
    found = [
        Spec("broker", (*manage, "serve", "--state", str(state)), _port(settings.host, settings.port)),
        Spec("gateway", gateway, _port(settings.host, settings.gate_port)),
        Spec("hub", hub, _reached(settings.link(HUB)), {"SULKU_HUB_CONFIG": str(_hub(settings, state))}),
    ]
    if settings.mode is Mode.DEMO:
        found.append(Spec("issuer", (*manage, "issuer", "--state", str(state)), _port(settings.host, settings.issuer_port)))
    if settings.effects == "celery":
        found.append(Spec("worker", (*manage, "worker", "--state", str(state)), lambda: True))
    return tuple(found)


def _gateway(settings: Settings, state: Path) -> Path:
    """Write what the gateway is told: addresses, sockets, token files; no key and no database."""
    folder = state / "gateway"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = {
        "domain": settings.gate_domain,
        "port": settings.gate_port,
        "host": settings.host,
        "scheme": settings.gate_scheme,
        "broker_url": settings.url,
        "broker_address": str(settings.link(BROKER)),
        "broker_token_file": str(state / "secrets" / "gateway"),
        "control_address": str(settings.link(GATEWAY)),
        "control_token_file": str(state / "secrets" / "control"),
        **_certificates(state, GATEWAY),
        "state_dir": str(folder),
        "lab_prefix": str(settings.workspace.expanduser().resolve()),
    }
    return _write(state / "gateway.json", told)


def _hub(settings: Settings, state: Path) -> Path:
    """Write what the hub is told."""
    folder = state / "hub"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = {
        "state_dir": str(folder),
        "hub_address": str(settings.link(HUB)),
        "broker_token_file": str(state / "secrets" / "jupyterhub"),
        "broker_address": str(settings.link(BROKER)),
        "spawner_token_file": str(state / "secrets" / "hub"),
        "gateway_address": str(settings.link(GATEWAY)),
        "gateway_token_file": str(state / "secrets" / "control"),
        **_certificates(state, HUB),
    }
    return _write(state / "hub.json", told)


def _certificates(state: Path, part: str) -> dict[str, str]:
    """Name the files that `sulku-broker certificates init` makes for ``part``; they are read only where a link needs them."""
    found = certificates.files(state / "certificates" / part)
    return {"certificate_file": found.certificate, "certificate_key_file": found.key, "authority_file": found.authority}


def _write(path: Path, told: Mapping[str, object]) -> Path:
    path.write_text(json.dumps(told, indent=1))
    path.chmod(0o600)
    return path


def _port(host: str, port: int) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            socket.create_connection((host, port), 0.5).close()
        except OSError:
            return False
        return True

    return answers


def _reached(address: Address) -> Callable[[], bool]:
    return _socket(Path(address.path)) if address.path else _port(address.host, address.port)


def _socket(path: Path) -> Callable[[], bool]:
    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                return False
        return True

    return answers


class Running:
    """Every process of an installation, while the context lasts. Tunnels have supervisors of their own and outlive it."""

    def __init__(self, settings: Settings, *, log: Path) -> None:
        """Prepare; ``log`` is a folder for one log a process."""
        self.settings = settings
        self.specs = {spec.name: spec for spec in specs(settings)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._log = log
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        """Start everything."""
        self._log.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in self.specs:
            self.start(name)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """End what was started, politely first."""
        for name in reversed(list(self.processes)):
            self.end(name)
        for file in self._files:
            file.close()

    def start(self, name: str) -> None:
        """Start one process (again)."""
        spec = self.specs[name]
        file = (self._log / f"{name}.log").open("ab")
        self._files.append(file)
        path = os.pathsep.join([str(Path("src").resolve()), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, **spec.env}
        self.processes[name] = subprocess.Popen(  # noqa: S603  # our own programs, arguments from settings
            spec.argv, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, start_new_session=True
        )

    def kill(self, name: str) -> None:
        """End one process without warning, as a crash would."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def end(self, name: str) -> None:
        """Ask one process to end, and kill it if it does not."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_ready(self, timeout: float = READY) -> None:
        """Return when every process answers.

        Raises:
            ConfigurationError: One ended, or did not answer in time; the end of its log is in the message.
        """
        deadline = time.monotonic() + timeout
        waiting = dict(self.specs)
        while waiting:
            for name, spec in list(waiting.items()):
                if self.processes[name].poll() is not None:
                    raise ConfigurationError(f"{name} ended at once: {self.tail(name)}")
                if spec.answers():
                    del waiting[name]
            if time.monotonic() > deadline:
                raise ConfigurationError(f"{', '.join(waiting)} did not answer: {self.tail(next(iter(waiting)))}")
            time.sleep(0.05)

    def tail(self, name: str, size: int = 1500) -> str:
        """Return the end of a process's log."""
        return (self._log / f"{name}.log").read_text(errors="replace")[-size:]

    def wait(self) -> None:
        """Return when one of the processes ends, or on Ctrl-C."""
        try:
            while all(process.poll() is None for process in self.processes.values()):
                time.sleep(0.5)
        except KeyboardInterrupt:
            return
