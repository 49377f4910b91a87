"""Signing out is for good: no restart and no other process forgets it, and whoever else is signed in stays so."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text

from tests.web import rig as rigs
from tests.web.rig import Rig

ME = "/api/v1/me"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, database_template: Path) -> Iterator[Rig]:
    with rigs.running(tmp_path_factory.mktemp("broker") / "state", database_template) as made:
        yield made


@pytest.fixture(autouse=True)
def _now(rig: Rig) -> Iterator[None]:
    yield
    rig.clock.ahead = timedelta(0)


def with_cookie(rig: Rig, url: str, browser: httpx2.Client) -> httpx2.Client:
    """Return a browser at another broker that kept the cookie of ``browser``."""
    return rig.client(base_url=url, headers={"Cookie": f"sulku={browser.cookies['sulku']}"})


def with_token(rig: Rig, url: str, token: str) -> httpx2.Client:
    return rig.client(base_url=url, headers={"Authorization": f"Bearer {token}"})


def rows(rig: Rig) -> int:
    with rig.store.database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM sessions_ended")).scalar_one())


def test_a_cookie_that_was_signed_out_is_refused_after_a_restart_and_by_a_second_broker(rig: Rig) -> None:
    gone, kept = rig.signed_in("aino"), rig.signed_in("aino")
    with rigs.again(rig) as second:
        thief = with_cookie(rig, second, gone)
        assert thief.get(ME).status_code == 200
        thief_later = with_cookie(rig, second, gone)
        gone.post("/sign-out")
        assert thief.get(ME).json()["code"] == "sign-in-required"
        assert thief_later.get(ME).status_code == 401
        assert with_cookie(rig, second, kept).get(ME).json()["id"] == rig.ids["aino"]
    with rigs.again(rig) as restarted:
        assert thief_later.get(f"{restarted}{ME}").status_code == 401
        assert with_cookie(rig, restarted, kept).get(ME).status_code == 200


def test_a_token_that_was_signed_out_is_refused_everywhere_and_its_neighbour_is_not(rig: Rig) -> None:
    gone, kept = rig.token("aino"), rig.token("aino")
    with rigs.again(rig) as second:
        assert with_token(rig, second, gone).get(ME).status_code == 200
        answer = with_token(rig, rig.url, gone).post("/api/v1/sign-out")
        assert (answer.status_code, answer.json()) == (200, {"id": rig.ids["aino"]})
        assert "set-cookie" not in answer.headers
        for url in (rig.url, second):
            assert with_token(rig, url, gone).get(ME).json()["code"] == "sign-in-required"
            assert with_token(rig, url, kept).get(ME).json()["id"] == rig.ids["aino"]
    with rigs.again(rig) as restarted:
        assert with_token(rig, restarted, gone).get(ME).status_code == 401


def other_spellings(token: str) -> list[str]:
    """Return the token with its signature spelt otherwise: bits that base64 leaves unused, and the other root of an ECDSA signature."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2 version 2.0, section 2.4.2)
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters[letters.index(signature[-1]) ^ 1]
    return [f"{signed}.{signature[:-1]}{last}", f"{signed}.{base64.urlsafe_b64encode(mirrored).rstrip(b'=').decode()}"]


def test_a_token_does_not_come_back_by_another_spelling_of_its_signature(rig: Rig) -> None:
    token = rig.token("risto")
    taken = [one for one in other_spellings(token) if with_token(rig, rig.url, one).get(ME).status_code == 200]
    assert taken  # else this attack needs no defence
    with_token(rig, rig.url, token).post("/api/v1/sign-out")
    assert [with_token(rig, rig.url, one).get(ME).status_code for one in taken] == [401] * len(taken)


def test_signing_out_twice_or_without_being_signed_in_does_no_harm(rig: Rig) -> None:
    token = rig.token("aino")
    assert with_token(rig, rig.url, token).post("/api/v1/sign-out").status_code == 200
    assert with_token(rig, rig.url, token).post("/api/v1/sign-out").status_code == 401
    assert rig.browser().post("/sign-out").status_code == 303
    assert rig.client(base_url=rig.url).post("/api/v1/sign-out").status_code == 401


def test_a_page_of_another_site_signs_nobody_out_of_the_api(rig: Rig) -> None:
    browser = rig.signed_in("aino")
    assert browser.post("/api/v1/sign-out", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert browser.get(ME).status_code == 200
    assert browser.post("/api/v1/sign-out").status_code == 200
    assert browser.get(ME).status_code == 401


def test_what_is_over_anyway_is_forgotten(rig: Rig) -> None:
    for who in ("aino", "risto", "sami"):
        rig.signed_in(who).post("/sign-out")
    assert rows(rig) >= 3
    rig.clock.ahead = timedelta(hours=13)
    rig.signed_in("sanna").post("/sign-out")
    assert rows(rig) == 1
