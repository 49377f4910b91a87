"""The socket inside: the gateway's and the hub's own tokens, the contract's shapes, and nothing for anybody else."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.flows import tunnels
from broker.web.api.internal import create_internal_app
from sulku.closure import ClosureReport
from sulku.errors import IsolationUnavailableError
from sulku.people import Actor, Role
from sulku.tunnels import Tunnel
from tests.web.api.test_nouns import approved
from tests.web.rig import Rig, served

TOKENS = {"gateway": "g" * 43, "hub": "h" * 43, "control": "c" * 43}
NONCE = hashlib.sha256(b"nonce").hexdigest()


@dataclass
class Desk:
    """The machine's part, without a machine: what was asked of it."""

    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)

    def start(self, tunnel: str) -> str:
        if tunnel.endswith("0"):
            raise IsolationUnavailableError(["user-namespaces"])
        self.started.append(tunnel)
        return f"/run/{tunnel}/ws.sock"

    def stop(self, tunnel: str) -> None:
        self.stopped.append(tunnel)

    def running(self, tunnel: str) -> bool:
        return tunnel in self.started

    def addresses(self, tunnels: Iterable[Tunnel]) -> Mapping[str, str]:
        return {one.id: f"/run/{one.id}/ws.sock" for one in tunnels if one.id not in self.lost}

    def token(self, tunnel: str) -> str:
        return f"workspace-token-of-{tunnel}"


@dataclass
class Inside:
    """The application on its socket, and a client for each service."""

    path: Path
    desk: Desk
    gateway: httpx2.Client
    hub: httpx2.Client
    bare: httpx2.Client


@pytest.fixture(scope="module")
def inside(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    path = Path(tmp_path_factory.mktemp("run")) / "broker.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    desk = Desk()

    def client(token: str) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url="http://broker", transport=httpx2.HTTPTransport(uds=str(path)), headers=headers, timeout=60)

    with (
        served(create_internal_app(rig.ports, TOKENS, desk), listening),
        client(TOKENS["gateway"]) as gateway,
        client(TOKENS["hub"]) as hub,
        client("") as bare,
    ):
        yield Inside(path, desk, gateway, hub, bare)


@pytest.fixture(scope="module")
def aino(rig: Rig) -> Actor:
    return rig.actor("aino", Role.RESEARCHER)


@pytest.fixture(scope="module")
def open_tunnel(rig: Rig, aino: Actor) -> str:
    permit = approved(rig)["permit"]
    receipt = tunnels.open_(rig.ports, aino, permit, 60)
    tunnel = next(one for one in receipt.facts if one.startswith("tun_"))
    tunnels.prove(rig.ports, tunnel, ClosureReport(tunnel, True, (), (), (), 1))
    tunnels.opened(rig.ports, tunnel)
    return tunnel


