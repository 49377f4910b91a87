"""A gateway that is asked to end while people work: no more than a reconnect, by another gateway, and their kernels live on."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websocket import WebSocketConnectionClosedException

from broker.gateway.settings import read
from sulku.crypto import seal
from sulku.errors import ConfigurationError
from tests.fakes.broker import FakeBroker
from tests.gateway.rig import Browser, Channels, GatewayProcess, Workspace
from tests.gateway.test_several import Roaming
from tests.soon import eventually

LAB = "/api/kernels"
Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start gateways that share a key and a broker."""
    broker = FakeBroker(tmp_path, "gateway-token")
    broker.start()
    key = tmp_path / "shared.key"
    key.touch(mode=0o600)
    key.write_text(seal.token())
    with ExitStack() as stack:

        def one(name: str, **settings: Any) -> GatewayProcess:
            (tmp_path / name).mkdir()
            made = GatewayProcess(tmp_path / name, broker, domain="sulku.localhost:8081", session_key_file=str(key), **settings)
            return stack.enter_context(made.run())

        yield one
    broker.stop()


def entered(gateway: GatewayProcess, workspace: Workspace, **more: Any) -> Roaming:
    browser = Roaming(gateway, gateway.broker.open(workspace.socket, workspace.token, **more))
    assert browser.enter().status == 303
    return browser


def asked_to_end(gateway: GatewayProcess) -> None:
    assert gateway.process
    gateway.process.send_signal(signal.SIGTERM)


def takes_nobody(gateway: GatewayProcess) -> bool:
    try:
        Browser(gateway, next(iter(gateway.broker.tunnels.values()))).get("/.sulku/static/gateway.svg")
    except ConnectionError:
        return True
    return False


def heard(gateway: GatewayProcess, browser: Roaming, word: str) -> bool:
    """Return whether the broker knows of a cell with that word in it."""
    return any(word in one["detail"]["code"] for one in gateway.broker.told(browser.tunnel, "executed"))


def ended(gateway: GatewayProcess, within: float = 30) -> int:
    assert gateway.process
    return gateway.process.wait(within)


@contextmanager
def working(browser: Roaming) -> Iterator[tuple[str, Channels]]:
    kernel = browser.kernel()
    channels = browser.channels(kernel)
    assert channels.text("x = 20 + 1") == ""
    yield kernel, channels
    with suppress(WebSocketConnectionClosedException, OSError):
        channels.ws.close()


def test_a_kernel_outlives_its_gateway_and_is_found_by_another_with_the_same_cookie(start: Start, workspace: Workspace) -> None:
    one, other = start("a"), start("b")
    browser = entered(one, workspace)
    with working(browser) as (kernel, channels):
        asked_to_end(one)
        assert channels.closing() == (4000, "the gateway restarts")
        again = browser.at(other).channels(kernel)
        assert again.text("print(x)") == "21\n"
        assert ended(one) == 0


def test_who_works_while_it_drains_goes_on_and_nobody_new_comes_in(start: Start, workspace: Workspace) -> None:
    one, other = start("a", drain_seconds=60), start("b")
    browser = entered(one, workspace)
    with working(browser) as (kernel, channels):
        asked_to_end(one)
        eventually(lambda: takes_nobody(one))
        assert one.control("GET", "/control/health")[1]["draining"] is True
        assert channels.text("print(x)") == "21\n"
        assert browser.at(other).get(LAB).status == 200
        assert browser.at(other).channels(kernel).text("print(x + 1)") == "22\n"
        assert channels.text("print(x + 2)") == "23\n", "both at once"
        channels.ws.close()
        assert ended(one) == 0, "when the last has gone it does not wait any longer"


def test_a_connection_that_was_open_is_closed_after_its_answer(start: Start, workspace: Workspace) -> None:
    one = start("a", drain_seconds=60)
    browser = entered(one, workspace)
    with working(browser), closing(http.client.HTTPConnection("127.0.0.1", one.port, timeout=10)) as kept:
        for draining in (False, True):
            kept.request("GET", LAB, headers={"Host": browser.host, "Cookie": browser.cookie})
            answer = kept.getresponse()
            answer.read()
            assert answer.status == 200
            assert (answer.headers.get("Connection") == "close") is draining
            if not draining:
                asked_to_end(one)
                eventually(lambda: takes_nobody(one))


