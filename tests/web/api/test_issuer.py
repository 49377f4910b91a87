"""The development issuer: speaks the protocol as it must, says what it is on every page, and never runs in production."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from broker.adapters.oidc import challenge
from broker.settings import Settings
from broker.web.issuer import create_issuer
from sulku.crypto import seal
from sulku.errors import ConfigurationError
from tests.soon import eventually
from tests.web.rig import HandClock, Rig, query_of

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def test_it_does_not_run_in_production() -> None:
    https = {"url": "https://sulku.example", "preview_url": "https://preview.example", "issuer": "https://login.example"}
    with pytest.raises(ConfigurationError):
        create_issuer(Settings(mode="production", **https), list, HandClock())  # type: ignore[arg-type]
    assert create_issuer(Settings(**https), list, HandClock())  # type: ignore[arg-type]


def http(rig: Rig) -> httpx2.Client:
    return rig.client(base_url=rig.issuer)


def asked(rig: Rig, **more: str) -> dict[str, str]:
    request = {
        "response_type": "code",
        "client_id": "sulku-web",
        "redirect_uri": f"{rig.url}/signed-in",
        "state": "s",
        "nonce": "n",
        "code_challenge": challenge("v" * 43),
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in {**request, **more}.items() if value}


def test_every_page_says_that_it_proves_nothing(rig: Rig) -> None:
    device = http(rig).post("/device_authorization", data={"client_id": "sulku-cli"}).json()
    pages = [
        http(rig).get("/authorize", params=asked(rig)),
        http(rig).get("/authorize"),
        http(rig).get("/device"),
        http(rig).get("/device", params={"user_code": device["user_code"]}),
        http(rig).get("/device", params={"user_code": "WRONG"}),
        http(rig).post("/device", data={"user_code": device["user_code"], "sub": "aino"}),
        http(rig).get("/"),
        http(rig).get("/end"),
    ]
    for page in pages:
        assert "development stand-in" in page.text
        assert "proves nothing" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_page_has_a_button_for_each_person(rig: Rig) -> None:
    page = http(rig).get("/authorize", params=asked(rig)).text
    assert page.count('name="sub" value="') == 8  # seven people, and nobody
    assert "Aino Aalto" in page


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "another"},
        {"redirect_uri": "http://evil.example/"},
        {"redirect_uri": "http://127.0.0.1:80/callback"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
        {"code_challenge": "short"},
        {"client_id": "sulku-cli", "redirect_uri": "http://localhost:80/callback"},
        {"client_id": "sulku-cli", "redirect_uri": "http://127.0.0.1:80@evil.example/callback"},
    ],
)
def test_what_is_not_code_with_pkce_to_a_known_address_goes_nowhere(rig: Rig, wrong: dict[str, str]) -> None:
    for answer in (
        http(rig).get("/authorize", params=asked(rig, **wrong)),
        http(rig).post("/authorize", data={**asked(rig, **wrong), "sub": "aino"}),
    ):
        assert "location" not in answer.headers or wrong in ({"response_type": "token"}, {"code_challenge_method": "plain"})
    assert http(rig).get("/authorize", params=asked(rig, **wrong)).status_code == 400


def code(rig: Rig) -> str:
    return query_of(http(rig).post("/authorize", data={**asked(rig), "sub": "aino"}).headers["location"])["code"]


def redeem(rig: Rig, **more: str) -> tuple[int, Any]:
    form = {"grant_type": "authorization_code", "code": code(rig), "client_id": "sulku-web", "code_verifier": "v" * 43}
    answer = http(rig).post("/token", data={**form, "redirect_uri": f"{rig.url}/signed-in", **more})
    return answer.status_code, answer.json()


def test_a_code_with_its_verifier_gives_tokens(rig: Rig) -> None:
    status, tokens = redeem(rig)
    assert status == 200
    assert rig.identity.relying.bearer(tokens["access_token"]).email == "aino@example.org"
    info = http(rig).get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"}).json()
    assert info["email"] == "aino@example.org"
    assert http(rig).get("/userinfo", headers={"Authorization": f"Bearer {tokens['id_token']}"}).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": "x"},
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"client_id": "sulku-cli"},
        {"redirect_uri": "http://127.0.0.1:80/callback"},
        {"grant_type": "password"},
        {"grant_type": "refresh_token"},
    ],
)
def test_a_code_without_what_belongs_to_it_gives_nothing(rig: Rig, wrong: dict[str, str]) -> None:
    status, answer = redeem(rig, **wrong)
    assert (status, "access_token" in answer) == (400, False)


def test_a_code_lives_a_minute_and_once(rig: Rig) -> None:
    given = code(rig)
    assert redeem(rig, code=given)[0] == 200
    assert redeem(rig, code=given)[1] == {"error": "invalid_grant"}
    old = code(rig)
    rig.clock.ahead += timedelta(seconds=61)
    assert redeem(rig, code=old)[1] == {"error": "invalid_grant"}


def device(rig: Rig) -> tuple[dict[str, Any], dict[str, str]]:
    begun = http(rig).post("/device_authorization", data={"client_id": "sulku-cli"}).json()
    return begun, {"grant_type": DEVICE, "device_code": begun["device_code"], "client_id": "sulku-cli"}


def test_a_device_waits_until_somebody_chooses(rig: Rig) -> None:
    begun, form = device(rig)
    client = http(rig)
    assert client.post("/token", data=form).json() == {"error": "authorization_pending"}
    eventually(lambda: client.post("/token", data=form).json() == {"error": "slow_down"})
    http(rig).post("/device", data={"user_code": begun["user_code"].lower(), "sub": "aino"})
    assert "access_token" in http(rig).post("/token", data=form).json()
    assert http(rig).post("/token", data=form).json() == {"error": "invalid_grant"}


def test_a_device_is_refused_and_expires(rig: Rig) -> None:
    begun, form = device(rig)
    http(rig).post("/device", data={"user_code": begun["user_code"], "sub": ""})
    assert http(rig).post("/token", data=form).json() == {"error": "access_denied"}
    _, form = device(rig)
    rig.clock.ahead += timedelta(minutes=11)
    assert http(rig).post("/token", data=form).json() == {"error": "expired_token"}


def test_only_the_command_line_is_a_device(rig: Rig) -> None:
    answer = http(rig).post("/device_authorization", data={"client_id": "sulku-web"})
    assert answer.json() == {"error": "unauthorized_client"}


def test_the_end_of_a_session_goes_to_us_or_nowhere(rig: Rig) -> None:
    for back, goes in ((rig.url, True), (rig.url + "/x", True), (rig.url + ".evil.example", False), ("http://evil.example", False)):
        answer = http(rig).get("/end", params={"post_logout_redirect_uri": back})
        assert (answer.headers.get("location") == back) is goes


def test_what_it_publishes_has_no_private_part(rig: Rig) -> None:
    published = http(rig).get("/keys").json()["keys"]
    assert all("d" not in one for one in published)
    assert http(rig).get("/.well-known/openid-configuration").json()["code_challenge_methods_supported"] == ["S256"]
    assert seal.token() != seal.token()
