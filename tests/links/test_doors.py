"""What listens by TCP lets in the parts whose link it is, by certificate and token, and nobody else; each no beside a yes."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from sulku.crypto.channels import Files
from sulku.links import PARTS, callers
from tests.links.conftest import TOKENS, TUNNEL
from tests.links.rig import REFUSED, Door, Papers, Site

pytestmark = pytest.mark.slow


def refused(door: Door, shown: Files | None, **how: ssl.TLSVersion) -> bool:
    """Whether a caller with all the right tokens gets no answer at all, while one who may gets one."""
    for path, authorization in door.asks.values():
        with pytest.raises(REFUSED):
            door.ask(shown, path, authorization, **how)
    return all(door.lets_in(part) for part in door.asks)


def test_the_parts_whose_link_it_is_are_let_in(door: Door) -> None:
    assert all(door.lets_in(part) for part in door.asks)


def test_a_caller_without_a_certificate_gets_no_answer(door: Door) -> None:
    assert refused(door, None)


def test_another_parts_certificate_opens_nothing_even_with_the_right_token(door: Door) -> None:
    others = set(PARTS) - callers(door.part)
    assert door.part in others, "a part does not call itself"
    for part in others:
        assert refused(door, door.papers.of(part))


def test_a_certificate_of_another_authority_opens_nothing(door: Door, tmp_path: Path) -> None:
    stranger = Papers(tmp_path / "elsewhere")
    for part in door.asks:
        assert refused(door, stranger.of(part))


def test_an_expired_certificate_opens_nothing(door: Door) -> None:
    for part in door.asks:
        assert refused(door, door.papers.expired(part))


def test_tls_below_1_3_is_not_spoken(door: Door) -> None:
    for part in door.asks:
        assert refused(door, door.papers.of(part), highest=ssl.TLSVersion.TLSv1_2)


def test_plain_http_is_not_spoken(door: Door) -> None:
    path, authorization = min(door.asks.values())
    with socket.create_connection((door.host, door.port), 10) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n".encode())
        raw.settimeout(5)
        try:
            got = raw.recv(65536)
        except ConnectionResetError:
            got = b""
    assert b"HTTP/1.1 2" not in got
    assert all(door.lets_in(part) for part in door.asks)


def test_the_token_is_asked_for_besides(door: Door) -> None:
    for part, (path, authorization) in door.asks.items():
        for wrong in ("", authorization + "x", authorization.split()[0] + " x"):
            assert door.ask(door.papers.of(part), path, wrong)[0] in {401, 403}
        assert door.lets_in(part)


def test_a_session_cannot_be_taken_up_again_without_showing_the_certificate(door: Door) -> None:
    """A ticket would let a caller come back after its certificate has ended."""
    path, authorization = min(door.asks.values())
    context = ssl.create_default_context(cafile=door.papers.trust)
    shown = door.papers.of(min(door.asks))
    context.load_cert_chain(shown.certificate, shown.key)
    with socket.create_connection((door.host, door.port), 10) as raw, context.wrap_socket(raw, server_hostname=door.part) as tls:
        tls.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n".encode())
        assert b" 200 " in tls.recv(65536).partition(b"\r\n")[0]
        assert tls.session is None or not tls.session.has_ticket


def test_the_hub_may_not_ask_the_broker_for_what_is_the_gateways(inner: Door) -> None:
    hub, gateway = inner.papers.of("hub"), inner.papers.of("gateway")
    answer = inner.ask(hub, "/internal/gate/tunnels", f"Bearer {TOKENS['gateway']}")
    assert (answer[0], answer[1]["code"]) == (403, "wrong-neighbour")
    answer = inner.ask(gateway, f"/internal/hub/tunnels/{TUNNEL}", f"Bearer {TOKENS['hub']}")
    assert (answer[0], answer[1]["code"]) == (403, "wrong-neighbour")
    assert inner.ask(gateway, "/internal/gate/nothing", f"Bearer {TOKENS['gateway']}")[0] == 404, "its own part of the door opens"
    assert inner.lets_in("hub")


@pytest.mark.parametrize("path", ["//internal/gate/tunnels", "/internal/hub/../gate/tunnels", "/internal/hub/%2e%2e/gate/tunnels", "/internal/gatex"])
def test_no_spelling_of_a_path_leads_the_hub_to_what_is_the_gateways(inner: Door, path: str) -> None:
    assert inner.ask(inner.papers.of("hub"), path, f"Bearer {TOKENS['gateway']}")[0] in {403, 404}


def test_the_hub_may_write_routes_and_cut_nothing(linked: Site) -> None:
    door, token = linked.gateway.door, f"Bearer {linked.gateway.control_token}"
    hub, broker = door.papers.of("hub"), door.papers.of("broker")
    for method, path, body in (
        ("POST", "/control/cut", {"tunnel": TUNNEL, "reason": "x"}),
        ("POST", "/control//cut", {"tunnel": TUNNEL, "reason": "x"}),
        ("GET", "/control/health", None),
        ("GET", "/metrics", None),
        ("GET", "/control/routes/../health", None),
    ):
        answer = door.ask(hub, path, token, method=method, body=body)
        assert (answer[0], answer[1]["code"]) == (403, "wrong-neighbour")
    assert door.ask(hub, "/control/routes", token)[0] == 200
    assert door.ask(broker, "/control/cut", token, method="POST", body={"tunnel": TUNNEL, "reason": "x"})[0] == 200
    assert door.ask(broker, "/control/routes", token)[0] == 403


@pytest.mark.parametrize(("common", "alternative", "in_"), [("broker", "nobody", False), ("nobody", "broker", True), ("broker", None, False)])
def test_a_name_counts_among_the_alternative_names_alone(linked: Site, common: str, alternative: str | None, in_: bool) -> None:
    door = linked.gateway.door
    shown = door.papers.named(common, alternative)
    if in_:
        assert door.ask(shown, *door.asks["broker"])[0] == 200
    else:
        assert refused(door, shown)
