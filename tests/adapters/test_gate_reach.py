"""The worker reaches pods through whichever gateway answers; a pod that refuses is an OSError, as if it had been asked directly."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from broker.adapters import gate
from broker.adapters.gate import GateControl
from broker.adapters.podline import Line
from sulku.crypto import channels
from sulku.errors import GateUnavailableError, InvalidInputError, NotAPodError, WorkspaceUnavailableError
from sulku.links import Address
from sulku.manifests import PROBE_PORT, WORKSPACE_PORT
from tests.fakes.broker import FakeBroker
from tests.gateway.pods import NEXT, POD, PODS, SERVICE, Pod, Pods, network, silent
from tests.gateway.rig import ROOT
from tests.links.rig import LinkedGateway, Papers
from tests.ports import free_port
from tests.soon import eventually

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")  # a gateway at the first two, nobody at the third


class Farm:
    """Two gateways at one port, and the worker's way to them."""

    def __init__(self, folder: Path) -> None:
        self.papers, self.port, self.folder = Papers(folder / "certificates"), free_port(), folder
        self.broker = FakeBroker(folder, "gateway-token")

    def gateway(self, host: str) -> LinkedGateway:
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        return LinkedGateway(folder, self.broker, self.papers, host=host, port=self.port, workspace_networks=[PODS])

    def control(self, *hosts: str, part: str = "worker") -> GateControl:
        name = Address(scheme="https", host="gateways", port=self.port)
        channel = channels.calling(self.papers.of(part), part, "gateway")
        return GateControl(name, "control-token", channel, resolve=lambda address: [replace(address, host=host) for host in hosts])


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with network(), ExitStack() as stack:
        made = Farm(tmp_path_factory.mktemp("farm"))
        made.broker.start()
        stack.callback(made.broker.stop)
        for host in HOSTS[:2]:
            stack.enter_context(made.gateway(host).run())
        yield made


@pytest.fixture
def pods(farm: Farm) -> Iterator[Pods]:
    made = Pods()
    yield made
    made.close()



def test_a_pod_is_reached_as_if_directly(farm: Farm, pods: Pods) -> None:
    pod = pods.at(POD, PROBE_PORT, b"an answer\nand more")
    assert farm.control(HOSTS[0]).reach(POD, PROBE_PORT, b"a line\n", 5) == b"an answer\n"
    assert pod.heard == [b"a line\n"]


def test_a_gateway_that_is_away_is_passed_over_and_asked_last_from_then_on(farm: Farm, pods: Pods) -> None:
    pods.at(POD, PROBE_PORT, b"here\n")
    control = farm.control(HOSTS[2], HOSTS[1])
    for _ in range(2):
        assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
    assert control._answered.host == HOSTS[1]


