"""A workspace in the pods' network, by its literal address: the same gateway, and no other way out of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
from websocket import WebSocketBadStatusException

from tests.fakes.broker import FakeBroker
from tests.gateway.rig import Browser, GatewayProcess, Workspace
from tests.ports import free_port

KERNEL = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("pod") / "a", free_port()).run() as running:
        yield running


@contextmanager
def within(gateway: GatewayProcess, address: str, token: str) -> Iterator[Browser]:
    """Be in a tunnel whose workspace is at ``address`` while the block lasts: an address has one tunnel at a time."""
    tunnel = gateway.broker.open(address, token)
    try:
        yield gateway.enter(tunnel)
    finally:
        gateway.broker.close(tunnel)


@pytest.fixture
def browser(gateway: GatewayProcess, pod: Workspace) -> Iterator[Browser]:
    with within(gateway, pod.address, pod.token) as inside:
        yield inside


def test_people_work_in_a_pod_as_they_do_behind_a_socket(browser: Browser) -> None:
    assert browser.get("/api/contents?type=directory&content=1").status == 200
    channels = browser.channels(browser.kernel())
    assert channels.text("print(20 + 1)") == "21\n"
    assert browser.get("/files/x").status == 403, "the same allow-list"


def test_the_workspaces_token_is_shown_and_needed(gateway: GatewayProcess, pod: Workspace) -> None:
    for token, status in (("wrong", 403), (pod.token, 200)):
        with within(gateway, pod.address, token) as browser:
            assert browser.get("/api/kernels").status == status


@pytest.mark.parametrize("written", ["http://localhost:{}", "https://127.0.0.1:{}", "http://user@127.0.0.1:{}", "http://0.0.0.0:{}", "127.0.0.1:{}"])
def test_an_address_written_in_another_way_is_not_connected_to_and_harms_no_other_tunnel(
    gateway: GatewayProcess, pod: Workspace, written: str, browser: Browser
) -> None:
    with within(gateway, written.format(pod.port), pod.token) as wrong:
        assert (wrong.get("/api/kernels").status, wrong.get("/api/kernels").code) == (502, "workspace-unavailable")
        assert browser.get("/api/kernels").status == 200


class Elsewhere(BaseHTTPRequestHandler):
    """Remembers who came, and sends everybody to ``location`` if there is one."""

    location = ""
    came: list[str]

    def do_GET(self) -> None:
        self.came.append(self.path)
        self.send_response(302 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location)
        data = b"" if self.location else b'{"kernels": []}'
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def elsewhere(location: str = "") -> Iterator[tuple[int, list[str]]]:
    handler = type("Handler", (Elsewhere,), {"came": [], "location": location})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_port, handler.came
    finally:
        server.shutdown()
        server.server_close()


def test_a_workspace_that_sends_us_elsewhere_is_not_followed(gateway: GatewayProcess) -> None:
    with elsewhere() as (port, came), elsewhere(f"http://127.0.0.1:{port}/secret") as (trap, asked):
        with within(gateway, f"http://127.0.0.1:{trap}", "token") as browser:
            assert browser.get("/api/kernels").status == 502
            with pytest.raises(WebSocketBadStatusException):
                browser.channels(KERNEL)
        assert len(asked) >= 2, "the trap was asked over HTTP and for a websocket"
        assert came == []
        with within(gateway, f"http://127.0.0.1:{port}", "token") as honest:
            assert honest.get("/api/kernels").status == 200
        assert "/api/kernels" in came, "and it would have answered"


def test_no_proxy_of_the_environment_comes_between(tmp_path: Path, pod: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker(tmp_path, "gateway-token")
    broker.start()
    with elsewhere() as (proxy, came):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "ws_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        urlopen(pod.address).close()
        assert came, "others do ask it"
        came.clear()
        with GatewayProcess(tmp_path, broker).run() as running:
            monkeypatch.undo()  # the gateway has begun with it; the browser of this test needs none
            browser = running.enter(broker.open(pod.address, pod.token))
            assert browser.get("/api/kernels").status == 200
            assert browser.channels(browser.kernel()).text("print(1)") == "1\n"
        assert came == []
    broker.stop()
