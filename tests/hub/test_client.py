"""What the broker hears of its hub: that a workspace is ready, why it is not, and that the hub is away."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from broker.adapters.hub import JupyterHub
from sulku import ids
from sulku.errors import HubUnavailableError
from sulku.links import Address
from sulku.tunnels import Tunnel
from tests.fakes.broker import OpenTunnel
from tests.gateway.rig import Workspace
from tests.hub.rig import Hub, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with serving(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws") / "a").run() as running:
        yield running


@pytest.fixture
def tunnel(hub: Hub, workspace: Workspace) -> OpenTunnel:
    hub.broker.starts.clear()
    hub.broker.refuse_start = None
    return hub.broker.open(workspace.socket, workspace.token)


@pytest.fixture
def client(hub: Hub) -> Iterator[JupyterHub]:
    with closing(JupyterHub(Address(str(hub.socket)), "broker-at-the-hub")) as made:
        yield made


def record(tunnel: OpenTunnel) -> Tunnel:
    return Tunnel(id=tunnel.id, person=ids.new("usr"))


def test_it_returns_when_the_workspace_is_ready_and_again_when_it_was(hub: Hub, client: JupyterHub, tunnel: OpenTunnel) -> None:
    asked = record(tunnel)
    for _ in range(2):
        client.start(asked)
        found = hub.ask("GET", f"/users/{asked.person}/servers/{tunnel.label}")[1]
        assert (found["ready"], found["pending"]) == (True, None)
    assert hub.broker.starts == [tunnel.id], "a server that runs was started again"
    client.stop(asked)
    assert tunnel.stopped


def test_a_refusal_is_heard_with_its_reason(hub: Hub, client: JupyterHub, tunnel: OpenTunnel) -> None:
    hub.broker.refuse_start = 403, {"code": "permit-not-live", "detail": "the permit has ended"}
    with pytest.raises(HubUnavailableError, match="permit-not-live"):
        client.start(record(tunnel))


class Breaking(BaseHTTPRequestHandler):
    """A hub that takes the order, tells ``words`` of the spawn, and is gone."""

    words = b""

    def do_POST(self) -> None:
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + self.words if self.words else b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return "socket"


@pytest.mark.parametrize("words", [b"", b'data: {"progress": 0, "message": "Server requested"}\n\n\n\n', b"data: {nonsense\n\n"])
def test_a_hub_that_goes_away_meanwhile_has_started_nothing(tmp_path: Path, words: bytes) -> None:
    handler = type("Handler", (Breaking,), {"words": words})
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "hub.sock"), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with closing(JupyterHub(Address(str(tmp_path / "hub.sock")), "token")) as client, pytest.raises(HubUnavailableError, match="does not answer"):
            client.start(Tunnel(id=ids.new("tun"), person=ids.new("usr")))
        server.shutdown()


class ClearingUp(BaseHTTPRequestHandler):
    """A hub whose spawn has failed: it says so only after ``rounds`` answers that nothing is starting."""

    rounds = 0
    pending: str | None = "stop"

    def do_POST(self) -> None:
        self.answer(201, b"")

    def do_GET(self) -> None:
        if not self.path.endswith("/progress"):
            self.answer(200, json.dumps({"pending": self.pending}).encode())
        elif type(self).rounds > 0:
            type(self).rounds -= 1
            self.answer(400, b'{"status": 400, "message": "it is not starting..."}')
        else:
            self.answer(200, b'data: {"progress": 100, "failed": true, "message": "Spawn failed: permit-not-live"}\n\n')

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    log_message = Breaking.log_message
    address_string = Breaking.address_string


@pytest.mark.parametrize(
    ("rounds", "pending", "words"), [(0, None, "permit-not-live"), (3, "stop", "permit-not-live"), (1, None, "permit-not-live"), (99, None, "answered 400")]
)
def test_the_reason_is_waited_for_while_the_hub_clears_up(tmp_path: Path, rounds: int, pending: str | None, words: str) -> None:
    handler = type("Handler", (ClearingUp,), {"rounds": rounds, "pending": pending})
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "hub.sock"), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with closing(JupyterHub(Address(str(tmp_path / "hub.sock")), "token")) as client, pytest.raises(HubUnavailableError, match=words):
            client.start(Tunnel(id=ids.new("tun"), person=ids.new("usr")))
        server.shutdown()
