"""Several gateways at once: who entered by one is known to all that share the key, each keeps its own spool, and a cut reaches all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sulku.crypto import seal
from tests.fakes.broker import FakeBroker, OpenTunnel
from tests.gateway.rig import ROOT, Browser, GatewayProcess, Workspace
from tests.soon import eventually

LAB = "/api/kernels"
Pair = tuple[GatewayProcess, GatewayProcess]


def key(folder: Path, name: str = "shared.key") -> str:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(seal.token())
    return str(path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateways of one domain and one broker."""
    broker = FakeBroker(tmp_path, "gateway-token")
    broker.start()
    with ExitStack() as stack:

        def one(name: str, **settings: str) -> GatewayProcess:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            made = GatewayProcess(folder, broker, domain="sulku.localhost:8081", slice_bytes=10_000, **settings)
            return stack.enter_context(made.run())

        yield one
    broker.stop()


@pytest.fixture
def two(start: Callable[..., GatewayProcess], tmp_path: Path) -> Pair:
    shared = key(tmp_path)
    return start("a", session_key_file=shared), start("b", session_key_file=shared)


class Roaming(Browser):
    """A browser whose requests reach whichever gateway a load balancer picks."""

    @property
    def host(self) -> str:
        return f"{self.tunnel.label}.sulku.localhost:8081"

    def at(self, gateway: GatewayProcess) -> Roaming:
        self.gateway = gateway
        return self


def entered(gateway: GatewayProcess, tunnel: OpenTunnel) -> Roaming:
    browser = Roaming(gateway, tunnel)
    assert browser.enter().status == 303
    return browser


def test_who_entered_by_one_gateway_is_inside_at_the_other(two: Pair, workspace: Workspace) -> None:
    one, other = two
    browser = entered(one, one.broker.open(workspace.socket, workspace.token))
    kernel = browser.at(one).kernel()
    assert kernel in [one["id"] for one in browser.at(other).get(LAB).json], "other tests have kernels there too"
    assert browser.at(other).channels(kernel).text("print(20 + 1)") == "21\n"
    assert browser.at(other).get("/api/me").json["identity"]["display_name"] == "Aino Virtanen"


def test_the_nonce_of_one_and_the_ticket_at_the_other_let_in_once(two: Pair, workspace: Workspace) -> None:
    one, other = two
    browser = Roaming(one, one.broker.open(workspace.socket, workspace.token))
    ticket = one.broker.ticket(browser.tunnel, browser.nonce_hash())
    nonce = browser.cookie
    assert browser.at(other).get(f"/.sulku/enter?ticket={ticket}").status == 303
    assert browser.at(one).get(LAB).status == 200
    assert browser.get(f"/.sulku/enter?ticket={ticket}", Cookie=nonce).status == 403


def test_a_gateway_that_begins_anew_still_knows_who_is_inside(start: Callable[..., GatewayProcess], tmp_path: Path, workspace: Workspace) -> None:
    shared = key(tmp_path)
    with_key = entered(first := start("a", session_key_file=shared), tunnel := first.broker.open(workspace.socket, workspace.token))
    without = entered(alone := start("c"), tunnel)
    assert with_key.get(LAB).status == without.get(LAB).status == 200
    assert with_key.at(start("b", session_key_file=shared)).get(LAB).status == 200
    assert without.at(start("d")).get(LAB).status == 401, "without a key people enter again"
    assert without.at(alone).get(LAB).status == 200


def test_a_cookie_that_was_sealed_by_another_key_or_changed_opens_nothing(two: Pair, start: Callable[..., GatewayProcess], tmp_path: Path, workspace: Workspace) -> None:
    one, _ = two
    browser = entered(one, one.broker.open(workspace.socket, workspace.token))
    good = browser.session
    stranger = entered(start("x", session_key_file=key(tmp_path, "other.key")), browser.tunnel).session
    for wrong in (stranger, good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), good[:40], good + "A", "gAAAA", "A" * 400, "é"):
        assert browser.get(LAB, Cookie=f"sulku-session={wrong}").status == 401
    assert browser.get(LAB).status == 200


def test_a_cookie_is_good_for_its_own_tunnel_alone(two: Pair, workspace: Workspace) -> None:
    one, other = two
    browser, second = (entered(one, one.broker.open(workspace.socket, workspace.token)) for _ in range(2))
    assert second.at(other).get(LAB, Cookie=f"sulku-session={browser.session}").status == 401
    assert second.get(LAB).status == 200


