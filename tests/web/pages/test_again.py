"""What a steward sees of a second round, what an auditor sees beside a record, and how an operator erases: page by page, scripts off."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from broker.flows import erasure, people
from sulku.errors import DeniedError
from sulku.people import Role
from tests.web.pages.test_story import PURPOSE, SAFE, SMALL, apply, approve, furnish, identifier, person, picture, submit
from tests.web.rig import Rig

GROUND = "GDPR Art. 17(1)(a), request 2026/41"


@pytest.fixture(scope="module")
def tunnel(site: Rig) -> str:
    permit = approve(site, identifier(apply(site, title="A study of rounds"), "app_"))
    page = person(site, "aino").get(f"/permits/{permit}/open").press("Open the tunnel", {"minutes": "60"})
    made = identifier(page, "tun_")
    furnish(site, made)
    return made


def operator(site: Rig) -> object:
    known = site.ports.store.peek([site.ids["otto"]])[site.ids["otto"]]
    return people.actor(known, role=Role.OPERATOR, mfa=True, signed_in=site.clock.now())


# --- rounds -----------------------------------------------------------------------------------------------------------


def test_an_application_that_is_sent_again_shows_each_answer_old_beside_new(site: Rig) -> None:
    application = identifier(apply(site, title="A returned question"), "app_")
    steward = person(site, "sami").get(f"/applications/{application}")
    assert "since round" not in steward.text
    steward.press("Return to the applicant", {"points": "Say which age bands."})
    writing = person(site, "sanna").get(f"/applications/{application}").text
    assert "Nothing changed since round 1, not sent yet" in writing
    author = person(site, "aino").get(f"/applications/{application}")
    author.follow("Project").press("Save and continue", {"purpose": PURPOSE.replace("over 50", "over 70")})
    author.get(f"/applications/{application}").follow("Outputs").press("Save and continue", {"outputs": "Counts by ten-year band."})
    author.get(f"/applications/{application}/check").press("Send application to the data stewards")
    page = person(site, "sanna").get(f"/applications/{application}")
    assert "<del>50,</del>" in page.html
    assert "<ins>70,</ins>" in page.html
    assert "Say which age bands." in page.text
    beside = page.text.split("Your decision")[1].split("All else is as it was.")[0]
    assert [name in beside for name in ("round 1", "purpose and benefit", "expected results", "title")] == [True, True, True, False]
    assert 'href="#changed-outputs"' in page.html
    assert 'id="changed-outputs"' in page.html
    assert 'id="changed-title"' not in page.html
    answer = site.api("sami").get(f"/applications/{application}/changes").json()
    assert (answer["since"], answer["points"], [one["field"] for one in answer["answers"]]) == (
        1,
        ["Say which age bands."],
        ["purpose", "outputs"],
    )
    assert answer["answers"][1] == {"field": "outputs", "before": "Counts by sex and age band.", "now": "Counts by ten-year band."}
    assert site.api("risto").get(f"/applications/{application}/changes").status_code == 404


def test_an_application_that_is_sent_again_as_it_was_says_so(site: Rig) -> None:
    application = identifier(apply(site, title="An unchanged question"), "app_")
    person(site, "sami").get(f"/applications/{application}").press("Return to the applicant", {"points": "Say more."})
    person(site, "aino").get(f"/applications/{application}/check").press("Send application to the data stewards")
    assert "No answer has changed since round 1." in person(site, "sanna").get(f"/applications/{application}").text


def test_a_release_that_is_sent_again_shows_what_became_of_each_file(site: Rig, tunnel: str) -> None:
    figure = picture()
    release = submit(site, tunnel, {"table1.csv": SMALL, "figure.png": figure, "old.csv": SAFE})
    assert "Since round" not in person(site, "sanna").get(f"/releases/{release}").text
    table, image, old = (item.output for item in site.ports.store.peek([release])[release].items)
    marks = {f"verdict-{table}": "change", f"reason-{table}": "small-count", f"comment-{table}": "Merge male."}
    for who in ("sanna", "sami"):
        page = (
            person(site, who)
            .get(f"/releases/{release}")
            .press("Give my verdict", {**marks, f"verdict-{image}": "approve", f"verdict-{old}": "approve"})
        )
    page.follow("Return with points").press("Return to the researcher")
    submit(site, tunnel, {"table1.csv": SAFE + b"other,12\n", "figure.png": figure, "new.csv": SAFE.replace(b"114", b"115")}, release)
    page = person(site, "sanna").get(f"/releases/{release}")
    told = page.text.split("Since round 1")[1].split("Released before")[0].split()
    assert told == ["Changed", "table1.csv", "Unchanged", "figure.png", "New", "new.csv", "Gone", "old.csv"]
    assert "What round 1 asked for" in page.text
    assert "Merge male." in page.text
    assert "The same digest as in round 1" in page.text
    answer = site.api("sami").get(f"/releases/{release}/changes").json()
    assert {one["name"]: one["fate"] for one in answer["files"]} == {
        "table1.csv": "changed", "figure.png": "unchanged", "new.csv": "new", "old.csv": "gone",
    }  # fmt: skip
    assert (answer["since"], answer["reasons"]) == (1, ["small-count"])
    assert all((one["before"] == one["now"]) == (one["fate"] == "unchanged") for one in answer["files"])
    assert "verdict" not in str(answer), "who said what in the round before is not in it"
    assert site.api("risto").get(f"/releases/{release}/changes").status_code == 404


# --- beside a record --------------------------------------------------------------------------------------------------


def entry_of(site: Rig, record: str, kind: str) -> int:
    return next(int(one["index"]) for one in site.ledger(kind) if one["id"] == record)


def test_an_auditor_opens_the_texts_beside_a_record_and_that_is_recorded(site: Rig) -> None:
    application = identifier(apply(site, title="A question to look at"), "app_")
    index = entry_of(site, application, "application.submitted")
    page = person(site, "auli").get(f"/ledger/{index}")
    assert "Commitment checks" in page.text
    assert "A question to look at" not in page.text
    page.follow("Open the texts")
    assert "A question to look at" in page.text
    assert "Commitment checks" in page.text
    assert [one["body"]["action"] for one in site.ledger("record.seen")][:1] == ["ledger.open"]
    for who in ("sami", "otto", "aino"):
        assert person(site, who).get(f"/ledger/{index}?texts=open").status == 403, who
        assert site.api(who).get(f"/ledger/entries/{index}/texts").status_code == 403, who
    answer = site.api("auli").get(f"/ledger/entries/{index}/texts").json()
    assert [(one["field"], one["fits"]) for one in answer["texts"]] == [("form", True)]
    assert answer["erased"] is None


def test_a_record_without_private_texts_has_nothing_beside_it(site: Rig, tunnel: str) -> None:
    page = person(site, "auli").get(f"/ledger/{entry_of(site, tunnel, 'tunnel.opened')}")
    assert page.status == 200
    assert "Kept beside it" not in page.text


def test_a_record_that_is_not_there_is_not_found(site: Rig) -> None:
    assert person(site, "auli").get("/ledger/99999999?texts=open").status == 404
    assert site.api("auli").get("/ledger/entries/99999999/texts").status_code == 404


def test_an_operator_erases_who_has_left_and_the_auditor_sees_who_did_it_and_when(site: Rig) -> None:
    page = person(site, "otto").get("/people/new")
    page.press("Register", {"name": "Kalle Kataja", "email": "kalle@example.org", "organisation": "uni-north", "role": "researcher"})
    kalle = identifier(page, "usr_")
    index = entry_of(site, kalle, "person.registered")
    assert "Erase who they were" not in page.text
    page.follow("End this account").press("End the account", {"reason": "Left the university."})
    page.follow("Erase who they were")
    assert page.press("Erase", {"reason": "please"}).status == 422
    page.press("Erase", {"reason": GROUND})
    assert page.status == 200
    assert "Kalle" not in page.text
    assert "Erased person" in page.text
    assert "Erase who they were" not in page.text
    assert "Kalle" not in page.get("/people").text
    auditor = person(site, "auli").get(f"/ledger/{index}")
    assert "Erased, the tree still holds." in auditor.text
    assert "Otto Oja, acting as operator" in auditor.text
    assert GROUND in auditor.text
    assert "cannot be asked again" in auditor.text
    assert "Open the texts" not in auditor.text
    assert "Proof that it is in the ledger" in auditor.text
    assert auditor.get("/audit").press("Verify now").text.count("The ledger is whole") == 1


def test_a_text_that_is_gone_without_an_erasure_is_not_called_erased(site: Rig) -> None:
    page = person(site, "otto").get("/people/new")
    page.press("Register", {"name": "Liisa Laine", "email": "liisa@example.org", "organisation": "uni-north", "role": "researcher"})
    liisa = identifier(page, "usr_")
    index = entry_of(site, liisa, "person.registered")
    with site.store.database.write() as connection:
        connection.execute(text("DELETE FROM ledger_private WHERE seq = :n AND field = 'email'"), {"n": index})
    shown = person(site, "auli").get(f"/ledger/{index}").text
    assert "Gone, and no erasure says so" in shown
    assert "the tree still holds" not in shown
    assert "no erasure accounts for" in person(site, "auli").get("/audit").press("Verify now").text
    people.leave(site.ports, operator(site), liisa, "a record of a test")  # type: ignore[arg-type]
    erasure.erase(site.ports, operator(site), liisa, GROUND)  # type: ignore[arg-type]  # so that the other tests' ledger is whole again


def test_only_operators_erase(site: Rig) -> None:
    aino = site.ids["aino"]
    for who in ("aino", "sami", "auli"):
        assert person(site, who).get(f"/people/{aino}/erase").status == 404, who
        answer = site.api(who).post("/ledger/erasures", json={"record": aino, "ground": GROUND})
        assert (answer.status_code, answer.json()["reasons"]) == (403, ["role-not-allowed"]), who
    with pytest.raises(DeniedError):
        erasure.erase(site.ports, operator(site), site.ids["otto"], GROUND)  # type: ignore[arg-type]
    refused = site.api("otto").post("/ledger/erasures", json={"record": aino, "ground": GROUND})
    assert (refused.status_code, refused.json()["code"]) == (409, "rule")
    assert site.api("otto").post("/ledger/erasures", json={"record": "led_" + "0" * 16, "ground": GROUND}).status_code == 422
