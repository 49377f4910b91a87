"""The worker's way to a pod: a line each way, whoever may, to pods alone, and never without bounds."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sulku.manifests import PROBE_PORT, WORKSPACE_PORT
from tests.fakes.broker import FakeBroker
from tests.gateway.pods import METADATA, NEXT, OTHERS, POD, POD6, PODS, SERVICE, Pod, Pods, answering, network, silent
from tests.gateway.rig import ROOT, GatewayProcess
from tests.links.rig import REFUSED, LinkedGateway, Papers
from tests.soon import eventually

MOST = 32


class Gate:
    """A gateway by TCP, asked as the worker asks."""

    def __init__(self, running: LinkedGateway) -> None:
        self.running, self.door = running, running.door

    def ask(self, body: Any, part: str = "worker", token: str = "control-token") -> tuple[int, Any]:
        return self.door.ask(self.door.papers.of(part), "/control/reach", f"Bearer {token}", method="POST", body=body)

    def reach(self, host: str, port: int, line: bytes = b"x\n", seconds: float = 5, part: str = "worker") -> tuple[int, Any]:
        where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self.ask(asked(where, line, seconds), part)

    def line(self, *where: Any, **more: Any) -> bytes:
        status, told = self.reach(*where, **more)
        assert status == 200, told
        assert told.keys() == {"line"}
        return base64.b64decode(told["line"])

    def code(self, *where: Any, **more: Any) -> tuple[int, str]:
        status, told = self.reach(*where, **more)
        assert told["remedy"]
        return status, told["code"]


def asked(address: str, line: bytes = b"x\n", seconds: float = 5) -> dict[str, Any]:
    return {"address": address, "line": base64.b64encode(line).decode(), "seconds": seconds}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reach")


@pytest.fixture(scope="module")
def papers(folder: Path) -> Papers:
    return Papers(folder / "certificates")


@contextmanager
def keeping(folder: Path) -> Iterator[FakeBroker]:
    """A broker with a record of tunnels."""
    made = FakeBroker(folder, "gateway-token")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[FakeBroker]:
    """A broker in whose record there is never a tunnel, so that its gateway calls a pod for the worker alone."""
    with keeping(folder) as made:
        yield made


@pytest.fixture(scope="module")
def gate(folder: Path, broker: FakeBroker, papers: Papers) -> Iterator[Gate]:
    """A gateway in a network with pods; the tests are in that network too."""
    with network(), LinkedGateway(folder, broker, papers, workspace_networks=[PODS, "fd00:10:244::/64"]).run() as running:
        yield Gate(running)  # type: ignore[arg-type]


@pytest.fixture
def pods(gate: Gate) -> Iterator[Pods]:
    made = Pods()
    yield made
    made.close()


# --- what it does -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [WORKSPACE_PORT, PROBE_PORT])
@pytest.mark.parametrize("host", [POD, POD6])
def test_a_line_arrives_as_it_was_sent_and_one_line_comes_back(gate: Gate, pods: Pods, host: str, port: int) -> None:
    pod = pods.at(host, port, b'{"boot": "1"}\nand more\nand more')
    assert gate.line(host, port, b'{"do": "hello"}\n') == b'{"boot": "1"}\n'
    assert pod.heard == [b'{"do": "hello"}\n'], "nothing was added"


def test_a_workspaces_readiness_is_seen_through_it(gate: Gate, pods: Pods) -> None:
    pod = pods.at(POD, WORKSPACE_PORT, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    line = b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n"
    assert gate.line(POD, WORKSPACE_PORT, line) == b"HTTP/1.1 200 OK\r\n"
    assert pod.heard == [line]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=st.binary(min_size=1, max_size=3000), answer=st.binary(max_size=3000))
def test_any_bytes_pass_and_none_is_read(gate: Gate, line: bytes, answer: bytes) -> None:
    pods = Pods()
    try:
        pod = pods.at(POD, WORKSPACE_PORT, answer + b"\n")
        assert gate.line(POD, WORKSPACE_PORT, line) == (answer + b"\n").partition(b"\n")[0] + b"\n"
        assert pod.heard == [line]
    finally:
        pods.close()


# --- who may ----------------------------------------------------------------------------------------------------------


def test_the_worker_may_and_no_other_part_with_the_same_token(gate: Gate, pods: Pods) -> None:
    pod = pods.at(POD, PROBE_PORT, b"here\n")
    for part in ("broker", "hub"):
        status, told = gate.ask(asked(f"http://{POD}:{PROBE_PORT}"), part)
        assert (status, told["code"]) == (403, "wrong-neighbour")
    with pytest.raises(REFUSED):
        gate.ask(asked(f"http://{POD}:{PROBE_PORT}"), "gateway")
    assert gate.ask(asked(f"http://{POD}:{PROBE_PORT}"), token="guess")[0] == 401
    assert pod.callers == 0
    assert gate.line(POD, PROBE_PORT) == b"here\n"
    assert pod.callers == 1


def test_where_nobody_shows_a_certificate_nobody_has_a_pod_reached(gate: Gate, pods: Pods, broker: FakeBroker, tmp_path: Path) -> None:
    pod = pods.at(POD, PROBE_PORT, b"here\n")
    with GatewayProcess(tmp_path, broker, workspace_networks=[PODS]).run() as by_socket:
        status, told = by_socket.control("POST", "/control/reach", asked(f"http://{POD}:{PROBE_PORT}"))
        assert (status, told["code"]) == (403, "wrong-neighbour")
        assert by_socket.control("GET", "/control/health")[0] == 200
    assert pod.callers == 0


# --- where to ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port"),
    [(POD, 80), (POD, 8887), (POD, 6443), (SERVICE, 8888), (METADATA, 8888), ("127.0.0.1", 8888), ("::1", 8889)],
)
def test_what_is_no_pods_port_is_not_connected_to_though_somebody_listens(gate: Gate, pods: Pods, host: str, port: int) -> None:
    there = pods.at(host, port, b"here\n")
    socket.create_connection((host, port), 5).close()
    eventually(lambda: there.callers == 1)
    assert gate.code(host, port) == (403, "not-a-pod")
    assert there.callers == 1


@pytest.mark.parametrize(
    "written",
    ["http://{}:8888/", "http://{}:8888/x", "http://a@{}:8888", "https://{}:8888", "{}:8888", "http://{}:8888\r\nX: y", "http://{}:08888", " http://{}:8888"],
)
def test_an_address_has_one_way_to_be_written(gate: Gate, pods: Pods, written: str) -> None:
    there = pods.at(POD, WORKSPACE_PORT, b"here\n")
    status, told = gate.ask(asked(written.format(POD)))
    if written == "http://{}:8888/":
        assert status == 200, "an origin may end with a slash"
    else:
        assert (status, told["code"]) == (403, "not-a-pod")
        assert there.callers == 0


@pytest.mark.parametrize("host", ["localhost", "pod", "0x0a.0xf4.0.7", "10.244.7", "183762951", "010.244.0.7", "0.0.0.0", "169.254.169.254", "[::ffff:10.244.0.7]", "[fe80::1]", "[::]", "224.0.0.1", ""])
def test_a_name_or_a_number_written_otherwise_leads_nowhere(gate: Gate, host: str) -> None:
    status, told = gate.ask(asked(f"http://{host}:8888"))
    assert (status, told["code"]) == (403, "not-a-pod")


def test_a_gateway_that_knows_no_pods_network_reaches_none(gate: Gate, pods: Pods, broker: FakeBroker, papers: Papers, tmp_path: Path) -> None:
    pod = pods.at(POD, PROBE_PORT, b"here\n")
    with LinkedGateway(tmp_path, broker, papers).run() as running:
        assert Gate(running).code(POD, PROBE_PORT) == (403, "not-a-pod")  # type: ignore[arg-type]
    assert pod.callers == 0


@pytest.mark.parametrize("networks", [["0.0.0.0/0"], ["127.0.0.0/8"], ["10.244.0.7/16"], ["pods"], ["169.254.169.254/32"], ["::/0"], ["fe80::/10"], "10.244.0.0/16"])
def test_a_network_that_is_not_one_of_pods_is_refused_at_the_start(broker: FakeBroker, tmp_path: Path, networks: Any) -> None:
    made = GatewayProcess(tmp_path, broker, workspace_networks=networks)
    (tmp_path / "gateway.json").write_text(json.dumps(made.settings))
    command = [sys.executable, "-m", "broker.gateway", "--config", str(tmp_path / "gateway.json")]
    ended = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "src:."}, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr.partition(":")[0]) == (6, "configuration"), ended.stderr


def test_people_are_led_to_pods_alone_too(gate: Gate, pods: Pods, papers: Papers, tmp_path: Path) -> None:
    """By a gateway of its own: one that led a person to a pod goes on asking there whether something lies in the outbox."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
    pod, next_, outside = pods.at(POD, WORKSPACE_PORT, answer), pods.at(NEXT, PROBE_PORT, answer), pods.at(SERVICE, WORKSPACE_PORT, answer)
    with keeping(tmp_path) as record, LinkedGateway(tmp_path, record, papers, workspace_networks=[PODS]).run() as running:
        assert running.enter(record.open(f"http://{POD}:{WORKSPACE_PORT}", "token")).get("/api/kernels").status == 200
        for one in (f"http://{SERVICE}:{WORKSPACE_PORT}", f"http://{NEXT}:{PROBE_PORT}"):
            refused = running.enter(record.open(one, "token")).get("/api/kernels")
            assert (refused.status, refused.code) == (502, "workspace-unavailable")
    assert pod.callers
    assert (next_.callers, outside.callers) == (0, 0), OTHERS


