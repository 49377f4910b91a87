"""The way in: a ticket works once, in one browser, for one tunnel, person and epoch; and it does work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from websocket import WebSocketBadStatusException

from sulku import ids
from tests.fakes.broker import OpenTunnel
from tests.gateway.rig import Browser, GatewayProcess
from tests.soon import eventually

Open = Callable[..., OpenTunnel]
LAB = "/api/kernels"


def test_a_ticket_lets_its_browser_in_and_leads_to_the_shell(gateway: GatewayProcess, open_tunnel: Open) -> None:
    browser = gateway.browser(open_tunnel())
    answer = browser.enter()
    assert answer.headers["Location"] == f"http://gate.{gateway.domain}/{browser.tunnel.label}/"
    cookie = next(line for line in answer.headers.get_all("Set-Cookie") or () if line.startswith("sulku-session="))
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
    assert browser.get(LAB).status == 200


def test_the_nonce_is_sent_as_a_hash_only(gateway: GatewayProcess, open_tunnel: Open) -> None:
    browser = gateway.browser(open_tunnel())
    begun = browser.get("/.sulku/enter")
    where = urlsplit(begun.headers["Location"])
    assert (where.scheme, where.path) == ("http", f"/enter/{browser.tunnel.id}")
    assert browser.cookies["sulku-nonce"] not in begun.headers["Location"]
    assert "Max-Age=120" in begun.headers["Set-Cookie"]
    assert begun.headers["Referrer-Policy"] == "no-referrer"


def test_without_a_ticket_nothing_is_there(gateway: GatewayProcess, open_tunnel: Open) -> None:
    browser = gateway.browser(open_tunnel())
    for target in (LAB, "/lab", "/static/lab/index.html", "/.sulku/status", "/api/contents"):
        assert browser.get(target).status == 401
    with pytest.raises(WebSocketBadStatusException):
        browser.channels("00000000-0000-0000-0000-000000000000")


def test_a_ticket_works_once(gateway: GatewayProcess, open_tunnel: Open) -> None:
    browser = gateway.browser(open_tunnel())
    ticket = gateway.broker.ticket(browser.tunnel, browser.nonce_hash())
    nonce = browser.cookies["sulku-nonce"]
    assert browser.get(f"/.sulku/enter?ticket={ticket}").status == 303
    browser.cookies = {"sulku-nonce": nonce}
    again = browser.get(f"/.sulku/enter?ticket={ticket}")
    assert (again.status, again.code) == (403, "bad-ticket")
    eventually(lambda: [one["code"] for one in gateway.broker.told(browser.tunnel, "refused")] == ["bad-ticket"])
    assert ticket not in str(gateway.broker.reports)


def test_a_ticket_of_another_browser_is_refused(gateway: GatewayProcess, open_tunnel: Open) -> None:
    tunnel = open_tunnel()
    victim, thief = gateway.browser(tunnel), gateway.browser(tunnel)
    ticket = gateway.broker.ticket(tunnel, victim.nonce_hash())
    assert thief.get(f"/.sulku/enter?ticket={ticket}").status == 403
    assert ticket in gateway.broker.tickets, "without a nonce the broker is not even asked"
    thief.nonce_hash()
    assert thief.get(f"/.sulku/enter?ticket={ticket}").status == 403


@pytest.mark.parametrize("wrong", [{"tunnel": "tun_0000000000000000"}, {"person": "usr_0000000000000000"}, {"epoch": 7}, {"epoch": None}])
def test_a_ticket_for_something_else_is_refused(gateway: GatewayProcess, open_tunnel: Open, wrong: dict[str, Any]) -> None:
    browser = gateway.browser(open_tunnel())
    assert browser.enter(**wrong).status == 403
    assert browser.get(LAB).status == 401
    assert browser.enter().status == 303


@pytest.mark.parametrize("ticket", ["", "short", "A" * 200, "%0d%0aSet-Cookie:x", "../../x" * 5])
def test_a_malformed_ticket_never_reaches_the_broker(gateway: GatewayProcess, open_tunnel: Open, ticket: str) -> None:
    browser = gateway.browser(open_tunnel())
    browser.nonce_hash()
    gateway.broker.tickets[ticket] = {"nonce_hash": "x", "tunnel": "x"}
    assert browser.get(f"/.sulku/enter?ticket={ticket}").status == 403
    assert gateway.broker.tickets.pop(ticket), "nobody asked for it"


def test_a_forged_cookie_is_refused_and_reported(gateway: GatewayProcess, open_tunnel: Open) -> None:
    browser = gateway.browser(open_tunnel())
    browser.cookies["sulku-session"] = "A" * 43
    assert browser.get(LAB).status == 401
    assert eventually(lambda: gateway.broker.told(browser.tunnel, "refused"))[0]["code"] == "not-entered"


def test_the_cookie_of_another_tunnel_opens_nothing_and_does_no_harm(inside: Browser, gateway: GatewayProcess, open_tunnel: Open) -> None:
    other = gateway.enter(open_tunnel())
    stranger = gateway.browser(other.tunnel)
    stranger.cookies["sulku-session"] = inside.session
    assert stranger.get(LAB).status == 401
    both = f"sulku-session={inside.session}; sulku-session={other.session}"
    assert other.get(LAB, Cookie=both).status == 200, "a planted cookie beside one's own keeps nobody out"


def test_a_new_epoch_ends_sessions_and_sockets_and_people_can_enter_again(inside: Browser, gateway: GatewayProcess) -> None:
    channels = inside.channels(inside.kernel())
    inside.tunnel.epoch += 1
    assert channels.closing() == (4000, "access changed")
    assert inside.get(LAB).status == 401
    assert inside.enter().status == 303
    assert inside.get(LAB).status == 200


def test_a_ticket_is_taken_though_a_question_is_under_way_that_was_asked_before_it_was_given(own_gateway: GatewayProcess) -> None:
    """The record that comes back does not know the ticket's epoch yet; people are let in by the next one."""
    take, asked = own_gateway.broker.answer, threading.Event()

    def slowly(service: str, method: str, target: str, body: bytes) -> Any:
        found = take(service, method, target, body)
        if method == "GET" and target.endswith("/tunnels"):
            asked.set()
            time.sleep(0.3)
        return found

    browser = own_gateway.enter(own_gateway.broker.open("/nowhere", "token"))
    own_gateway.broker.answer = slowly  # type: ignore[method-assign]
    for _ in range(4):
        asked.clear()
        assert asked.wait(30)
        browser.tunnel.epoch += 1
        assert browser.enter().status == 303


