"""Nobody in particular is refused like everybody else, is counted, and cannot flood the ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.flows import datasets
from broker.web.folding import FoldingStore
from sulku import ids
from sulku.errors import NotFoundError
from sulku.people import PUBLIC, Actor, Role
from tests.fakes.policy import DenyAll
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


def refused_thirty_times(rig: Rig, by: Actor) -> FoldingStore:
    """Have policy itself refuse ``by`` thirty times, through a flow."""
    store = FoldingStore(rig.store)
    ports = replace(rig.ports, store=store, policy=DenyAll())
    for _ in range(30):
        with pytest.raises(NotFoundError):
            datasets.view(ports, by, ids.new("dst"))
    return store


def test_what_policy_refuses_to_the_public_is_folded(rig: Rig) -> None:
    size = rig.store.ledger.head()[0]
    store = refused_thirty_times(rig, PUBLIC)
    assert rig.store.ledger.head()[0] == size
    store.flush(rig.clock.now(), now=True)
    assert rig.store.ledger.head()[0] == size + 1
    assert anonymous(rig)[0]["body"]["count"] == 30  # type: ignore[index,call-overload]


def test_what_policy_refuses_to_a_person_is_never_folded(rig: Rig) -> None:
    size = rig.store.ledger.head()[0]
    refused_thirty_times(rig, Actor(rig.ids["aino"], Role.RESEARCHER))
    assert rig.store.ledger.head()[0] == size + 30


def test_a_made_up_reference_is_not_there_and_leaves_no_entry(rig: Rig) -> None:
    http = rig.client(base_url=rig.url + "/api/v1")
    size = rig.store.ledger.head()[0]
    for _ in range(5):
        assert http.get(f"/datasets/{ids.new('dst')}").status_code == 404
    assert rig.store.ledger.head()[0] == size


def test_refusals_of_a_person_are_each_recorded(rig: Rig) -> None:
    api = rig.api("aino")
    api.get("/me")  # the first sign-in is bound, which is an entry too
    size = rig.store.ledger.head()[0]
    for _ in range(3):
        assert api.get("/people").status_code == 403
    assert rig.store.ledger.head()[0] == size + 3
