"""One gateway, one Jupyter server and one fake broker for all tests of a worker; each test opens tunnels of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.broker import FakeBroker, OpenTunnel
from tests.gateway.rig import Browser, GatewayProcess, Workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A real Jupyter server."""
    with Workspace(tmp_path_factory.mktemp("ws") / "a").run() as running:
        yield running


@contextlib.contextmanager
def _gateway(folder: Path, **settings: Any) -> Iterator[GatewayProcess]:
    broker = FakeBroker(folder, "gateway-token")
    broker.start()
    try:
        with GatewayProcess(folder, broker, **settings).run() as running:
            yield running
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that no test stops or harms."""
    with _gateway(tmp_path_factory.mktemp("gw")) as running:
        yield running


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway with a broker that the test may stop and start."""
    with _gateway(tmp_path, slice_bytes=100_000) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_open_websockets(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "gateway" in request.fixturenames:
        request.getfixturevalue("gateway").close_websockets()


@pytest.fixture
def open_tunnel(gateway: GatewayProcess, workspace: Workspace) -> Callable[..., OpenTunnel]:
    """Open a tunnel to the Jupyter server."""
    return lambda **more: gateway.broker.open(workspace.socket, workspace.token, **more)


@pytest.fixture
def inside(gateway: GatewayProcess, open_tunnel: Callable[..., OpenTunnel]) -> Browser:
    """A browser that has entered a fresh tunnel."""
    return gateway.enter(open_tunnel())
