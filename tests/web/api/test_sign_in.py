"""Signing in at the pages: only what the issuer signed for this very browser is believed, and an end is an end at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from broker.flows import people
from broker.web.identity import Sealer, local_path
from sulku.errors import ConfigurationError, SignInRequiredError
from sulku.people import Role, service
from tests.web import rig as rigs
from tests.web.rig import HandClock, Rig, query_of, sign_in

pages = APIRouter()


@pages.get("/who")
def who(request: Request) -> JSONResponse:
    by = request.state.actor
    return JSONResponse({"id": by.id if by else "", "role": by.role if by else "", "roles": list(request.state.roles)})


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, database_template: Path) -> Iterator[Rig]:
    with rigs.running(tmp_path_factory.mktemp("broker") / "state", database_template, pages) as made:
        yield made


@pytest.fixture(autouse=True)
def _now(rig: Rig) -> Iterator[None]:
    yield
    rig.clock.ahead = timedelta(0)


def seen(browser: httpx2.Client) -> str:
    return str(browser.get("/who").json()["id"])


def test_a_person_signs_in_through_the_issuer_and_lands_where_they_wanted(rig: Rig) -> None:
    browser = rig.browser()
    answer = sign_in(browser, "aino", "/who?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/who?x=1")
    assert seen(browser) == rig.ids["aino"]


def test_the_cookie_is_for_us_alone_and_out_of_reach_of_scripts(rig: Rig) -> None:
    cookie = next(one for one in sign_in(rig.browser(), "aino").headers.get_list("set-cookie") if one.startswith("sulku="))
    attributes = {one.strip().lower() for one in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(one.startswith("domain") for one in attributes)
    assert "aino" not in cookie


def test_nobody_is_signed_in_without_the_cookie(rig: Rig) -> None:
    assert seen(rig.browser()) == ""


@pytest.mark.parametrize("place", [0, 20, -3])
def test_an_edited_cookie_is_nobodys(rig: Rig, place: int) -> None:
    browser = rig.signed_in("aino")
    sealed = browser.cookies["sulku"]
    other = "A" if sealed[place] != "A" else "B"
    edited = rig.browser()
    edited.cookies.set("sulku", sealed[:place] + other + sealed[place:][1:])
    assert seen(edited) == ""


def test_an_answer_that_another_browser_asked_for_signs_nobody_in(rig: Rig) -> None:
    asking, other = rig.browser(), rig.browser()
    leaving = asking.get("/sign-in")
    state = query_of(leaving.headers["location"])["state"]
    for browser in (other, asking):
        wrong = state if browser is other else "x"
        answer = browser.get("/signed-in", params={"state": wrong, "code": "c"})
        assert answer.status_code == 401
        assert seen(browser) == ""


def test_an_answer_works_once(rig: Rig) -> None:
    browser = rig.browser()
    leaving = browser.get("/sign-in")
    kept = query_of(leaving.headers["location"])
    fields = {name: kept[name] for name in ("client_id", "redirect_uri", "state", "nonce", "code_challenge")}
    back = browser.post(f"{rig.issuer}/authorize", data={**fields, "sub": "aino"}).headers["location"]
    pending = dict(browser.cookies)
    assert browser.get(back).status_code == 303
    again = rig.browser()
    again.cookies.update(pending)
    assert again.get(back).status_code == 401


def test_somebody_who_is_not_in_the_directory_is_told_so(rig: Rig) -> None:
    browser = rig.browser()
    answer = sign_in(browser, "outi")
    assert answer.status_code == 401
    assert "not in this environment" in answer.text
    assert seen(browser) == ""


def test_a_refusal_at_the_issuer_is_a_page_and_not_a_circle(rig: Rig) -> None:
    answer = sign_in(rig.browser(), "")
    assert answer.status_code == 401
    assert "access_denied" in answer.text


def test_signing_out_ends_the_session_even_for_who_kept_the_cookie(rig: Rig) -> None:
    browser = rig.signed_in("aino")
    thief = rig.browser()
    thief.cookies.set("sulku", browser.cookies["sulku"])
    assert seen(thief) == rig.ids["aino"]
    answer = browser.post("/sign-out")
    assert answer.headers["location"].startswith(f"{rig.issuer}/end?")
    assert seen(browser) == ""
    assert seen(thief) == ""


def test_signing_out_one_session_leaves_the_others(rig: Rig) -> None:
    here, there = rig.signed_in("aino"), rig.signed_in("aino")
    here.post("/sign-out")
    assert seen(there) == rig.ids["aino"]


def test_a_session_ends_after_twelve_hours_and_not_before(rig: Rig) -> None:
    browser = rig.signed_in("aino")
    rig.clock.ahead = timedelta(hours=11, minutes=58)
    assert seen(browser) == rig.ids["aino"]
    rig.clock.ahead = timedelta(hours=12, minutes=2)
    assert seen(browser) == ""


def test_acting_in_another_role_does_not_lengthen_the_session(rig: Rig) -> None:
    browser = rig.signed_in("sanna")
    rig.clock.ahead = timedelta(hours=11, minutes=50)
    assert browser.post("/role", data={"role": "researcher", "next": "/who"}).status_code == 303
    rig.clock.ahead = timedelta(hours=12, minutes=2)
    assert seen(browser) == ""


def test_a_person_acts_in_the_roles_that_they_hold_and_no_other(rig: Rig) -> None:
    browser = rig.signed_in("sanna")
    assert browser.get("/who").json() == {"id": rig.ids["sanna"], "role": "steward", "roles": ["steward", "researcher"]}
    answer = browser.post("/role", data={"role": "researcher", "next": "/who"})
    assert answer.headers["location"] == "/who"
    assert browser.get("/who").json()["role"] == "researcher"
    for role in ("auditor", "operator", "service", "public", "king"):
        assert browser.post("/role", data={"role": role}).status_code in {404, 422}
    assert browser.get("/who").json()["role"] == "researcher"


def test_an_account_that_ends_is_refused_at_once(rig: Rig) -> None:
    browser = rig.signed_in("risto")
    api = rig.api("risto")
    assert seen(browser) == rig.ids["risto"]
    assert api.get("/me").status_code == 200
    people.leave(rig.ports, rig.actor("otto"), rig.ids["risto"], "left the organisation")
    assert seen(browser) == ""
    assert api.get("/me").status_code == 401
    assert sign_in(rig.browser(), "risto").status_code == 401


def test_a_role_taken_away_is_gone_at_the_next_request(rig: Rig) -> None:
    browser = rig.signed_in("sanna")
    setup = service("setup")
    people.change_roles(rig.ports, setup, rig.ids["sanna"], (Role.RESEARCHER,))
    try:
        assert browser.get("/who").json()["role"] == "researcher"
        assert rig.api("sanna", "steward").get("/me").status_code == 404
    finally:
        people.change_roles(rig.ports, setup, rig.ids["sanna"], (Role.STEWARD, Role.RESEARCHER))
    assert browser.get("/who").json()["role"] == "steward"


@pytest.mark.parametrize("after", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", "/é", "/" + "a" * 3000])
def test_nobody_is_sent_elsewhere_by_a_link_to_our_sign_in(rig: Rig, after: str) -> None:
    assert local_path(after) == "/"
    assert sign_in(rig.browser(), "aino", after).headers["location"] == "/"


def test_a_seal_is_good_for_its_purpose_and_its_time() -> None:
    clock = HandClock()
    sealer = Sealer(b"k" * 32, clock)
    sealed = sealer.seal("session", {"a": 1})
    assert sealer.open("session", sealed, timedelta(hours=1)) == {"a": 1}
    for purpose, other in (("pending", sealer), ("session", Sealer(b"j" * 32, clock))):
        with pytest.raises(SignInRequiredError):
            other.open(purpose, sealed, timedelta(hours=1))
    clock.ahead = timedelta(hours=1, minutes=1)
    with pytest.raises(SignInRequiredError):
        sealer.open("session", sealed, timedelta(hours=1))


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "session.key"
    path.write_text("k" * 40)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError):
        Sealer.from_file(path, HandClock())
    path.chmod(0o600)
    assert Sealer.from_file(path, HandClock())
    path.write_text("short")
    with pytest.raises(ConfigurationError):
        Sealer.from_file(path, HandClock())
