"""Nobody in particular is refused like everybody else, is counted, and cannot flood the ledger."""

from __future__ import annotations

from datetime import timedelta

from sulku import ids
from tests.web.rig import Rig


def anonymous(rig: Rig) -> list[dict[str, object]]:
    return [one for one in rig.ledger("refusal.recorded") if one["by"]["id"] == "public"]  # type: ignore[index,call-overload]


def test_a_hundred_refusals_of_nobody_are_one_entry_that_says_a_hundred(rig: Rig) -> None:
    http = rig.client(base_url=rig.url + "/api/v1")
    rig.clock.ahead += timedelta(minutes=10)
    http.get("/me")  # writes what earlier tests left
    rig.clock.ahead += timedelta(minutes=2)
    before, size = len(anonymous(rig)), rig.store.ledger.head()[0]
    for _ in range(100):
        assert http.get("/me").status_code == 401
    assert rig.store.ledger.head()[0] <= size + 1  # the one from before
    rig.clock.ahead += timedelta(minutes=2)
    assert http.get("/permits").status_code == 401
    found = anonymous(rig)
    assert len(found) == before + 2
    assert found[0]["body"]["count"] == 100  # type: ignore[index,call-overload]


def test_made_up_references_fold_too(rig: Rig) -> None:
    http = rig.client(base_url=rig.url + "/api/v1")
    size = rig.store.ledger.head()[0]
    for _ in range(30):
        assert http.get(f"/datasets/{ids.new('dst')}").status_code == 404
    assert rig.store.ledger.head()[0] <= size + 1


def test_refusals_of_a_person_are_each_recorded(rig: Rig) -> None:
    api = rig.api("aino")
    size = rig.store.ledger.head()[0]
    for _ in range(3):
        assert api.get("/people").status_code == 403
    assert rig.store.ledger.head()[0] == size + 3