def test_a_new_epoch_ends_it_at_every_gateway_and_the_next_entry_counts_at_once(two: Pair, workspace: Workspace) -> None:
    one, other = two
    browser = entered(one, one.broker.open(workspace.socket, workspace.token))
    assert browser.at(other).get(LAB).status == 200
    old = browser.cookie
    browser.tunnel.epoch += 1
    assert browser.at(one).enter().status == 303
    assert browser.at(other).get(LAB).status == 200, "the other gateway asks the broker rather than turn somebody away"
    for gateway in two:
        eventually(lambda gateway=gateway: browser.at(gateway).get(LAB, Cookie=old).status == 401)  # type: ignore[misc]
        assert browser.get(LAB).status == 200


def test_a_cut_voids_what_was_sealed_before_it_wherever_it_is_heard(two: Pair, workspace: Workspace) -> None:
    one, other = two
    browser = entered(one, one.broker.open(workspace.socket, workspace.token))
    assert browser.at(other).get(LAB).status == 200
    for gateway in two:
        gateway.cut(browser.tunnel)
        assert browser.at(gateway).get(LAB).status == 401
    assert browser.enter().status == 303
    for gateway in two:
        assert browser.at(gateway).get(LAB).status == 200


def test_a_cut_closes_the_sockets_of_one_person_at_both(two: Pair, workspace: Workspace) -> None:
    one = two[0]
    browser = entered(one, one.broker.open(workspace.socket, workspace.token, budget=10_000_000))
    kernel = browser.at(one).kernel()
    sockets = [browser.at(gateway).channels(kernel) for gateway in two]
    assert [socket.text("print(1)") for socket in sockets] == ["1\n", "1\n"]
    assert [gateway.cut(browser.tunnel) for gateway in two] == [1, 1]
    assert [socket.closing() for socket in sockets] == [(4000, "closed")] * 2


def test_who_leaves_has_left(two: Pair, workspace: Workspace) -> None:
    one, _ = two
    browser = entered(one, one.broker.open(workspace.socket, workspace.token))
    second = entered(one, browser.tunnel)
    stolen = browser.cookie
    assert browser.get("/.sulku/leave", Accept="text/html").status == 200
    assert browser.get(LAB).status == 401, "the browser has dropped it, for every gateway"
    assert browser.get(LAB, Cookie=stolen).status == 401
    assert second.get(LAB).status == 200


def test_both_spend_one_budget(two: Pair, workspace: Workspace) -> None:
    one = two[0]
    tunnel = one.broker.open(workspace.socket, workspace.token, budget=60_000)
    browser = entered(one, tunnel)
    answers = [browser.at(two[n % 2]).get("/api/contents?type=directory&content=1").status for n in range(400)]
    assert answers[0] == answers[1] == 200
    assert answers[-2:] == [429, 429]
    assert tunnel.leased == 60_000


def test_two_gateways_do_not_share_a_spool(start: Callable[..., GatewayProcess], tmp_path: Path) -> None:
    first = start("a")
    (tmp_path / "b").mkdir()
    second = GatewayProcess(tmp_path / "b", first.broker, state_dir=first.settings["state_dir"])
    (tmp_path / "b" / "gateway.json").write_text(json.dumps(second.settings))
    command = [sys.executable, "-m", "broker.gateway", "--config", str(tmp_path / "b" / "gateway.json")]
    ended = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "src:."}, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "configuration" in ended.stderr, "its own state_dir" in ended.stderr) == (6, True, True), ended.stderr
    assert first.control("GET", "/control/health")[0] == 200


@pytest.mark.parametrize("wrong", ["missing", "short", "readable"])
def test_a_key_that_does_not_serve_is_refused_at_the_start(start: Callable[..., GatewayProcess], tmp_path: Path, wrong: str) -> None:
    made = GatewayProcess(tmp_path, FakeBroker(tmp_path, "gateway-token"), session_key_file=key(tmp_path))
    path = Path(made.settings["session_key_file"])
    match wrong:
        case "missing":
            path.unlink()
        case "short":
            path.write_text("x" * 31)
        case _:
            path.chmod(0o644)
    (tmp_path / "gateway.json").write_text(json.dumps(made.settings))
    command = [sys.executable, "-m", "broker.gateway", "--config", str(tmp_path / "gateway.json")]
    ended = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "src:."}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 6, ended.stderr
    assert ended.stderr.startswith("configuration: "), ended.stderr
