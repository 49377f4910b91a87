"""What the gateway tells the broker survives crashes and floods; what people submit is pulled, frozen and answered."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.gateway import reports as module
from broker.gateway.reports import Reports
from broker.gateway.upstream import Broker
from sulku import ids
from sulku.errors import RecorderFullError
from sulku.links import Address
from tests.fakes.broker import FakeBroker, OpenTunnel
from tests.gateway.rig import Browser, GatewayProcess, Workspace
from tests.soon import eventually

TUNNEL = "tun_0123456789abcdef"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[FakeBroker]:
    made = FakeBroker(tmp_path, "gateway-token")
    made.start()
    yield made
    made.stop()


def told(broker: FakeBroker) -> list[Any]:
    return [report["detail"].get("code", report["detail"]) for report in broker.reports]


async def _with(broker: FakeBroker, folder: Path, act: Callable[[Reports], Any], *, until: int = 0) -> None:
    client = Broker(Address(str(broker.socket)), "gateway-token")
    reports = Reports(client, folder)
    tasks = [asyncio.create_task(reports.write()), asyncio.create_task(reports.send())]
    try:
        await act(reports)
        if until:  # told, and their answers heard: who does not hear one tells again
            await asyncio.to_thread(eventually, lambda: len(broker.reports) >= until and not reports.pending)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await reports.close()
        await client.close()


def run(broker: FakeBroker, folder: Path, act: Callable[[Reports], Any], *, until: int = 0) -> None:
    asyncio.run(_with(broker, folder, act, until=until))


async def _nothing(_: Reports) -> None:
    pass


def test_what_was_executed_while_the_broker_was_away_is_told_after_a_restart(broker: FakeBroker, tmp_path: Path) -> None:
    async def execute(reports: Reports) -> None:
        for n in range(20):
            await reports.executed(TUNNEL, f"code {n}", "k", str(n))

    broker.stop()
    run(broker, tmp_path / "spool", execute)
    assert broker.reports == []
    broker.start()
    run(broker, tmp_path / "spool", _nothing, until=20)
    assert told(broker) == [f"code {n}" for n in range(20)]
    run(broker, tmp_path / "spool", _nothing)
    assert len(broker.reports) == 20, "told once"


def test_code_is_on_disk_before_it_may_run(broker: FakeBroker, tmp_path: Path) -> None:
    async def execute(reports: Reports) -> None:
        await reports.executed(TUNNEL, "the code", "k", "1")
        assert b"the code" in (tmp_path / "spool" / "reports.jsonl").read_bytes()

    broker.stop()
    run(broker, tmp_path / "spool", execute)


def test_a_line_that_a_crash_cut_short_is_dropped_and_the_rest_is_told(broker: FakeBroker, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    whole = {"tunnel": TUNNEL, "kind": "executed", "at": "", "code": "executed", "detail": {"code": "whole"}}
    (spool / "reports.jsonl").write_text(json.dumps(whole) + '\n{"tunnel": "tun_')
    run(broker, spool, _nothing, until=1)
    assert told(broker) == ["whole"]


def test_a_full_spool_stops_execution(broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_SPOOL", 1000)

    async def execute(reports: Reports) -> None:
        await reports.executed(TUNNEL, "x" * 1000, "k", "1")
        with pytest.raises(RecorderFullError):
            await reports.executed(TUNNEL, "y", "k", "2")

    broker.stop()
    run(broker, tmp_path / "spool", execute)


def test_a_spool_that_cannot_be_written_stops_execution(broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def execute(reports: Reports) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(module, "_append", full)
            with pytest.raises(RecorderFullError):
                await reports.executed(TUNNEL, "lost", "k", "1")
        await reports.executed(TUNNEL, "kept", "k", "2")

    run(broker, tmp_path / "spool", execute, until=1)
    assert told(broker) == ["kept"]


def test_a_flood_of_refusals_becomes_one_line_with_a_count(broker: FakeBroker, tmp_path: Path) -> None:
    async def flood(reports: Reports) -> None:
        for n in range(1000):
            reports.refused(TUNNEL, "not-allowed", "GET", f"/files/{n}", "no")
        reports.refused(TUNNEL, "path-not-canonical", "GET", "/läb\n", "no")

    run(broker, tmp_path / "spool", flood)
    run(broker, tmp_path / "spool", _nothing, until=7)
    counts = [report["detail"].get("count", 1) for report in broker.reports if report["code"] == "not-allowed"]
    assert (len(counts), sum(counts)) == (module.BURST + 1, 1000)
    assert broker.reports[-2]["detail"]["path"] == "/l\\xe4b\n"


def test_a_report_that_the_broker_rejects_is_kept_aside_and_holds_up_no_other(broker: FakeBroker, tmp_path: Path) -> None:
    take = broker.answer

    def picky(service: str, method: str, target: str, body: bytes) -> Any:
        return (422, {"code": "invalid-input"}) if b"poison" in body else take(service, method, target, body)

    broker.answer = picky  # type: ignore[method-assign]

    async def execute(reports: Reports) -> None:
        await asyncio.gather(*(reports.executed(TUNNEL, code, "k", code) for code in ("a", "poison", "b")))

    run(broker, tmp_path / "spool", execute, until=2)
    assert told(broker) == ["a", "b"]
    assert "poison" in (tmp_path / "spool" / "rejected.jsonl").read_text()


def test_a_report_that_met_a_tunnel_in_motion_is_sent_again(broker: FakeBroker, tmp_path: Path) -> None:
    take, stale = broker.answer, [True]

    def moving(service: str, method: str, target: str, body: bytes) -> Any:
        return (409, {"code": "stale"}) if stale and stale.pop() else take(service, method, target, body)

    broker.answer = moving  # type: ignore[method-assign]

    async def execute(reports: Reports) -> None:
        await reports.executed(TUNNEL, "a", "k", "1")

    run(broker, tmp_path / "spool", execute, until=1)
    assert told(broker) == ["a"]
    assert not (tmp_path / "spool" / "rejected.jsonl").exists()


def test_every_line_has_a_number_that_rises_within_its_run(broker: FakeBroker, tmp_path: Path) -> None:
    async def work(reports: Reports) -> None:
        await asyncio.gather(*(reports.executed(TUNNEL, str(n), "k", "1") for n in range(10)))
        reports.refused(TUNNEL, "not-allowed", "GET", "/files/a", "no")

    for life in (11, 22):
        run(broker, tmp_path / "spool", work, until=life)
    lives = [[one["number"] for one in broker.reports if one["run"] == run_] for run_ in dict.fromkeys(one["run"] for one in broker.reports)]
    assert lives == [list(range(1, 12))] * 2


# --- the outbox -------------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(gateway: GatewayProcess, open_tunnel: Callable[..., OpenTunnel]) -> Browser:
    """A browser in the only open tunnel: all tunnels of a test run share one workspace, and each is pulled from."""
    gateway.broker.tunnels.clear()
    return gateway.enter(open_tunnel())


@pytest.fixture
def outbox(workspace: Workspace) -> Iterator[Path]:
    folder = workspace.home / "outbox"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def submit(outbox: Path, name: str, **files: bytes) -> Path:
    folder = outbox / name
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file.replace("__", ".")).write_bytes(data)
    (folder / "manifest.json").write_text('{"title": "Table 1"}')
    return folder


def receipt(folder: Path) -> dict[str, Any]:
    found: str = eventually(lambda: (folder / "receipt.json").exists() and (folder / "receipt.json").read_text())
    return dict(json.loads(found))


def test_a_submission_is_pulled_byte_for_byte_and_answered(alone: Browser, gateway: GatewayProcess, outbox: Path) -> None:
    data = bytes(range(256)) * 1000
    folder = submit(outbox, "20261122-a", table__csv=b"a,b\n1,2\n", fig__png=data)
    answer = receipt(folder)
    (taken,) = [one for one in gateway.broker.submissions if one["submission"] == folder.name]
    assert answer["release"].startswith("rel_")
    assert answer["submission"] == folder.name
    assert taken["manifest"] == {"title": "Table 1"}
    assert {one["name"]: gateway.broker.outputs[one["output"]] for one in taken["outputs"]} == {
        "table.csv": b"a,b\n1,2\n", "fig.png": data,
    }  # fmt: skip


def test_a_refusal_is_written_back_with_its_remedy(alone: Browser, gateway: GatewayProcess, outbox: Path) -> None:
    gateway.broker.refuse_submission = {"code": "small-cell", "detail": "a count of 3", "remedy": "Suppress it."}
    try:
        answer = receipt(submit(outbox, "refused", table__csv=b"x"))
    finally:
        gateway.broker.refuse_submission = None
    assert answer["refused"] == {"code": "small-cell", "detail": "a count of 3", "remedy": "Suppress it."}


@pytest.mark.parametrize(
    ("files", "code"),
    [({}, "invalid-input"), ({f"f{n}__txt": b"" for n in range(51)}, "invalid-input"), ({"bad\u202ename": b"x"}, "unsafe-name")],
)  # fmt: skip
def test_a_submission_that_does_not_fit_is_refused(alone: Browser, outbox: Path, files: dict[str, bytes], code: str) -> None:
    assert receipt(submit(outbox, f"odd-{len(files)}-{code}", **files))["refused"]["code"] == code


def test_a_file_that_is_too_large_is_refused_and_a_folder_without_manifest_waits(
    alone: Browser, gateway: GatewayProcess, outbox: Path
) -> None:
    waiting = outbox / "waiting"
    waiting.mkdir(parents=True)
    (waiting / "table.csv").write_text("x")
    large = submit(outbox, "large")
    with (large / "big.bin").open("wb") as file:
        file.truncate(51 * 1024 * 1024)
    assert receipt(large)["refused"]["code"] == "unsafe-file"
    assert not (waiting / "receipt.json").exists()
    assert "waiting" not in {one["submission"] for one in gateway.broker.submissions}


def test_a_tunnel_that_is_closed_is_not_pulled_from(gateway: GatewayProcess, open_tunnel: Callable[..., OpenTunnel], outbox: Path) -> None:
    gateway.broker.tunnels.clear()
    tunnel = open_tunnel()
    gateway.broker.close(tunnel)
    before = len(gateway.broker.submissions)
    submit(outbox, "late", table__csv=b"x")
    assert tunnel.id not in {one["tunnel"] for one in gateway.broker.submissions[before:]}


# --- the control socket -----------------------------------------------------------------------------------------------


def test_the_control_socket_answers_only_who_shows_the_token(gateway: GatewayProcess) -> None:
    for token in ("", "wrong", "control-tokenx", "ä"):
        assert gateway.control("GET", "/control/health", token=token)[0] == 401
        assert gateway.control("POST", "/control/cut", {"tunnel": TUNNEL, "reason": "x"}, token=token)[0] == 401
    eventually(lambda: gateway.control("GET", "/control/health")[1]["snapshot_age"] < 2)
    assert (gateway.folder / "gateway.sock").stat().st_mode & 0o777 == 0o600
    assert "sulku_gateway_tunnels " in gateway.control("GET", "/metrics")[1]


def never(socket: str) -> OpenTunnel:
    """Return a tunnel that is in no record, and never was."""
    return OpenTunnel(ids.new("tun"), socket, "token", datetime.now(UTC))


def test_a_route_is_only_a_hint(gateway: GatewayProcess, workspace: Workspace) -> None:
    tunnel = never(workspace.socket)
    route = {"routespec": f"/user/u/{tunnel.label}/", "target": f"http+unix://{workspace.socket}", "data": {"user": "u"}}
    assert gateway.control("PUT", "/control/routes", route)[0] == 204
    assert route in gateway.control("GET", "/control/routes")[1]["routes"]
    assert gateway.browser(tunnel).get("/lab").status == 404
    assert gateway.control("DELETE", f"/control/routes?routespec={route['routespec']}")[0] == 204
    assert route not in gateway.control("GET", "/control/routes")[1]["routes"]
    assert gateway.control("POST", "/control/cut", {"tunnel": "nonsense", "reason": "x"})[0] == 422
