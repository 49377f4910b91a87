"""The first sign-in is bound to its person, on record; from then on the same address with another account opens nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from broker.flows import people
from broker.web.folding import FoldingStore
from broker.web.issuer import StandIn
from sulku.people import Person, Register, Role, service
from tests.web import rig as rigs
from tests.web.forger import Forger, forging
from tests.web.rig import Rig, sign_in

Bearer = Callable[..., httpx2.Client]


@pytest.fixture(scope="module")
def forger() -> Iterator[Forger]:
    with forging() as made:
        yield made


@pytest.fixture
def rig(tmp_path: Path, database_template: Path, forger: Forger) -> Iterator[Rig]:
    """A broker whose issuer says what a test has it say."""
    with rigs.running(tmp_path / "state", database_template, issuer=forger.address) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, database_template: Path) -> Iterator[Rig]:
    """A broker with the development issuer, where people have an account to choose."""
    with rigs.running(tmp_path / "state", database_template) as made:
        yield made


@pytest.fixture
def bearer(rig: Rig, forger: Forger) -> Bearer:
    """Makes programs with a fresh token of whoever a test names."""

    def made(sub: str = "1", **claims: Any) -> httpx2.Client:
        said = forger.claims(int(rig.clock.now().timestamp()), sub=sub, **claims)
        headers = {"Authorization": f"Bearer {forger.sign(said)}"}
        return rig.client(base_url=f"{rig.url}/api/v1", headers=headers)

    return made


def me(client: httpx2.Client) -> str:
    """Return whom the broker takes ``client`` for, or the code of its no."""
    answer = client.get("/me").json()
    return str(answer.get("id") or answer["code"])


def known(rig: Rig, who: str) -> Person:
    found: Person = rig.store.peek([rig.ids[who]])[rig.ids[who]]
    return found


def refusals(rig: Rig) -> list[dict[str, Any]]:
    """Return the refusals of sign-ins, once what was counted is written."""
    store = rig.identity.ports.store
    assert isinstance(store, FoldingStore)
    store.flush(rig.clock.now(), now=True)
    return [one for one in rig.ledger("refusal.recorded") if one["body"]["action"] == "person.bind"]


def test_the_first_sign_in_is_bound_once_and_on_record(rig: Rig, bearer: Bearer, forger: Forger) -> None:
    assert known(rig, "aino").subject == ""
    assert me(bearer()) == rig.ids["aino"]
    size = rig.store.ledger.head()[0]
    assert (me(bearer()), me(bearer())) == (rig.ids["aino"], rig.ids["aino"])
    assert rig.store.ledger.head()[0] == size
    (entry,) = rig.ledger("person.sign-in-bound")
    assert (entry["id"], entry["by"]["id"], entry["clearance"]["kind"]) == (rig.ids["aino"], "service:sign-in", "clearance")
    assert known(rig, "aino").subject == f"{forger.address}|1"
    assert forger.address.encode() not in b"".join(rig.store.ledger.entries())


def test_the_same_address_with_another_account_is_refused_and_on_record(rig: Rig, bearer: Bearer, forger: Forger) -> None:
    first = bearer()
    assert me(first) == rig.ids["aino"]
    for _ in range(3):
        answer = bearer("2", email="AINO@example.org").get("/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "bound-elsewhere")
        assert "ask an operator" in answer.json()["remedy"]
    (entry,) = refusals(rig)
    assert (entry["id"], entry["body"]["codes"], entry["body"]["count"]) == (rig.ids["aino"], ["bound-elsewhere"], 3)
    assert forger.address.encode() not in b"".join(rig.store.ledger.entries())
    assert known(rig, "aino").subject == f"{forger.address}|1"
    assert me(first) == rig.ids["aino"]


def test_refusals_about_two_people_are_two_entries(rig: Rig, bearer: Bearer) -> None:
    for who, sub in (("aino", "1"), ("risto", "2")):
        me(bearer(sub, email=f"{who}@example.org"))
        assert me(bearer("3", email=f"{who}@example.org")) == "bound-elsewhere"
    assert {one["id"] for one in refusals(rig)} == {rig.ids["aino"], rig.ids["risto"]}


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_is_not_verified_binds_nothing(rig: Rig, bearer: Bearer, verified: object) -> None:
    size = rig.store.ledger.head()[0]
    assert me(bearer(email_verified=verified)) == "sign-in-required"
    assert "does not vouch for an e-mail address" in bearer(email_verified=verified).get("/me").json()["detail"]
    assert (known(rig, "aino").subject, rig.store.ledger.head()[0]) == ("", size)
    assert me(bearer(email_verified=True)) == rig.ids["aino"]
    assert me(bearer(email_verified=verified)) == rig.ids["aino"]  # it is theirs by now, whatever their address is


def test_a_changed_address_still_signs_in_even_if_it_is_somebody_elses_now(rig: Rig, bearer: Bearer) -> None:
    me(bearer())
    assert me(bearer(email="aino.aalto@new.example")) == rig.ids["aino"]
    assert me(bearer(email="risto@example.org")) == rig.ids["aino"]
    assert known(rig, "risto").subject == ""
    assert me(bearer("2", email="risto@example.org")) == rig.ids["risto"]


def test_a_stranger_binds_nobody(rig: Rig, bearer: Bearer) -> None:
    size = rig.store.ledger.head()[0]
    assert me(bearer(email="outi@elsewhere.example")) == "sign-in-required"
    assert rig.store.ledger.head()[0] == size


def test_first_requests_that_come_at_once_bind_once(rig: Rig, bearer: Bearer) -> None:
    clients, found = [bearer() for _ in range(6)], []
    threads = [threading.Thread(target=lambda one=one: found.append(me(one))) for one in clients]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [rig.ids["aino"]] * 6
    assert len(rig.ledger("person.sign-in-bound")) == 1


def test_an_operator_releases_a_sign_in_and_the_next_one_is_bound(rig: Rig, bearer: Bearer) -> None:
    old, otto = bearer(), bearer("9", email="otto@example.org")
    assert me(old) == rig.ids["aino"]
    asked = {"reason": "the university gave her a new account"}
    assert otto.post(f"/people/{rig.ids['aino']}/unbind", json=asked).json()["record"]["subject"] == ""
    assert me(old) == "sign-in-required"  # a token from before binds nothing any more
    rig.clock.ahead += timedelta(seconds=2)
    assert me(bearer("2")) == rig.ids["aino"]
    rig.clock.ahead += timedelta(seconds=2)
    assert (me(old), me(bearer("1"))) == ("sign-in-required", "bound-elsewhere")
    kinds = [one["type"] for one in rig.ledger() if one["id"] == rig.ids["aino"] and "sign-in" in one["type"]]
    assert kinds == ["person.sign-in-bound", "person.sign-in-unbound", "person.sign-in-bound"]


@pytest.mark.parametrize(("who", "reason"), [("aino", "role-not-allowed"), ("sami", "role-not-allowed"), ("auli", "role-not-allowed"), ("otto", "own-sign-in")])
def test_nobody_else_releases_a_sign_in_and_operators_not_their_own(rig: Rig, bearer: Bearer, who: str, reason: str) -> None:
    by = bearer("9", email=f"{who}@example.org")
    me(by)
    answer = by.post(f"/people/{rig.ids[who]}/unbind", json={"reason": "to let somebody else in"})
    assert (answer.status_code, answer.json()["reasons"]) == (403, [reason])
    assert known(rig, who).subject
    assert me(by) == rig.ids[who]


def test_what_is_not_bound_is_not_released(rig: Rig, bearer: Bearer) -> None:
    otto = bearer("9", email="otto@example.org")
    answer = otto.post(f"/people/{rig.ids['aino']}/unbind", json={"reason": "to be on the safe side"})
    assert (answer.status_code, answer.json()["reasons"]) == (409, ["not-bound"])


def test_a_release_ends_the_sessions_of_browsers_at_once_and_for_good(site: Rig) -> None:
    browser, other = site.signed_in("aino"), site.signed_in("risto")
    assert browser.get("/api/v1/me").status_code == 200
    people.unbind(site.ports, site.actor("otto"), site.ids["aino"], "the university gave her a new account")
    assert browser.get("/api/v1/me").json()["code"] == "sign-in-required"
    again = site.signed_in("aino")  # at once, by the same account: the operator was wrong
    assert again.get("/api/v1/me").json()["id"] == site.ids["aino"]
    assert browser.get("/api/v1/me").status_code == 401
    assert other.get("/api/v1/me").status_code == 200


def test_a_page_says_what_is_the_matter_with_another_account(site: Rig) -> None:
    site.signed_in("aino")
    site.stand_ins.append(StandIn("aino-2", "Aino Aalto", "aino@example.org", "uni-north"))
    answer = sign_in(site.browser(), "aino-2")
    assert answer.status_code == 401
    assert "this person signs in with another account" in answer.text
    assert "ask an operator to release the old sign-in" in answer.text
    assert not any(one.startswith("sulku=") for one in answer.headers.get_list("set-cookie"))
    assert len(refusals(site)) == 1


def test_who_left_and_came_back_signs_in_with_their_old_account(rig: Rig, bearer: Bearer) -> None:
    assert me(bearer()) == rig.ids["aino"]
    people.leave(rig.ports, rig.actor("otto"), rig.ids["aino"], "left the organisation")
    assert me(bearer()) == "sign-in-required"
    receipt = people.register(rig.ports, service("setup"), Register("Aino Aalto", "Aino@example.org", "uni-south", (Role.RESEARCHER,)))
    anew = next(one for one in receipt.facts if one.startswith("usr_"))
    assert anew != rig.ids["aino"]
    assert me(bearer()) == anew


def test_a_request_writes_nothing_and_reads_no_directory(site: Rig) -> None:
    browser, program = site.signed_in("aino"), site.api("aino")
    program.get("/me")
    sent: list[str] = []
    event.listen(site.store.database.engine, "before_cursor_execute", lambda *said: sent.append(said[2]))
    for client, path in ((browser, "/api/v1/sign-in"), (program, "/sign-in")):  # a page that needs nothing but knowing who asks
        sent.clear()
        assert client.get(path).status_code == 200
        assert sum("sessions_ended" in one for one in sent) == 1
        assert all(one.startswith(("SELECT", "BEGIN")) for one in sent), sent
        assert all(" WHERE " in one.replace("\n", " ") for one in sent if "FROM people" in one), sent
        assert len([one for one in sent if one.startswith("SELECT")]) == 3, sent  # the person, the session, the roles
