"""A plain JupyterHub 6 with its simplest spawner, and JupyterLab with no hub at all: what our openings are held against."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from broker.adapters.hub import JupyterHub
from broker.settings import Settings
from sulku import ids
from sulku.links import Address
from tests.bench.figures import spent
from tests.ports import free_port

HERE = Path(__file__).parent
TOKEN = "bench-" * 8


class Plain:
    """Both, as a context: ``start`` and ``stop`` a hub's server, or run JupyterLab ``alone``."""

    def __init__(self, settings: Settings) -> None:
        venv, self._image = settings.workspace.expanduser(), settings.image.resolve()
        self._command = [str(venv / "bin/python"), "-I", str(HERE / "plain_lab.py")]
        self._folder = tempfile.TemporaryDirectory(prefix="plain-")
        self._state = Path(self._folder.name)

    def __enter__(self) -> Self:
        socket = self._state / "hub.sock"
        environment = {"BENCH_IMAGE": str(self._image), "JUPYTER_NO_CONFIG": "1", "PYTHONNOUSERSITE": "1"}
        self._environment = environment
        given = {"state": str(self._state), "socket": str(socket), "token": TOKEN, "command": self._command, "environment": environment}
        (self._state / "given.json").write_text(json.dumps(given))
        (self._state / "home").mkdir()
        self._log = (self._state / "log").open("wb")
        argv = [sys.executable, "-m", "jupyterhub", "-f", str(HERE / "plain_hub_config.py")]
        path = os.pathsep.join([str(Path("src").resolve()), str(Path.cwd())])
        env = os.environ | {"BENCH_PLAIN": str(self._state / "given.json"), "PYTHONPATH": path}
        self._hub = subprocess.Popen(argv, env=env, cwd=self._state, stdout=self._log, stderr=self._log, start_new_session=True)
        self.client = JupyterHub(Address(str(socket)), TOKEN)
        self._wait(lambda: bool(self.client._call("GET", "/", ok={200})))
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.terminate()
        try:
            self._hub.wait(20)
        except subprocess.TimeoutExpired:
            self._hub.kill()
        self._log.close()
        self._folder.cleanup()

    def start(self) -> Any:
        """Have the hub spawn a server, by the very client that the broker uses; returns when it is ready."""
        server = SimpleNamespace(id=ids.new("tun"), person=ids.new("usr"))
        self.client.start(server)  # type: ignore[arg-type]  # it reads these two
        return server

    def spent(self) -> float:
        """Return the processor time, in seconds, of the hub and of the servers that it runs."""
        servers = Path(f"/proc/{self._hub.pid}/task/{self._hub.pid}/children").read_text().split()
        return spent(self._hub.pid, *map(int, servers))

    def stop(self, server: Any) -> None:
        """Have the hub stop it."""
        self.client.stop(server)

    def alone(self) -> float:
        """Return how many seconds JupyterLab takes from nothing to its first answer, with no hub."""
        url = f"http://127.0.0.1:{free_port()}/"
        home = self._state / "home" / "alone"
        home.mkdir(exist_ok=True)
        env = os.environ | self._environment | {"JUPYTERHUB_SERVICE_URL": url, "HOME": str(home)}
        began = time.perf_counter()
        lab = subprocess.Popen(self._command, env=env, cwd=home, stdout=self._log, stderr=self._log, start_new_session=True)
        try:
            self._wait(lambda: _answers(f"{url}api"), 0.02)
            return time.perf_counter() - began
        finally:
            os.killpg(lab.pid, signal.SIGKILL)
            lab.wait()

    def _wait(self, ready: Callable[[], bool], pause: float = 0.1) -> None:
        until = time.monotonic() + 90
        while True:
            try:
                if ready():
                    return
            except Exception as error:
                if time.monotonic() > until:
                    raise TimeoutError((self._state / "log").read_text()[-2000:]) from error
            time.sleep(pause)


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
