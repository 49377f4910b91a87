"""The real JupyterHub on a unix socket, with a real gateway and a broker that a test can change."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.broker import FakeBroker, OpenTunnel
from tests.gateway.rig import ROOT, GatewayProcess, over_socket, process
from tests.soon import eventually

USER = "usr_0123456789abcdef"


class Hub:
    """A real hub on a unix socket, its fake broker and a real gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "hub.sock"
        self.broker = FakeBroker(folder, "gateway-token", "hub-token")
        self.gateway = GatewayProcess(folder, self.broker)
        for name, token in (("hub.token", "broker-at-the-hub"), ("spawner.token", "hub-token")):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(token)
        settings = {
            "state_dir": str(folder / "hub"), "hub_address": f"unix:{self.socket}",
            "broker_token_file": str(folder / "hub.token"), "broker_address": f"unix:{self.broker.socket}",
            "spawner_token_file": str(folder / "spawner.token"),
            "gateway_address": self.gateway.settings["control_address"],
            "gateway_token_file": self.gateway.settings["control_token_file"],
        }  # fmt: skip
        (folder / "hub.json").write_text(json.dumps(settings))

    @contextlib.contextmanager
    def run(self) -> Iterator[Hub]:
        self.socket.unlink(missing_ok=True)
        program = [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "hub/jupyterhub_config.py")]
        environment = {"SULKU_HUB_CONFIG": str(self.folder / "hub.json"), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        with process(*program, cwd=self.folder, **environment) as self.process:
            eventually(self.answers)
            yield self

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("GET", "/info")[0] == 200
        return False

    def ask(self, method: str, path: str, body: Any = None, token: str = "broker-at-the-hub") -> tuple[int, Any]:
        return over_socket(self.socket, method, f"/hub/api{path}", body, f"token {token}")

    def server(self, tunnel: OpenTunnel) -> str:
        return f"/users/{USER}/servers/{tunnel.label}"

    def spawn(self, tunnel: OpenTunnel) -> None:
        assert self.ask("POST", self.server(tunnel), {})[0] in {201, 202}
        eventually(lambda: self.ask("GET", self.server(tunnel))[1].get("ready"))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """Give a hub that answers, which knows one person."""
    made = Hub(folder)
    made.broker.start()
    with made.gateway.run(), made.run():
        assert made.ask("POST", f"/users/{USER}")[0] == 201
        yield made
    made.broker.stop()
