"""The real JupyterHub spawns through the broker and routes into the gateway, and holds no rights of its own."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.proxy import with_port, without_port
from sulku import ids
from tests.fakes.broker import OpenTunnel
from tests.gateway.rig import Workspace, over_socket
from tests.hub.rig import USER, Hub, serving
from tests.soon import eventually

pytestmark = pytest.mark.slow
@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with serving(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def hub(shared: Hub) -> Hub:
    """A hub that no test stops; each test has tunnels of its own."""
    shared.broker.starts.clear()
    shared.broker.refuse_start = None
    return shared


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws") / "a").run() as running:
        yield running


def routes(hub: Hub, tunnel: OpenTunnel) -> list[dict[str, Any]]:
    every = hub.gateway.control("GET", "/control/routes")[1]["routes"]
    return [route for route in every if route["routespec"] == f"/user/{USER}/{tunnel.label}/"]


def test_the_broker_spawns_and_stops_and_the_route_reaches_the_gateway(hub: Hub, workspace: Workspace) -> None:
    tunnel = hub.broker.open(workspace.socket, workspace.token)
    hub.spawn(tunnel)
    assert hub.broker.starts == [tunnel.id]
    (route,) = routes(hub, tunnel)
    assert route["target"].endswith("ws.sock"), "without the port that JupyterHub adds"

    assert hub.ask("DELETE", hub.server(tunnel), {"remove": True})[0] in {202, 204}
    eventually(lambda: tunnel.stopped and not routes(hub, tunnel))


def test_a_refusal_of_the_broker_is_what_the_caller_sees(hub: Hub, workspace: Workspace) -> None:
    tunnel = hub.broker.open(workspace.socket, workspace.token)
    hub.broker.refuse_start = 403, {"code": "permit-not-live", "detail": "the permit has ended"}
    hub.ask("POST", hub.server(tunnel), {})
    eventually(lambda: hub.broker.starts and not hub.ask("GET", hub.server(tunnel))[1].get("pending"))
    assert hub.ask("GET", hub.server(tunnel))[1]["ready"] is False
    assert routes(hub, tunnel) == []
    hub.broker.refuse_start = None
    hub.spawn(tunnel)


def test_nobody_but_the_broker_may_do_anything(hub: Hub, workspace: Workspace) -> None:
    tunnel = hub.broker.open(workspace.socket, workspace.token)
    for token in ("", "wrong"):
        assert hub.ask("GET", "/users", token=token)[0] == 403
        assert hub.ask("POST", hub.server(tunnel), {}, token=token)[0] in {403, 404}
    assert hub.ask("POST", f"/users/{USER}/tokens", {"scopes": ["inherit"]})[0] in {403, 404}
    assert hub.broker.starts == []
    assert stat.S_IMODE(hub.socket.stat().st_mode) == 0o600
    found = over_socket(hub.socket, "GET", "/hub/login", None, "")[1]
    assert "<form" not in str(found), "there is no way to sign in"


def test_a_name_that_is_no_tunnel_starts_nothing(hub: Hub) -> None:
    assert hub.ask("POST", f"/users/{USER}/servers/t-short", {})[0] >= 400 or not hub.broker.starts
    assert hub.broker.starts == []


def test_a_restart_of_the_hub_leaves_tunnels_and_people_alone(own_hub: Hub, workspace: Workspace) -> None:
    hub = own_hub
    tunnel = hub.broker.open(workspace.socket, workspace.token)
    hub.spawn(tunnel)
    browser = hub.gateway.enter(tunnel)
    os.killpg(hub.process.pid, signal.SIGTERM)
    hub.process.wait(timeout=30)
    assert browser.get("/api/kernels").status == 200
    assert not tunnel.stopped
    with hub.run():
        eventually(lambda: hub.ask("GET", hub.server(tunnel))[1].get("ready"))
        assert not tunnel.stopped
        assert routes(hub, tunnel)[0]["target"].endswith("ws.sock")


def test_a_workspace_in_a_pod_that_the_hub_has_no_way_to_is_believed_of_the_broker_also_after_a_restart(own_hub: Hub) -> None:
    hub = own_hub
    tunnel = hub.broker.open("http://127.0.0.1:9", "token")  # nothing listens there: a hub that looked would end it
    hub.spawn(tunnel)
    assert routes(hub, tunnel)[0]["target"] == "http://127.0.0.1:9"
    os.killpg(hub.process.pid, signal.SIGTERM)
    hub.process.wait(timeout=30)
    with hub.run():
        eventually(lambda: hub.ask("GET", hub.server(tunnel))[1].get("ready"))
        assert not tunnel.stopped
        assert hub.ask("DELETE", hub.server(tunnel), {"remove": True})[0] in {202, 204}
        eventually(lambda: tunnel.stopped)


@pytest.mark.parametrize("address", ["http://workspace:8888", "https://127.0.0.1:9", "http://127.0.0.1:9/lab", "/Run/WS.sock"])
def test_an_address_that_is_none_or_would_be_mangled_is_no_workspace(hub: Hub, workspace: Workspace, address: str) -> None:
    wrong = hub.broker.open(address, "token")
    hub.ask("POST", hub.server(wrong), {})
    eventually(lambda: not hub.ask("GET", hub.server(wrong))[1].get("pending"))
    assert hub.ask("GET", hub.server(wrong))[1]["ready"] is False
    assert routes(hub, wrong) == []
    hub.spawn(hub.broker.open(workspace.socket, workspace.token))


def test_a_broker_that_is_away_stops_no_server_and_refuses_new_ones(hub: Hub, workspace: Workspace) -> None:
    first, second = (hub.broker.open(workspace.socket, workspace.token) for _ in range(2))
    hub.spawn(first)
    hub.broker.stop()
    hub.ask("POST", hub.server(second), {})
    eventually(lambda: not hub.ask("GET", hub.server(second))[1].get("pending"))
    assert hub.ask("GET", hub.server(second))[1]["ready"] is False
    assert hub.ask("GET", hub.server(first))[1]["ready"] is True
    hub.broker.start()
    hub.spawn(second)


@pytest.mark.parametrize("target", ["http+unix://%2Frun%2Fws.sock:80", "http://127.0.0.1:80"])
def test_the_port_that_jupyterhub_adds_to_a_socket_is_taken_away_and_put_back(target: str) -> None:
    assert with_port(without_port(target)) == target
    assert without_port(target).endswith(("ws.sock", "127.0.0.1:80"))


def test_server_names_are_labels_of_tunnels() -> None:
    tunnel = ids.new("tun")
    assert ids.from_label(ids.label(tunnel)) == tunnel