def test_each_service_has_its_own_door(inside: Inside) -> None:
    for http in (inside.bare, inside.hub):
        assert http.get("/internal/gate/tunnels").status_code == 401
    for http in (inside.bare, inside.gateway):
        assert http.get("/internal/hub/tunnels/tun_0000000000000000").status_code == 401
    for token in ("x", TOKENS["control"], TOKENS["gateway"] + "x", TOKENS["gateway"][:-1]):
        answer = inside.bare.get("/internal/gate/tunnels", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    assert inside.gateway.get("/internal/gate/tunnels").status_code == 200


def test_a_person_cannot_ask_here_and_a_service_cannot_ask_there(inside: Inside, rig: Rig) -> None:
    token = rig.token("auli")
    assert inside.bare.get("/internal/gate/tunnels", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    answer = rig.client(base_url=rig.url).get("/api/v1/me", headers={"Authorization": f"Bearer {TOKENS['gateway']}"})
    assert answer.status_code == 401
    assert rig.client(base_url=rig.url).get("/internal/gate/tunnels").status_code == 404


def test_the_record_holds_what_the_gateway_needs_of_open_tunnels(inside: Inside, open_tunnel: str, rig: Rig) -> None:
    found = {one["id"]: one for one in inside.gateway.get("/internal/gate/tunnels").json()["tunnels"]}
    one = found[open_tunnel]
    assert set(one) == {"id", "host", "epoch", "person", "permit", "permit_title", "deadline", "address", "token", "lab"}
    assert one["host"] == "t-" + open_tunnel[4:]
    assert (one["epoch"], one["person"], one["lab"]) == (1, rig.ids["aino"], "/lab")
    assert one["deadline"].endswith("Z")


def test_the_record_holds_no_tunnel_past_its_deadline_whoever_has_not_noticed_yet(inside: Inside, open_tunnel: str, rig: Rig) -> None:
    def listed() -> bool:
        return open_tunnel in {one["id"] for one in inside.gateway.get("/internal/gate/tunnels").json()["tunnels"]}

    before = rig.clock.ahead
    rig.clock.ahead = before + timedelta(minutes=61)
    try:
        assert not listed()
    finally:
        rig.clock.ahead = before
    assert listed()


def redeem(inside: Inside, **asked: Any) -> httpx2.Response:
    return inside.gateway.post("/internal/gate/tickets/redeem", json=asked)


def test_a_ticket_opens_once_for_its_browser_and_its_tunnel(inside: Inside, open_tunnel: str, rig: Rig, aino: Actor) -> None:
    ticket = tunnels.enter(rig.ports, aino, open_tunnel, NONCE)
    other = hashlib.sha256(b"another").hexdigest()
    assert redeem(inside, ticket=ticket, nonce_hash=other, tunnel=open_tunnel).status_code == 403
    answer = redeem(inside, ticket=ticket, nonce_hash=NONCE, tunnel=open_tunnel)
    assert answer.json() == {"tunnel": open_tunnel, "epoch": 1, "person": rig.ids["aino"], "name": "Aino Aalto"}
    again = redeem(inside, ticket=ticket, nonce_hash=NONCE, tunnel=open_tunnel)
    assert (again.status_code, again.json()["code"]) == (403, "bad-ticket")
    assert again.headers["content-type"] == "application/problem+json"
    assert again.json()["type"] == "about:blank"


def test_a_budget_is_leased_in_slices_and_counts_down(inside: Inside, open_tunnel: str) -> None:
    def lease(want: int, epoch: int = 1) -> httpx2.Response:
        return inside.gateway.post("/internal/gate/leases", json={"tunnel": open_tunnel, "epoch": epoch, "want": want, "spent": 0})

    first, second = lease(1000).json(), lease(1000).json()
    assert first["granted"] == second["granted"] == 1000
    assert first["left"] - second["left"] == 1000
    assert first["total"] == second["total"]
    assert lease(1000, epoch=7).status_code == 409
    assert lease(-1).status_code == 422


def test_what_the_gateway_saw_is_in_the_ledger(inside: Inside, open_tunnel: str, rig: Rig) -> None:
    said = {"tunnel": open_tunnel, "at": "2026-11-22T10:00:00.000Z", "run": "r" * 22}
    ran, tried = {"code": "1+1", "kernel": "k", "msg_id": "m"}, {"method": "GET", "path": "/files/a", "count": 3}
    reports = [
        {"kind": "executed", "code": "executed", "detail": ran, "number": 1, **said},
        {"kind": "refused", "code": "not-allowed", "detail": tried, "number": 2, **said},
    ]
    assert inside.gateway.post("/internal/gate/reports", json={"reports": reports}).status_code == 204
    assert rig.ledger("tunnel.code-executed")[0]["id"] == open_tunnel
    refused = next(one for one in rig.ledger("refusal.recorded") if one["id"] == open_tunnel)
    assert refused["body"]["count"] == 3  # type: ignore[index,call-overload]


def test_a_submission_is_frozen_then_reviewed(inside: Inside, open_tunnel: str, rig: Rig) -> None:
    data = b"sex,n\nf,20\nm,30\n"
    query = {
        "tunnel": open_tunnel,
        "name": "counts.csv",
        "submission": "first",
        "manifest": '{"files":[{"name":"counts.csv","persons":"n"}]}',
    }
    frozen = inside.gateway.post("/internal/gate/outputs", params=query, content=data)
    assert frozen.status_code == 201, frozen.text
    assert frozen.json()["sha256"] == hashlib.sha256(data).hexdigest()
    body = {
        "tunnel": open_tunnel,
        "submission": "first",
        "manifest": {"title": "Counts", "context": "by sex"},
        "outputs": [{"name": "counts.csv", "output": frozen.json()["output"]}],
    }
    submitted = inside.gateway.post("/internal/gate/submissions", json=body)
    assert submitted.status_code == 201, submitted.text
    release = submitted.json()["release"]
    seen = rig.api("aino").get(f"/releases/{release}").json()
    assert seen["title"] == "Counts"
    listed = rig.api("aino").get(f"/releases/{release}/outputs").json()["items"][0]
    assert listed["declared"] == {"name": "counts.csv", "persons": "n"}


@pytest.mark.parametrize("wrong", [{"name": "../x"}, {"name": ""}, {"manifest": "["}, {"manifest": "[]"}, {"tunnel": "tun_x"}])
def test_a_hostile_submission_is_refused_with_words_for_its_author(inside: Inside, open_tunnel: str, wrong: dict[str, str]) -> None:
    query = {"tunnel": open_tunnel, "name": "a.csv", "submission": "second", **wrong}
    answer = inside.gateway.post("/internal/gate/outputs", params=query, content=b"a")
    assert answer.status_code == 422
    assert answer.json()["remedy"]


def test_an_output_too_large_is_refused(inside: Inside, open_tunnel: str) -> None:
    query = {"tunnel": open_tunnel, "name": "a.csv", "submission": "third"}
    assert inside.gateway.post("/internal/gate/outputs", params=query, content=b"x" * (17 * 2**20)).status_code == 413


def test_the_hub_starts_looks_and_stops(inside: Inside) -> None:
    tunnel = "tun_" + "1" * 16
    assert inside.hub.get(f"/internal/hub/tunnels/{tunnel}").json() == {"running": False}
    answer = inside.hub.post(f"/internal/hub/tunnels/{tunnel}/start")
    assert answer.json() == {"url": f"http+unix://%2Frun%2F{tunnel}%2Fws.sock"}
    assert inside.hub.get(f"/internal/hub/tunnels/{tunnel}").json() == {"running": True}
    assert inside.hub.post(f"/internal/hub/tunnels/{tunnel}/stop").json() == {"running": False}
    assert inside.desk.stopped == [tunnel]


def test_a_workspace_that_cannot_be_isolated_is_a_fault_that_names_no_part(inside: Inside) -> None:
    answer = inside.hub.post("/internal/hub/tunnels/tun_" + "0" * 16 + "/start")
    assert (answer.status_code, answer.json()["code"]) == (503, "isolation-unavailable")
