"""The API does what the flows do, for the people whom policy lets, and says what happened in the core's own words."""

from __future__ import annotations

import io
import zipfile
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from sulku.errors import StaleError
from tests.web.rig import Rig

FORM: dict[str, Any] = {
    "title": "Light chains and survival",
    "purpose": "Whether light chains predict death, for everybody who is ill.",
    "basis": "Act 552/2019",
    "outputs": "Tables of counts and rates.",
}


def form(rig: Rig, **more: Any) -> dict[str, Any]:
    today = rig.clock.now().date()
    wanted = [{"dataset": rig.dataset, "version": "2026-1", "variables": ["age"]}]
    return {**FORM, "datasets": wanted, "starts": str(today), "ends": str(today + timedelta(days=30)), **more}


def drafted(rig: Rig, who: str = "aino", **more: Any) -> str:
    answer = rig.api(who).post("/applications", json=form(rig, **more))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["record"]["id"])


def approved(rig: Rig) -> dict[str, Any]:
    application = drafted(rig)
    assert rig.api("aino").post(f"/applications/{application}/submit").status_code == 200
    for steward in ("sanna", "sami"):
        answer = rig.api(steward).post(f"/applications/{application}/judge", json={"verdict": "approve"})
        assert answer.status_code == 200, answer.text
    return answer.json()["record"]  # type: ignore[no-any-return]


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_two_stewards_approve_and_the_permit_is_a_signed_paper(rig: Rig) -> None:
    record = approved(rig)
    assert record["state"] == "approved"
    permit = rig.api("aino").get(f"/permits/{record['permit']}").json()
    assert permit["document"]["title"] == FORM["title"]
    paper = rig.api("aino").get(f"/permits/{record['permit']}/paper")
    assert paper.text == permit["envelope"]
    public = rig.client(base_url=rig.url).get("/api/v1/register").json()
    row = next(one for one in public["items"] if one["permit"] == record["permit"])
    assert row["purpose"] == FORM["purpose"]
    assert rig.ids["aino"] not in str(row)


def test_a_permit_is_not_there_for_who_is_not_on_it(rig: Rig) -> None:
    record = approved(rig)
    assert rig.api("risto").get(f"/permits/{record['permit']}").status_code == 404
    assert rig.api("risto").get("/permits").json() == {"items": [], "count": 0}
    assert rig.api("otto").get("/permits").status_code == 403


def test_nobody_judges_what_they_may_not(rig: Rig) -> None:
    application = drafted(rig)
    rig.api("aino").post(f"/applications/{application}/submit")
    for who in ("aino", "auli", "otto"):
        answer = rig.api(who).post(f"/applications/{application}/judge", json={"verdict": "approve"})
        assert code(answer) == (403, "denied"), who
        assert answer.json()["reasons"], who
        assert answer.json()["decision"].startswith("dec_"), who
    refused = rig.ledger("refusal")
    assert {one["by"]["id"] for one in refused} >= {rig.ids[who] for who in ("aino", "auli", "otto")}


def test_the_same_key_with_the_same_wish_is_done_once(rig: Rig) -> None:
    api = rig.api("aino")
    key = {"Idempotency-Key": "k" * 20}
    first = api.post("/applications", json=form(rig), headers=key).json()
    again = api.post("/applications", json=form(rig), headers=key).json()
    assert again["repeated"]
    assert not first["repeated"]
    assert again["record"]["id"] == first["record"]["id"]
    assert code(api.post("/applications", json=form(rig, title="Another title"), headers=key)) == (409, "repeated-key")


def test_a_stale_page_changes_nothing(rig: Rig) -> None:
    api, application = rig.api("aino"), drafted(rig)
    seen = api.get(f"/applications/{application}").headers["etag"]
    assert api.put(f"/applications/{application}", json=form(rig, title="First title"), headers={"If-Match": seen}).status_code == 200
    second = api.put(f"/applications/{application}", json=form(rig, title="Second title"), headers={"If-Match": seen})
    assert code(second) == (StaleError.status, StaleError.code)
    assert api.get(f"/applications/{application}").json()["form"]["title"] == "First title"