# --- how long, how much, how many -------------------------------------------------------------------------------------


def test_a_pod_that_says_nothing_is_waited_for_as_long_as_was_asked(gate: Gate, pods: Pods) -> None:
    pods.at(POD, PROBE_PORT, silent)
    began = time.monotonic()
    assert gate.code(POD, PROBE_PORT, seconds=0.5) == (502, "workspace-unavailable")
    assert 0.4 < time.monotonic() - began < 5


def test_a_pod_that_never_ends_its_line_is_cut_off_in_time_and_in_bytes(gate: Gate, pods: Pods) -> None:
    def trickle(caller: socket.socket, _: Pod) -> None:
        while True:
            caller.sendall(b"x")
            time.sleep(0.02)

    def flood(caller: socket.socket, pod: Pod) -> None:
        while True:
            caller.sendall(b"x" * 65536)
            pod.heard.append(b"x" * 65536)

    pods.at(POD, PROBE_PORT, trickle)
    began = time.monotonic()
    assert gate.code(POD, PROBE_PORT, seconds=0.7) == (502, "workspace-unavailable")
    assert time.monotonic() - began < 5
    flooded = pods.at(POD, WORKSPACE_PORT, flood)
    status, told = gate.reach(POD, WORKSPACE_PORT, seconds=20)
    assert (status, told["code"]) == (502, "workspace-unavailable")
    assert "more than 1048576" in told["detail"]
    time.sleep(0.1)
    assert sum(map(len, flooded.heard)) < 16 << 20, "it is not read to its end"


