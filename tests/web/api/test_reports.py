"""What a gateway reports is in the ledger once, though answers get lost; and what was run twice is there twice."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from broker.gateway.reports import Reports
from broker.gateway.upstream import Broker
from broker.store.tables import REPORTED
from sulku import links
from sulku.crypto import seal
from tests.web.api.test_internal import TOKENS, Inside, aino, inside, open_tunnel  # noqa: F401  # fixtures
from tests.web.rig import Rig


class Wire(socketserver.ThreadingUnixStreamServer):
    """A wire to the broker that delivers every request and loses as many answers as it is told to."""

    daemon_threads = True

    def __init__(self, path: Path, broker: str) -> None:
        self.broker, self.lose, self.lost = broker, 0, 0
        super().__init__(str(path), _Relay)


class _Relay(socketserver.BaseRequestHandler):
    server: Wire

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as broker:
            broker.connect(self.server.broker)
            threading.Thread(target=self._inwards, args=(broker,), daemon=True).start()
            while data := broker.recv(65536):
                if self.server.lose:
                    self.server.lose, self.server.lost = self.server.lose - 1, self.server.lost + 1
                    return
                self.request.sendall(data)

    def _inwards(self, broker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                broker.sendall(data)
            broker.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(inside: Inside, tmp_path: Path) -> Iterator[Wire]:  # noqa: F811
    with Wire(tmp_path / "wire.sock", str(inside.path)) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def executed(rig: Rig, open_tunnel: str) -> Callable[[], list[str]]:  # noqa: F811
    """Return what was executed in the tunnel since the test began, oldest first, by the kernel's name."""
    before = len(rig.ledger("tunnel.code-executed"))

    def found() -> list[str]:
        entries = rig.ledger("tunnel.code-executed")
        new: list[Any] = entries[: len(entries) - before][::-1]
        assert {one["id"] for one in new} <= {open_tunnel}
        return [one["body"]["kernel"] for one in new]

    return found


def gateway(wire: Wire, folder: Path, act: Callable[[Reports], Any], *, told: bool = True) -> None:
    """Live the life of a gateway: ``act``, and wait until everything is ``told`` or at least one answer was lost."""

    async def live() -> None:
        client = Broker(links.address(f"unix:{wire.server_address}"), TOKENS["gateway"])
        reports = Reports(client, folder)
        tasks = [asyncio.create_task(reports.write()), asyncio.create_task(reports.send())]
        try:
            await act(reports)
            for _ in range(1500):
                if not reports.pending if told else wire.lost:
                    break
                await asyncio.sleep(0.02)
            else:
                pytest.fail("the broker was not told in half a minute")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await reports.close()
            await client.close()
        assert reports.rejected == 0

    asyncio.run(live())


def running(tunnel: str, *kernels: str) -> Callable[[Reports], Any]:
    """Return what runs the same code with the same message id in each of ``kernels``."""

    async def act(reports: Reports) -> None:
        for kernel in kernels:
            await reports.executed(tunnel, "df.describe()", kernel, "the-same-id")

    return act


async def _nothing(_: Reports) -> None:
    pass


def test_a_lost_answer_repeats_no_entry(wire: Wire, open_tunnel: str, tmp_path: Path, executed: Any) -> None:  # noqa: F811
    wire.lose = 2
    gateway(wire, tmp_path / "spool", running(open_tunnel, "k1"))
    assert wire.lost == 2
    assert executed() == ["k1"]


def test_the_same_code_under_the_same_message_id_is_recorded_as_often_as_it_ran(
    wire: Wire, open_tunnel: str, tmp_path: Path, executed: Any  # noqa: F811
) -> None:
    wire.lose = 1
    gateway(wire, tmp_path / "spool", running(open_tunnel, "k2", "k2"))
    gateway(wire, tmp_path / "spool", running(open_tunnel, "k2"))
    assert executed() == ["k2"] * 3


def test_what_a_gateway_did_not_know_to_be_recorded_when_it_died_is_not_recorded_again(
    wire: Wire, open_tunnel: str, tmp_path: Path, executed: Any  # noqa: F811
) -> None:
    wire.lose = 1
    gateway(wire, tmp_path / "spool", running(open_tunnel, "k3"), told=False)
    assert executed() == ["k3"]
    assert (tmp_path / "spool" / "reports.jsonl").read_bytes()
    gateway(wire, tmp_path / "spool", running(open_tunnel, "k4", "k3"))
    assert executed() == ["k3", "k4", "k3"]


def test_a_repetition_leaves_nothing_in_the_ledger_and_one_row_beside_it(rig: Rig, inside: Inside, open_tunnel: str) -> None:  # noqa: F811
    run = seal.token(16)

    def say(*numbers: int) -> None:
        lines = [_line(open_tunnel, run, number) for number in numbers]
        assert inside.gateway.post("/internal/gate/reports", json={"reports": lines}).status_code == 204

    say(1, 2)
    size = rig.ports.archive.head()[0]
    say(1)
    say(1, 2)
    assert rig.ports.archive.head()[0] == size
    say(2, 3, 3, 4)
    assert rig.ports.archive.head()[0] == size + 2
    with rig.store.database.read() as connection:
        rows = connection.execute(select(func.count(), func.max(REPORTED.c.number)).where(REPORTED.c.run == run)).one()
    assert tuple(rows) == (1, 4)


def test_the_same_reports_at_once_are_recorded_once(rig: Rig, inside: Inside, open_tunnel: str, executed: Any) -> None:  # noqa: F811
    lines = [_line(open_tunnel, seal.token(16), 1, kernel="k5")]

    def say(_: int) -> int:
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(inside.path)), headers=inside.gateway.headers, timeout=60) as http:
            return http.post("http://broker/internal/gate/reports", json={"reports": lines}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(say, range(8))) == [204] * 8
    assert executed() == ["k5"]


@pytest.mark.parametrize("wrong", [{"run": ""}, {"run": "x" * 23}, {"run": None}, {"number": 0}, {"number": -1}, {"number": 2**53}, {"number": None}])
def test_a_report_without_a_run_and_a_number_is_refused(inside: Inside, open_tunnel: str, wrong: dict[str, Any]) -> None:  # noqa: F811
    line = _line(open_tunnel, seal.token(16), 1) | wrong
    answer = inside.gateway.post("/internal/gate/reports", json={"reports": [line]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


def _line(tunnel: str, run: str, number: int, *, kernel: str = "k") -> dict[str, Any]:
    detail = {"code": "1 + 1", "kernel": kernel, "msg_id": "m"}
    return {"tunnel": tunnel, "kind": "executed", "at": "", "code": "executed", "detail": detail, "run": run, "number": number}