def test_what_is_wrong_with_a_form_is_said_field_by_field(rig: Rig) -> None:
    application = drafted(rig, purpose="")
    answer = rig.api("aino").post(f"/applications/{application}/submit")
    assert code(answer) == (422, "invalid-input")
    assert [one["field"] for one in answer.json()["fields"]] == ["purpose"]
    for wrong in ({"title": 3}, {"unknown": 1}, {"title": "x" * 201}, {"people": ["aino"]}, {"datasets": [{}]}):
        answer = rig.api("aino").post("/applications", json=wrong)
        assert code(answer) == (422, "invalid-input"), wrong
        assert answer.json()["fields"], wrong


ENTRY: dict[str, Any] = {
    "name": "falls", "title": "Falls", "description": "Who fell.", "controller": "The authority", "sensitivity": "special",
    "terms": "Research only.",
    "edition": {
        "version": "1", "digest": "0" * 64, "persons": 2, "person_key": "person",
        "files": [{"name": "a.csv", "size": 10, "rows": 2, "sha256": "1" * 64}],
        "variables": [{"name": "person", "kind": "integer"}, {"name": "age", "kind": "integer"}],
    },
}  # fmt: skip


def with_variable(**change: Any) -> dict[str, Any]:
    edition = ENTRY["edition"]
    return {**ENTRY, "edition": {**edition, "variables": [*edition["variables"], {"name": "sex", "kind": "text", **change}]}}


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({**ENTRY, "sensitivity": "specal"}, "sensitivity", "unknown-value"),
        ({**ENTRY, "title": ""}, "title", "missing"),
        ({**ENTRY, "title": "Fa\u202ells"}, "title", "unsafe-text"),
        ({**ENTRY, "terms": 7}, "terms", "wrong-type"),
        ({**ENTRY, "colour": "red"}, "colour", "unknown-field"),
        ({name: value for name, value in ENTRY.items() if name != "name"}, "name", "missing"),
        (with_variable(kind="float"), "edition.variables[2].kind", "unknown-value"),
        (with_variable(name="age"), "edition.variables[2].name", "duplicate"),
        (with_variable(name="x" * 201), "edition.variables[2].name", "too-long"),
        (with_variable(label="a\x00"), "edition.variables[2].label", "unsafe-text"),
    ],
)
def test_a_catalogue_entry_that_could_not_be_read_back_is_refused_with_a_code_for_its_field(
    rig: Rig, wrong: dict[str, Any], field: str, said: str
) -> None:
    steward = rig.api("sanna")
    assert steward.get("/me").status_code == 200  # her first request may leave something in the ledger
    size = rig.ports.archive.head()[0]
    answer = steward.post("/datasets", json=wrong, headers={"Sulku-Role": "steward"})
    assert code(answer) == (422, "invalid-input")
    assert [(one["field"], one["problem"].partition(":")[0]) for one in answer.json()["fields"]] == [(field, said)]
    assert rig.ports.archive.head()[0] == size
    assert [one["name"] for one in steward.get("/datasets").json()["items"]] == ["flchain"]


def test_may_agrees_with_what_happens(rig: Rig) -> None:
    application = drafted(rig)
    rig.api("aino").post(f"/applications/{application}/submit")
    may = rig.api("sami").get(f"/applications/{application}/may").json()
    assert may["application.judge"] == []
    assert may["application.retract"] == [] or may["application.retract"]
    assert rig.api("sami").post(f"/applications/{application}/judge", json={"verdict": "approve"}).status_code == 200
    assert rig.api("risto").get(f"/applications/{application}/may").status_code == 404


def test_the_catalogue_is_public_to_read_and_for_stewards_to_keep(rig: Rig) -> None:
    public = rig.client(base_url=rig.url + "/api/v1")
    assert [one["name"] for one in public.get("/datasets").json()["items"]] == ["flchain"]
    assert public.get(f"/datasets/{rig.dataset}").json()["terms"] == "Research only."
    assert public.post(f"/datasets/{rig.dataset}/withdraw", json={"reason": "because"}).status_code == 401
    assert code(rig.api("aino").post(f"/datasets/{rig.dataset}/withdraw", json={"reason": "because"})) == (403, "denied")


