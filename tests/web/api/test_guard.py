"""What surrounds every handler: other sites' changes, bodies too large, headers, and what of an error leaves the process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from fastapi import APIRouter, Request

from sulku.errors import IntegrityError, SignInRequiredError, StoreUnavailableError
from tests.web import rig as rigs
from tests.web.rig import Rig

pages = APIRouter()
SECRET = "/srv/secret/place of alice@example.org"


@pages.post("/change")
def change() -> dict[str, bool]:
    return {"done": True}


@pages.get("/raise/{kind}")
def raises(kind: str) -> None:
    errors = {
        "bug": ValueError(SECRET),
        "fault": StoreUnavailableError(SECRET),
        "broken": IntegrityError("record 7 is not what was signed"),
        "private": SignInRequiredError("nobody is signed in"),
    }
    raise errors[kind]


@pages.get("/own-policy")
def own(request: Request) -> None:
    return None


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, database_template: Path) -> Iterator[Rig]:
    with rigs.running(tmp_path_factory.mktemp("broker") / "state", database_template, pages) as made:
        yield made


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "own"}, 403),
        ({"Origin": "own"}, 200),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Cookie": "sulku=x"}, 403),
        ({"Cookie": "sulku=x", "Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_a_change_is_asked_for_by_our_own_page_or_no_page(rig: Rig, headers: dict[str, str], status: int) -> None:
    sent = {name: rig.url if value == "own" else value for name, value in headers.items()}
    assert rig.client(base_url=rig.url).post("/change", headers=sent).status_code == status


def test_every_unsafe_method_is_guarded_and_no_safe_one(rig: Rig) -> None:
    http = rig.client(base_url=rig.url, headers={"Sec-Fetch-Site": "cross-site"})
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert http.request(method, "/change").status_code == 403
    assert http.get("/healthz").status_code == 200


def test_a_program_with_a_token_needs_no_page(rig: Rig) -> None:
    answer = rig.api("aino").post("/applications", json={"title": "A project"}, headers={"Cookie": "other=1"})
    assert answer.status_code == 201


def test_a_body_too_large_is_refused_whether_it_says_its_size_or_not(rig: Rig) -> None:
    http = rig.client(base_url=rig.url)
    large = b"x" * (1024 * 1024 + 1)
    assert http.post("/change", content=large).status_code == 413
    assert http.post("/change", content=iter([large[:600_000], large[600_000:]])).status_code == 413
    assert http.post("/change", content=large[:-1]).status_code == 200
    assert http.post("/change", content=iter([large[:-1]])).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/me", "/nothing", "/sign-in", "/raise/bug", "/api/v1/datasets"])
def test_every_answer_carries_the_headers(rig: Rig, path: str) -> None:
    headers = rig.browser().get(path).headers
    policy = dict(one.strip().split(" ", 1) for one in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "http://*.sulku.localhost:8081" in policy["form-action"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "strict-transport-security" not in headers


def test_a_bug_says_nothing_but_a_reference_that_the_log_knows(rig: Rig) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = rig.client(base_url=rig.url).get("/raise/bug")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "unexpected")
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET not in answer.text
    assert [one["reference"] for one in logged] == [problem["reference"]]
    assert SECRET not in json.dumps(logged)
    assert logged[0]["error"] == "UnexpectedError"
    assert logged[0]["cause"] == "ValueError"
    assert logged[0]["route"] == "/raise/{kind}"


def test_a_fault_keeps_its_place_to_itself_but_names_its_code(rig: Rig) -> None:
    for http in (rig.client(base_url=rig.url), rig.browser()):
        answer = http.get("/raise/fault")
        assert answer.status_code == 503
        assert SECRET not in answer.text
    assert rig.client(base_url=rig.url).get("/raise/fault").json()["code"] == "store-unavailable"


def test_broken_evidence_is_named(rig: Rig) -> None:
    assert "record 7" in rig.client(base_url=rig.url).get("/raise/broken").json()["detail"]


def test_people_get_pages_and_programs_get_documents(rig: Rig) -> None:
    assert rig.browser().get("/nothing").headers["content-type"].startswith("text/html")
    assert rig.client(base_url=rig.url).get("/nothing").headers["content-type"] == "application/problem+json"
    assert rig.browser().get("/api/v1/nothing").headers["content-type"] == "application/problem+json"


def test_a_page_that_needs_a_sign_in_sends_people_there_and_back(rig: Rig) -> None:
    answer = rig.browser().get("/raise/private?a=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fraise%2Fprivate%3Fa%3D1")
    assert rig.client(base_url=rig.url).get("/raise/private").status_code == 401


def test_a_wrong_method_names_the_right_ones(rig: Rig) -> None:
    answer = rig.client(base_url=rig.url).delete("/healthz")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert answer.json()["code"] == "wrong-method"
