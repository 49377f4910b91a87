"""A real tunnel, opened, worked in, looked after and ended by way of a gateway alone: nobody else connects to its pod."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from websocket import WebSocketBadStatusException

from broker.adapters.gate import GateControl
from broker.adapters.kubernetes import Cluster, Surroundings
from sulku import links
from sulku.crypto import channels
from sulku.errors import GateUnavailableError, NotAPodError
from sulku.manifests import PROBE_PORT
from tests.cluster import components
from tests.cluster.bench import HOME, Bench, now, sources, token
from tests.fakes.broker import FakeBroker
from tests.gateway.recording import Raw
from tests.links.rig import LinkedGateway, Papers
from tests.soon import soon

TRICKS = ("/", "/.", "/..", "//", "/%2e%2e", "/..%2f", "%2f", "%5c", "\\", ";x", "%00", "%0d%0a", "%c0%ae", "%e0%80%af", "%25", "#x", "?x=1", "/../../api/shutdown", "/../contents")


class Way:
    """A gateway in the cluster's network, and a worker that reaches pods by it."""

    def __init__(self, bench: Bench, gateway: LinkedGateway, papers: Papers) -> None:
        self.gateway, self.bench = gateway, bench
        channel = channels.calling(papers.of("worker"), "worker", "gateway")
        self.control = GateControl(links.address(gateway.settings["control_address"]), "control-token", channel, resolve=lambda one: [one])
        self.asked = 0
        around = Surroundings(bench.targets(), bench.canary)
        self.tunnels = Cluster(
            bench.api, bench.place(), around, home=HOME, secret="s" * 32, token=token, now=now, sources=sources, reach=self.reach
        )

    def reach(self, host: str, port: int, line: bytes, seconds: float) -> bytes:
        self.asked += 1
        return self.control.reach(host, port, line, seconds)


@pytest.fixture
def way(bench: Bench, tmp_path: Path) -> Iterator[Way]:
    papers, broker = Papers(tmp_path / "certificates"), FakeBroker(tmp_path, "gateway-token")
    broker.start()
    with LinkedGateway(tmp_path, broker, papers, workspace_networks=[components.PODS]).run() as running:
        yield Way(bench, running, papers)  # type: ignore[arg-type]
    broker.stop()


def test_a_tunnel_lives_its_whole_life_by_way_of_the_gateway(way: Way, bench: Bench) -> None:
    plan = bench.plan()
    report = way.tunnels.start(plan)
    assert report.closed, report.problems
    (proof,) = way.tunnels.release(plan.tunnel, bench.volumes)
    assert (proof.name, proof.files) == ("flchain", 1)
    address = way.tunnels.wait_ready(plan.tunnel, 60)
    assert way.asked > 10, "nothing was asked past it"
    for service in ("10.96.0.1", "10.96.0.10"):
        with pytest.raises(NotAPodError):
            way.control.reach(service, PROBE_PORT, b"x\n", 5)
    browser = way.gateway.enter(way.gateway.broker.open(address, token(plan.tunnel)))
    channels_ = browser.channels(browser.kernel())
    assert channels_.text("print(open('/data/flchain/persons.csv').read())") == "id,age\n1,61\n2,74\n\n"
    assert browser.ask("PUT", "/api/contents/a.txt", {"type": "file", "format": "text", "content": "kept"}).status == 201
    assert browser.get("/api/contents/a.txt?type=file&format=text&content=1").json["content"] == "kept"
    channels_.run("import os; os.makedirs('outbox/one', exist_ok=True)\nopen('outbox/one/t.csv','w').write('a,b\\n')\nopen('outbox/one/manifest.json','w').write('{}')")
    assert soon(lambda: way.gateway.broker.submissions), "outputs are pulled"
    assert way.tunnels.patrol(plan.tunnel).closed
    way.gateway.cut(browser.tunnel)
    way.gateway.broker.close(browser.tunnel)
    way.tunnels.stop(plan.tunnel)
    assert soon(lambda: not bench.left_behind(plan.tunnel))
    assert browser.get("/api/kernels").status == 410


@pytest.mark.parametrize("bench", ["runc"], indirect=True)
def test_nobody_else_and_no_trick_gets_to_a_real_pod_and_nothing_outlives_the_deadline(way: Way, bench: Bench) -> None:
    plan = bench.opened()
    broker, gateway = way.gateway.broker, way.gateway
    tunnel = broker.open(way.tunnels.wait_ready(plan.tunnel, 60), token(plan.tunnel))
    browser, other = gateway.enter(tunnel), gateway.enter(broker.open("/nowhere.sock", "x"))
    kernel = browser.kernel()
    channels_ = browser.channels(kernel)
    for cookie in ("", "sulku-session=" + "A" * 43, other.cookie):
        assert browser.get("/api/kernels", Cookie=cookie).status == 401
        with pytest.raises(WebSocketBadStatusException):
            browser.channels(kernel, cookie=cookie)
    with pytest.raises(WebSocketBadStatusException):
        browser.channels(kernel, origin=f"http://{other.host}")
    raw = Raw(browser)
    for trick in TRICKS:
        assert raw.send(raw.request("GET", f"/api/kernels{trick}"))[0] in {400, 403}, trick
    hidden = raw.request("DELETE", f"/api/kernels/{kernel}", "Content-Length: 0\r\n")
    for more, body in (
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 0\r\nContent-Length: 4\r\n", ""),
        ("X: a\r\n b\r\n", ""),
        ("X: a\nContent-Length: 0\r\n", ""),
        ("Content-Length : 0\r\n", ""),
    ):
        assert raw.send(raw.request("POST", "/api/kernels", more, body + hidden)) == [400]
    assert channels_.text("print(20 + 1)") == "21\n", "the kernel that was to be deleted lives"
    tunnel.ends = now() + timedelta(seconds=1.5)
    assert channels_.closing() == (4000, "tunnel expired")
    assert browser.get("/api/kernels").status == 410


def killed(way: Way) -> None:
    assert way.gateway.process
    way.gateway.process.kill()
    way.gateway.process.wait()


@pytest.mark.parametrize("bench", ["runc"], indirect=True)
def test_a_gateway_that_is_away_opens_nothing_and_ends_nothing(way: Way, bench: Bench) -> None:
    plan = bench.plan()
    assert way.tunnels.start(plan).closed
    killed(way)
    with pytest.raises(GateUnavailableError):
        way.tunnels.release(plan.tunnel, bench.volumes)
    with way.gateway.run():
        assert way.tunnels.release(plan.tunnel, bench.volumes), "the proof is as good as it was"
        killed(way)
        with pytest.raises(GateUnavailableError):
            way.tunnels.patrol(plan.tunnel)
    with way.gateway.run():
        assert way.tunnels.patrol(plan.tunnel).closed, "and nothing was taken for an open door"