def test_leaving_ends_this_browser_only(inside: Browser, gateway: GatewayProcess) -> None:
    second = gateway.enter(inside.tunnel)
    cookie = inside.cookie
    left = inside.get("/.sulku/leave", Accept="text/html")
    assert left.status == 200
    assert "cache" in left.headers["Clear-Site-Data"]
    assert inside.get(LAB, Cookie=cookie).status == 401
    assert second.get(LAB).status == 200


@pytest.mark.parametrize("host", ["", "evil.example", "t-0000000000000000.evil.example", "gate.sulku.localhost", "T-X"])
def test_another_host_is_nothing(inside: Browser, host: str) -> None:
    assert inside.get(LAB, Host=host).status in {400, 404}


def test_an_unknown_tunnel_is_a_human_page_for_people_and_a_problem_for_programs(gateway: GatewayProcess) -> None:
    unknown = OpenTunnel(ids.new("tun"), "/nowhere", "x", datetime.now(UTC))
    page = gateway.browser(unknown).get("/lab", Accept="text/html")
    assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert b"may" in page.body or b"no open tunnel" in page.body
    assert gateway.browser(unknown).get("/lab").code == "not-found"


def test_the_shell_says_nothing_that_its_address_does_not_say(inside: Browser, gateway: GatewayProcess) -> None:
    label = inside.tunnel.label
    page = inside.get(f"/{label}/", Host=f"gate.{gateway.domain}", Cookie="")
    assert page.status == 200
    for secret in (inside.tunnel.token, inside.tunnel.person, "Survival", "Aino"):
        assert secret.encode() not in page.body
    policy = page.headers["Content-Security-Policy"]
    assert f"frame-src http://{label}.{gateway.domain};" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert inside.get("/t-short/", Host=f"gate.{gateway.domain}").status == 404


def test_the_status_is_for_the_shell_of_somebody_inside(inside: Browser, gateway: GatewayProcess) -> None:
    answer = inside.get("/.sulku/status", Origin=f"http://gate.{gateway.domain}")
    assert answer.headers["Access-Control-Allow-Origin"] == f"http://gate.{gateway.domain}"
    assert answer.json["bytes_total"] == 50_000_000
    assert 3500 < answer.json["seconds_left"] <= 3600
    assert inside.get("/.sulku/status", Origin="http://evil.example").status == 403


def test_the_name_on_the_ticket_is_who_jupyterlab_greets(inside: Browser) -> None:
    me = inside.get("/api/me").json["identity"]
    assert (me["display_name"], me["username"]) == ("Aino Virtanen", inside.tunnel.person)
    assert ids.parse(me["username"], "usr")
