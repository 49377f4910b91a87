"""A kernel through the gateway: it works, its messages are of known types, its code is recorded, its bytes are paid for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from websocket import WebSocketBadStatusException

from broker.gateway import messages, record
from sulku.errors import NotAllowedError
from tests.fakes.broker import OpenTunnel
from tests.gateway.rig import V1, Browser, GatewayProcess, Workspace, frame
from tests.soon import SECONDS, eventually

Open = Callable[..., OpenTunnel]
HEADER = {"msg_id": "1", "msg_type": "status", "session": "s"}


@pytest.mark.parametrize("protocol", [V1, None])
def test_code_runs_and_every_execution_is_recorded_in_order(inside: Browser, gateway: GatewayProcess, protocol: str | None) -> None:
    channels = inside.channels(inside.kernel(), protocol=protocol)
    printed = [channels.text(f"print({n} * {n})") for n in range(5)]
    assert printed == ["0\n", "1\n", "4\n", "9\n", "16\n"]
    told = eventually(lambda: len(found := gateway.broker.told(inside.tunnel, "executed")) == 5 and found)
    assert [report["detail"]["code"] for report in told] == [f"print({n} * {n})" for n in range(5)]
    assert all(report["detail"]["msg_id"] for report in told)


def test_user_expressions_are_code_too(inside: Browser, gateway: GatewayProcess) -> None:
    channels = inside.channels(inside.kernel())
    channels.execute("", silent=True, user_expressions={"x": "open('/etc/passwd').read()"})
    (report,) = eventually(lambda: gateway.broker.told(inside.tunnel, "executed"))
    assert "open('/etc/passwd')" in report["detail"]["code"]


def test_a_cell_too_long_to_record_is_not_executed_and_says_so(inside: Browser, gateway: GatewayProcess) -> None:
    channels = inside.channels(inside.kernel())
    got = channels.run("open('ran.txt', 'w')\n" + "#" * 70_000)
    (error,) = [one["content"] for one in got if one["header"]["msg_type"] == "error"]
    assert error["ename"] == "NotRecorded"
    assert channels.text("import os; print(os.path.exists('ran.txt'))") == "False\n"
    assert len(eventually(lambda: gateway.broker.told(inside.tunnel, "executed"))) == 1


@pytest.mark.parametrize(
    ("kind", "channel"),
    [("debug_request", "control"), ("shutdown_request", "control"), ("execute_request", "control"), ("made_up", "shell"),
     ("execute_request", "iopub"), ("connect_request", "shell")],
)  # fmt: skip
def test_a_message_that_is_not_on_the_list_goes_nowhere(inside: Browser, gateway: GatewayProcess, kind: str, channel: str) -> None:
    channels = inside.channels(inside.kernel())
    channels.send(kind, {"code": "open('ran.txt', 'w')"}, channel=channel)
    (report,) = eventually(lambda: gateway.broker.told(inside.tunnel, "refused"))
    assert report["code"] == "not-allowed"
    assert channels.text("print(1)") == "1\n", "the kernel is alive and the socket still open"


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, frame("shell", {})[:-1] + b"x", frame("shell", [], {}, {}, {}), b"\x00" * 8])
def test_a_malformed_frame_is_dropped(inside: Browser, gateway: GatewayProcess, data: bytes) -> None:
    channels = inside.channels(inside.kernel())
    channels.ws.send_binary(data)
    assert channels.text("print(1)") == "1\n"
    eventually(lambda: gateway.broker.told(inside.tunnel, "refused"))


def test_frames_are_read_and_written_alike() -> None:
    data = frame("iopub", HEADER, {"a": 1}, {}, {"b": "é"}, b"\x00\x01", b"")
    message = messages.read_v1(data)
    assert message.buffers == (b"\x00\x01", b"")
    assert messages.read_v1(messages.write_v1(message)) == message
    with pytest.raises(NotAllowedError):
        messages.read_v1(frame("iopub", HEADER, {}, {}, {}, b"x" * (messages.LARGEST_BUFFERS + 1)))
    with pytest.raises(NotAllowedError):
        messages.read_json(json.dumps({"channel": "shell", "header": {}, "buffers": ["x"]}))


def test_types_the_kernel_may_not_send_are_dropped() -> None:
    for channel, kind in (("iopub", "made_up"), ("iopub", "execute_reply"), ("control", "debug_reply"), ("iopub", "debug_event")):
        message = messages.read_v1(frame(channel, HEADER | {"msg_type": kind}, {}, {}, {}))
        with pytest.raises(NotAllowedError):
            messages.require_allowed(message, messages.FROM_KERNEL)
    messages.require_allowed(messages.read_v1(frame("iopub", HEADER, {}, {}, {})), messages.FROM_KERNEL)


def test_the_websocket_of_another_origin_or_another_cookie_is_refused(inside: Browser, gateway: GatewayProcess, open_tunnel: Open) -> None:
    kernel = inside.kernel()
    other = gateway.enter(open_tunnel())
    for options in ({"origin": "http://evil.example"}, {"cookie": ""}, {"cookie": f"sulku-session={other.session}"}):
        with pytest.raises(WebSocketBadStatusException) as refused:
            inside.channels(kernel, **options)
        assert refused.value.status_code in {401, 403}
    assert inside.channels(kernel).text("print(1)") == "1\n"


def end_in(browser: Browser, seconds: float) -> None:
    """Bring the deadline forward, which is always possible, and wait until the gateway knows."""
    browser.tunnel.ends = datetime.now(UTC) + timedelta(seconds=seconds)
    eventually(lambda: (told := browser.get("/.sulku/status")).status in {200, 410} and told.json.get("seconds_left", 0) < 60)


def test_an_open_websocket_is_closed_at_the_deadline(gateway: GatewayProcess, open_tunnel: Open) -> None:
    browser = gateway.enter(open_tunnel())
    channels = browser.channels(browser.kernel())
    assert channels.text("print(1)") == "1\n"
    end_in(browser, 4)
    assert channels.closing() == (4000, "tunnel expired")
    late = datetime.now(UTC) - browser.tunnel.ends
    assert timedelta(milliseconds=-50) <= late < timedelta(seconds=SECONDS)
    for kind, accept in (("text/html", "text/html"), ("application/problem+json", "")):
        answer = browser.get("/lab", Accept=accept)
        assert answer.status == 410
        assert answer.headers["Content-Type"].startswith(kind)
        assert "cache" in answer.headers["Clear-Site-Data"]


def test_the_deadline_holds_when_the_broker_is_dead_and_the_record_cannot_extend_it(
    own_gateway: GatewayProcess, workspace: Workspace
) -> None:
    broker = own_gateway.broker
    tunnel = broker.open(workspace.socket, workspace.token)
    browser = own_gateway.enter(tunnel)
    channels = browser.channels(browser.kernel())
    end_in(browser, 5)
    ends, tunnel.ends = tunnel.ends, tunnel.ends + timedelta(hours=1)
    time.sleep(1)
    broker.stop()
    assert channels.closing() == (4000, "tunnel expired")
    assert datetime.now(UTC) - ends < timedelta(seconds=SECONDS)
    assert browser.get("/lab").status == 410
    broker.start()
    assert browser.get("/lab").status == 410, "a later deadline is another tunnel"


def test_a_tunnel_that_leaves_the_record_is_cut_at_once(inside: Browser, gateway: GatewayProcess) -> None:
    channels = inside.channels(inside.kernel())
    gateway.broker.close(inside.tunnel)
    began = time.monotonic()
    assert channels.closing() == (4000, "tunnel closed")
    assert time.monotonic() - began < SECONDS
    assert inside.get("/api/kernels").status == 410


def test_a_cut_closes_everything_at_once_and_the_record_may_open_it_again(inside: Browser, gateway: GatewayProcess) -> None:
    kernel = inside.kernel()
    sockets = [inside.channels(kernel) for _ in range(3)]
    assert gateway.cut(inside.tunnel) == 3
    assert [one.closing() for one in sockets] == [(4000, "closed")] * 3
    assert inside.get("/api/kernels").status == 401
    assert inside.enter().status == 303
    assert inside.channels(kernel).text("print(1)") == "1\n"


def test_a_client_that_does_not_read_cannot_hold_its_socket_open(inside: Browser, gateway: GatewayProcess) -> None:
    channels = inside.channels(inside.kernel())
    channels.execute("for n in range(200): print('x' * 100_000)")
    time.sleep(2)
    began = time.monotonic()
    gateway.cut(inside.tunnel)
    assert time.monotonic() - began < SECONDS
    assert gateway.control("GET", "/control/health")[0] == 200


def flood(megabytes: int) -> str:
    return f"from IPython.display import display\nfor n in range({megabytes * 4}): display({{'text/plain': 'x' * 250_000}}, raw=True)"


def test_a_flood_ends_at_the_budget_and_so_does_everything_else(gateway: GatewayProcess, open_tunnel: Open, workspace: Workspace) -> None:
    browser = gateway.enter(open_tunnel(budget=3_000_000))
    channels = browser.channels(browser.kernel())
    channels.execute(flood(20))
    assert channels.closing() == (4000, "egress budget exceeded")
    (workspace.home / "large.txt").write_text("x" * 200_000)
    target = "/api/contents/large.txt?type=file&format=text&content=1"
    answer = eventually(lambda: (found := browser.get(target)).status == 429 and found)
    assert answer.code == "egress-budget"
    assert "steward" in answer.json["remedy"]
    assert browser.tunnel.leased <= 3_000_000
    assert eventually(lambda: gateway.broker.told(browser.tunnel, "cut"))[0]["code"] == "egress-budget"
    assert browser.get("/static/favicons/favicon.ico").status == 200, "trusted files are not egress"
    browser.tunnel.budget += 5_000_000
    assert browser.get(target).status == 200, "a top-up works at once"


@pytest.mark.parametrize("how", ["comm", "binary", "stream", "error"])
def test_every_kind_of_message_is_paid_for(gateway: GatewayProcess, open_tunnel: Open, how: str) -> None:
    browser = gateway.enter(open_tunnel(budget=2_000_000))
    channels = browser.channels(browser.kernel())
    code = {
        "comm": "from comm import create_comm\nc = create_comm('x')\nfor n in range(40): c.send(data='x' * 100_000)",
        "binary": "from comm import create_comm\nc = create_comm('x')\nfor n in range(40): c.send(buffers=[b'x' * 100_000])",
        "stream": "import sys, time\nfor n in range(40): print('x' * 100_000); time.sleep(0.15); sys.stdout.flush()",
        "error": "for n in range(40):\n  get_ipython().showtraceback((ValueError, ValueError('x' * 100_000), None))",
    }[how]
    channels.execute(code)
    assert channels.closing() == (4000, "egress budget exceeded")


def test_a_restart_of_the_gateway_gives_no_budget_back(own_gateway: GatewayProcess, workspace: Workspace) -> None:
    tunnel = own_gateway.broker.open(workspace.socket, workspace.token, budget=1_000_000)
    browser = own_gateway.enter(tunnel)
    browser.channels(browser.kernel()).run(flood(1).replace("range(4)", "range(2)"))
    assert 500_000 < tunnel.leased < 1_000_000
    os.kill(own_gateway.process.pid, 9)  # type: ignore[union-attr]
    own_gateway.process.wait()  # type: ignore[union-attr]
    with own_gateway.run():
        assert browser.get("/api/kernels").status == 401, "people enter again"
        browser.enter()
        channels = browser.channels(browser.kernel())
        channels.execute(flood(1))
        assert channels.closing() == (4000, "egress budget exceeded")
    assert tunnel.leased == 1_000_000


def test_without_the_broker_nothing_new_passes_and_it_recovers(own_gateway: GatewayProcess, workspace: Workspace) -> None:
    browser = own_gateway.enter(own_gateway.broker.open(workspace.socket, workspace.token))
    channels = browser.channels(browser.kernel())
    own_gateway.broker.stop()
    time.sleep(1.1)
    began = time.monotonic()
    answer = browser.get("/api/kernels")
    assert (answer.status, answer.code) == (503, "broker-unavailable")
    assert time.monotonic() - began < record.WAIT + SECONDS
    assert browser.get("/lab", Accept="text/html").headers["Content-Type"].startswith("text/html")
    assert channels.text("print(1)") == "1\n", "a socket that was open lives on its lease, until the deadline"
    channels.execute(flood(1))
    assert channels.closing()[0] == 1013, "and not beyond it"
    own_gateway.broker.start()
    assert eventually(lambda: browser.get("/api/kernels").status == 200)
    told = eventually(lambda: len(found := own_gateway.broker.told(browser.tunnel, "executed")) == 2 and found)
    assert told[0]["detail"]["code"] == "print(1)", "what ran meanwhile was spooled, in order"