def test_people_see_themselves_and_operators_the_directory(rig: Rig) -> None:
    me = rig.api("sanna").get("/me").json()
    assert (me["name"], me["role"], me["roles"], me["mfa"]) == ("Sanna Salo", "steward", ["steward", "researcher"], True)
    assert rig.api("sanna", "researcher").get("/me").json()["role"] == "researcher"
    assert rig.api("aino").get("/people").status_code == 403
    assert rig.api("otto").get("/people").json()["count"] >= 6


def test_an_operator_enters_a_person_who_can_then_sign_in(rig: Rig) -> None:
    body = {"name": "Outi Outo", "email": "outi@elsewhere.example", "organisation": "elsewhere", "roles": ["researcher"]}
    answer = rig.api("otto").post("/people", json=body)
    assert answer.status_code == 201
    assert rig.api("outi").get("/me").json()["id"] == answer.json()["record"]["id"]
    assert code(rig.api("otto").post("/people", json=body)) == (409, "rule")


def test_a_tunnel_is_asked_for_under_a_live_permit_only(rig: Rig) -> None:
    permit = approved(rig)["permit"]
    opened = rig.api("aino").post("/tunnels", json={"permit": permit, "minutes": 30})
    assert opened.status_code == 201, opened.text
    tunnel = opened.json()["record"]
    assert tunnel["state"] == "requested"
    assert rig.api("risto").get(f"/tunnels/{tunnel['id']}").status_code == 404
    assert rig.api("risto").post(f"/tunnels/{tunnel['id']}/close").status_code == 404
    assert rig.api("aino").post(f"/tunnels/{tunnel['id']}/close").json()["state"] == "closing"
    assert rig.api("sami").post(f"/permits/{permit}/suspend", json={"reason": "a complaint came in"}).status_code == 200
    refused = rig.api("aino").post("/tunnels", json={"permit": permit, "minutes": 30})
    assert refused.status_code == 403


def test_a_steward_halts_and_says_why(rig: Rig) -> None:
    permit = approved(rig)["permit"]
    tunnel = rig.api("aino").post("/tunnels", json={"permit": permit, "minutes": 5}).json()["record"]["id"]
    halt = {"scope": "permit", "identifier": permit, "reason": "a leak is suspected"}
    assert rig.api("aino").post("/halts", json=halt).status_code == 403
    assert rig.api("sami").post("/halts", json={**halt, "reason": "x"}).status_code == 409
    assert rig.api("sami").post("/halts", json=halt).json() == {"tunnels": [tunnel]}


def test_auditors_search_export_and_verify_and_others_do_not(rig: Rig) -> None:
    approved(rig)
    auli = rig.api("auli")
    found = auli.get("/ledger/entries", params={"type": "permit.issued", "most": 1}).json()
    assert found["entries"][0]["type"] == "permit.issued"
    bundle = auli.get("/ledger/bundle")
    assert bundle.headers["content-type"] == "application/zip"
    assert zipfile.ZipFile(io.BytesIO(bundle.content)).testzip() is None
    assert all(one["done"] == one["total"] for one in auli.post("/ledger/verifications").json()["items"])
    assert auli.get(f"/ledger/access/{rig.dataset}").json() == {"items": [], "count": 0}
    for who in ("aino", "sami", "otto"):
        assert rig.api(who).get("/ledger/entries").status_code == 403, who
        assert rig.api(who).get("/ledger/bundle").status_code == 403, who


def test_the_ledgers_head_is_public(rig: Rig) -> None:
    head = rig.client(base_url=rig.url).get("/api/v1/ledger").json()
    assert head["size"] > 0
    assert len(head["root"]) == 64


def test_a_decision_replays_bit_for_bit(rig: Rig) -> None:
    approved(rig)
    entry = rig.ledger("permit.issued")[0]
    replay = rig.api("auli").post("/ledger/replays", json={"decision": entry["clearance"]["decision"]}).json()
    assert replay["same"] is True
    assert replay["again"] == replay["answered"]


def test_times_are_utc_to_the_millisecond(rig: Rig) -> None:
    signed_in = rig.api("aino").get("/me").json()["signed_in"]
    assert len(signed_in) == 24
    assert signed_in.endswith("Z")