def test_at_the_end_of_the_drain_what_is_left_is_closed(start: Start, workspace: Workspace) -> None:
    one = start("a", drain_seconds=1)
    with working(entered(one, workspace)) as (_, channels):
        began = time.monotonic()
        asked_to_end(one)
        assert channels.closing() == (4000, "the gateway restarts")
        assert 0.9 < time.monotonic() - began < 30
        assert ended(one) == 0


def test_who_asks_twice_means_it(start: Start, workspace: Workspace) -> None:
    one = start("a", drain_seconds=60)
    with working(entered(one, workspace)) as (_, channels):
        asked_to_end(one)
        eventually(lambda: takes_nobody(one))
        asked_to_end(one)
        assert channels.closing() == (4000, "the gateway restarts")
        assert ended(one) == 0


def test_while_it_drains_a_cut_is_heard_and_the_deadline_holds(start: Start, workspace: Workspace) -> None:
    one = start("a", drain_seconds=60)
    browser, second, third = (entered(one, workspace) for _ in range(3))
    with working(browser) as (_, cut), working(second) as (_, late), working(third) as (_, withdrawn):
        asked_to_end(one)
        eventually(lambda: takes_nobody(one))
        one.cut(browser.tunnel)
        assert cut.closing() == (4000, "closed")
        second.tunnel.ends = datetime.now(UTC) + timedelta(seconds=1)
        assert late.closing() == (4000, "tunnel expired")
        one.broker.close(third.tunnel)
        assert withdrawn.closing() == (4000, "tunnel closed")
        assert ended(one) == 0


def test_what_ran_while_it_drained_is_told(start: Start, workspace: Workspace) -> None:
    one = start("a", drain_seconds=60)
    browser = entered(one, workspace)
    with working(browser) as (_, channels):
        asked_to_end(one)
        eventually(lambda: takes_nobody(one))
        channels.text("print(x)  # late")
    ended(one)
    with ExitStack() as again:
        if not heard(one, browser, "late"):  # a broker that had no time to hear it hears it from the next start
            again.enter_context(one.run())
        eventually(lambda: heard(one, browser, "late"))


@contextmanager
def ending_unheard(gateway: GatewayProcess, browser: Roaming) -> Iterator[None]:
    """Have a cell run that no broker hears of, and the gateway asked to end; it has sent its people away."""
    with working(browser) as (_, channels):
        gateway.broker.stop()
        assert channels.text("print(x)  # unheard") == "21\n"
        asked_to_end(gateway)
        assert channels.closing() == (4000, "the gateway restarts")
        yield


def test_what_ran_while_no_broker_was_there_is_told_before_the_gateway_ends(start: Start, workspace: Workspace) -> None:
    one = start("a", report_seconds=120)
    browser = entered(one, workspace)
    with ending_unheard(one, browser):
        with pytest.raises(subprocess.TimeoutExpired):
            ended(one, 4)
        assert one.cut(browser.tunnel) == 0, "its own parts are answered meanwhile"
        assert not heard(one, browser, "unheard")
        one.broker.start()
        assert ended(one) == 0
    assert heard(one, browser, "unheard")
    assert "did not take" not in one.said()


@pytest.mark.parametrize("seconds", [1, 120])
def test_a_gateway_that_may_wait_no_longer_says_what_was_not_taken_and_the_next_one_tells_it(start: Start, workspace: Workspace, seconds: int) -> None:
    one = start("a", report_seconds=seconds)
    browser = entered(one, workspace)
    with ending_unheard(one, browser):
        if seconds > 1:
            asked_to_end(one)
        assert ended(one) == 0
    assert "did not take" in one.said()
    one.broker.start()
    assert not heard(one, browser, "unheard")
    with one.run():
        eventually(lambda: heard(one, browser, "unheard"))


@pytest.mark.parametrize("what", ["drain_seconds", "report_seconds"])
def test_a_wait_of_less_than_nothing_is_refused(tmp_path: Path, what: str) -> None:
    made = GatewayProcess(tmp_path, FakeBroker(tmp_path, "gateway-token"), **{what: -1})
    (tmp_path / "gateway.json").write_text(json.dumps(made.settings))
    with pytest.raises(ConfigurationError):
        read(tmp_path / "gateway.json")