def test_a_gateway_that_is_busy_is_passed_over(farm: Farm, pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PATIENCE", 30.0)
    over = threading.Event()

    def hang_up_when_over(_: socket.socket, __: Pod) -> None:
        over.wait(60)

    slow = pods.at(NEXT, PROBE_PORT, hang_up_when_over)
    pods.at(POD, PROBE_PORT, b"here\n")

    def wait() -> None:
        with pytest.raises(OSError, match="does not answer"):
            farm.control(HOSTS[0]).reach(NEXT, PROBE_PORT, b"x\n", 60)

    waiting = [threading.Thread(target=wait) for _ in range(32)]
    for one in waiting:
        one.start()
    eventually(lambda: slow.callers == 32)
    with pytest.raises(GateUnavailableError, match="gate-busy"):
        farm.control(HOSTS[0]).reach(POD, PROBE_PORT, b"x\n", 5)
    assert farm.control(HOSTS[0], HOSTS[1]).reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
    over.set()
    for one in waiting:
        one.join()


def test_a_pod_that_refuses_is_an_oserror_and_no_other_gateway_is_troubled(farm: Farm, pods: Pods) -> None:
    hanging_up = pods.at(POD, PROBE_PORT, b"")
    with pytest.raises(OSError, match="does not answer"):
        farm.control(*HOSTS[:2]).reach(POD, PROBE_PORT, b"x\n", 5)
    assert hanging_up.callers == 1
    with pytest.raises(OSError, match="does not answer"):
        farm.control(*HOSTS[:2]).reach(NEXT, PROBE_PORT, b"x\n", 5)
    with pytest.raises(WorkspaceUnavailableError, match="does not answer"):
        Line(NEXT, PROBE_PORT, "key", farm.control(*HOSTS[:2]).reach)


def test_without_a_gateway_it_is_the_gate_that_is_away_and_that_is_said_in_time(farm: Farm, pods: Pods) -> None:
    pods.at(POD, PROBE_PORT, b"here\n")
    began = time.monotonic()
    with pytest.raises(GateUnavailableError):
        farm.control(HOSTS[2], "127.0.0.4").reach(POD, PROBE_PORT, b"x\n", 5)
    assert time.monotonic() - began < 12
    with pytest.raises(GateUnavailableError):
        farm.control(HOSTS[0], part="broker").reach(POD, PROBE_PORT, b"x\n", 5)


def test_what_is_no_pod_or_too_much_is_said_and_not_tried_again(farm: Farm, pods: Pods) -> None:
    there = pods.at(SERVICE, WORKSPACE_PORT, b"here\n")
    with pytest.raises(NotAPodError):
        farm.control(*HOSTS).reach(SERVICE, WORKSPACE_PORT, b"x\n", 5)
    with pytest.raises(InvalidInputError):
        farm.control(*HOSTS).reach(POD, WORKSPACE_PORT, b"x\n", 61)
    assert there.callers == 0


def test_a_gateway_whose_certificate_is_anothers_hears_no_line(farm: Farm, pods: Pods, tmp_path: Path) -> None:
    pod = pods.at(POD, PROBE_PORT, b"here\n")
    stranger = Papers(tmp_path / "elsewhere")
    wrong = channels.calling(stranger.of("worker"), "worker", "gateway")
    name = Address(scheme="https", host=HOSTS[0], port=farm.port)
    with pytest.raises(GateUnavailableError):
        GateControl(name, "control-token", wrong).reach(POD, PROBE_PORT, b"x\n", 5)
    assert pod.callers == 0


def test_the_pods_own_program_is_spoken_to_and_what_is_not_sealed_for_it_is_refused(farm: Farm) -> None:
    sys.path.insert(0, str(ROOT / "hub/images/python"))
    try:
        import podline  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    inside = podline.Line(podline.listen(PROBE_PORT), b"the key", "probe")
    running = threading.Thread(target=inside.run, args=(lambda body: {"heard": body["say"]},))
    running.start()
    try:
        reach = farm.control(*HOSTS[:2]).reach
        line = Line(POD, PROBE_PORT, "the key", reach)
        assert line.role == "probe"
        assert [line.ask({"say": word})["heard"] for word in ("one", "two")] == ["one", "two"]
        with pytest.raises(WorkspaceUnavailableError):
            Line(POD, PROBE_PORT, "another key", reach).ask({"say": "three"})
    finally:
        inside.stop()
        running.join()
        inside.listener.close()


# --- a connection that stays open ---------------------------------------------------------------------------------------------


@contextmanager
def handshakes(monkeypatch: pytest.MonkeyPatch, control: GateControl) -> Iterator[list[str]]:
    """Give a list with an entry for each connection that ``control`` opens."""
    made: list[str] = []
    channel = control._channel
    assert channel is not None
    wrap = type(channel).wrap_socket

    def counted(self: ssl.SSLContext, *ends: object, **options: object) -> ssl.SSLSocket:
        if self is channel:
            made.append("one more")
        return wrap(self, *ends, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(channel), "wrap_socket", counted)
    yield made
    monkeypatch.undo()


def test_one_connection_carries_line_after_line(farm: Farm, pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    pods.at(POD, PROBE_PORT, b"here\n")
    control = farm.control(HOSTS[0])
    with handshakes(monkeypatch, control) as made:
        for _ in range(5):
            assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
        assert len(made) == 1


def test_it_is_made_anew_after_a_while_with_the_certificate_of_then(farm: Farm, pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    pods.at(POD, PROBE_PORT, b"here\n")
    control = farm.control(HOSTS[0])
    with handshakes(monkeypatch, control) as made:
        assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
        farm.papers.renew()
        monkeypatch.setattr(gate, "AGE", 0.0)
        assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
        assert len(made) == 2
        monkeypatch.setattr(gate, "USED", 0.0)
        control._ways.keep([])
        assert (control._ways._open, control._ways._old) == ({}, []), "and what is given up is closed"


def test_a_gateway_that_was_started_again_meanwhile_is_asked_once_more(farm: Farm, pods: Pods, tmp_path: Path) -> None:
    pod = pods.at(POD, PROBE_PORT, b"here\n")
    host = "127.0.0.5"
    control = farm.control(host)
    for _ in range(2):  # the second finds a connection that nobody holds any more
        with farm.gateway(host).run():
            assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
    assert pod.callers == 2
    with pytest.raises(GateUnavailableError):
        control.reach(POD, PROBE_PORT, b"x\n", 5)
    assert pod.callers == 2


def test_the_way_to_a_gateway_that_is_gone_is_given_up(farm: Farm, pods: Pods) -> None:
    pods.at(POD, PROBE_PORT, b"here\n")
    hosts = [HOSTS[0]]
    control = farm.control()
    control._resolve = lambda address: [replace(address, host=host) for host in hosts]
    assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
    hosts[:] = [HOSTS[1]]
    assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
    assert [place.host for place in control._ways._open] == [HOSTS[1]]


def test_a_pod_that_does_not_answer_in_time_is_not_asked_again(farm: Farm, pods: Pods) -> None:
    pods.at(POD, PROBE_PORT, b"here\n")
    control = farm.control(HOSTS[0])
    assert control.reach(POD, PROBE_PORT, b"x\n", 5) == b"here\n"
    slow = pods.at(NEXT, PROBE_PORT, silent)
    with pytest.raises(OSError, match="does not answer"):
        control.reach(NEXT, PROBE_PORT, b"x\n", 1)
    assert slow.callers == 1
