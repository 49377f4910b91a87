"""One broker and several gateways behind one name: a cut reaches each of them, also while another is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.adapters.gate import GateControl, every
from sulku import ids
from sulku.crypto import channels
from sulku.errors import GateUnavailableError
from sulku.links import Address
from tests.fakes.broker import FakeBroker, OpenTunnel
from tests.gateway.rig import Channels, Workspace
from tests.links.rig import LinkedGateway, Papers
from tests.ports import free_port

pytestmark = pytest.mark.slow
HOSTS = ("127.0.0.1", "127.0.0.2")


@dataclass
class Farm:
    """Two gateways at one port of two addresses, and the broker's way to both."""

    folder: Path
    papers: Papers
    broker: FakeBroker
    port: int

    @contextmanager
    def gateway(self, host: str) -> Iterator[LinkedGateway]:
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        with LinkedGateway(folder, self.broker, self.papers, host=host, port=self.port).run() as running:
            yield running  # type: ignore[misc]

    @property
    def control(self) -> GateControl:
        name = Address(scheme="https", host="gateways", port=self.port)
        channel = channels.calling(self.papers.of("broker"), "broker", "gateway")
        return GateControl(name, "control-token", channel, resolve=lambda address: [replace(address, host=host) for host in HOSTS])


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    broker = FakeBroker(tmp_path, "gateway-token")
    broker.start()
    yield Farm(tmp_path, Papers(tmp_path / "certificates"), broker, free_port())
    broker.stop()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws") / "a").run() as running:
        yield running


def inside(gateway: LinkedGateway, tunnel: OpenTunnel) -> Channels:
    browser = gateway.enter(tunnel)
    return browser.channels(browser.kernel())


def test_a_cut_closes_the_sockets_of_every_gateway(farm: Farm, workspace: Workspace) -> None:
    with ExitStack() as stack:
        gateways = [stack.enter_context(farm.gateway(host)) for host in HOSTS]
        tunnel, other = (farm.broker.open(workspace.socket, workspace.token) for _ in range(2))
        sockets, spared = [inside(one, tunnel) for one in gateways], inside(gateways[0], other)
        assert farm.control.cut(tunnel.id, "closed") == 2
        assert [one.closing() for one in sockets] == [(4000, "closed")] * 2
        assert spared.text("print(1)") == "1\n"


def test_a_gateway_that_is_away_keeps_no_other_from_cutting_and_is_told_of(farm: Farm, workspace: Workspace) -> None:
    with farm.gateway(HOSTS[1]) as second:
        tunnel = farm.broker.open(workspace.socket, workspace.token)
        socket = inside(second, tunnel)
        with pytest.raises(GateUnavailableError, match="does not answer"):
            farm.control.cut(tunnel.id, "closed")
        assert socket.closing() == (4000, "closed")
        assert "tunnels" in farm.control.health(), "one that answers is enough to say that the gate is there"
    with pytest.raises(GateUnavailableError):
        farm.control.health()


def test_a_name_is_every_address_that_it_has_and_a_name_of_nobody_is_said() -> None:
    found = every(Address(scheme="https", host="localhost", port=8444))
    assert Address(scheme="https", host="127.0.0.1", port=8444) in found
    assert len(set(found)) == len(found)
    with pytest.raises(GateUnavailableError, match="nobody knows"):
        every(Address(scheme="https", host=f"{ids.label(ids.new('tun'))}.invalid", port=8444))