def test_a_line_of_a_mebibyte_passes_both_ways_and_a_longer_one_does_not(gate: Gate, pods: Pods) -> None:
    largest = b"a" * ((1 << 20) - 1) + b"\n"
    pod = pods.at(POD, PROBE_PORT, answering(largest, end=b"\n"))
    assert gate.line(POD, PROBE_PORT, largest, 20) == largest
    assert pod.heard == [largest]
    assert gate.code(POD, PROBE_PORT, b"a" + largest) == (422, "invalid-input")
    assert gate.code(POD, PROBE_PORT, largest * 3) == (413, "too-large")
    assert pod.callers == 1


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": 60.1}, {"seconds": 0}, {"seconds": -1}, {"seconds": "5"}, {"seconds": True}, {"seconds": None}, {"line": ""}, {"line": "%"}, {"line": 7}, {"line": "é"}, {"address": None}],
)
def test_what_is_asked_wrongly_is_refused(gate: Gate, pods: Pods, wrong: dict[str, Any]) -> None:
    pod = pods.at(POD, PROBE_PORT, b"here\n")
    status, told = gate.ask(asked(f"http://{POD}:{PROBE_PORT}") | wrong)
    assert (status, told["code"]) in {(422, "invalid-input"), (403, "not-a-pod")}
    for body in ([], "x", {}, {"address": f"http://{POD}:{PROBE_PORT}"}):
        assert gate.ask(body)[0] == 422
    assert pod.callers == 0
    assert gate.line(POD, PROBE_PORT) == b"here\n"


def test_a_pod_that_is_not_there_or_hangs_up_is_said(gate: Gate, pods: Pods) -> None:
    assert gate.code(NEXT, PROBE_PORT) == (502, "workspace-unavailable")
    pods.at(POD, PROBE_PORT, b"half a line")
    assert gate.code(POD, PROBE_PORT) == (502, "workspace-unavailable")


def test_so_many_at_once_and_no_more_and_then_again(gate: Gate, pods: Pods) -> None:
    slow, quick = pods.at(POD, PROBE_PORT, silent), pods.at(POD, WORKSPACE_PORT, b"here\n")
    with ThreadPoolExecutor(MOST) as pool:
        waiting = [pool.submit(gate.code, POD, PROBE_PORT, seconds=20) for _ in range(MOST)]
        eventually(lambda: slow.callers == MOST)
        assert gate.code(POD, WORKSPACE_PORT) == (503, "gate-busy")
        assert quick.callers == 0
        assert {one.result() for one in waiting} == {(502, "workspace-unavailable")}
    assert gate.line(POD, WORKSPACE_PORT) == b"here\n"
    shown = gate.running.control("GET", "/metrics")[1]
    assert 'sulku_gateway_reaches_total{how="gate-busy"} 1' in shown
