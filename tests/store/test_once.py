"""What happens once: a request with an idempotency key, an entry with a ticket, an effect with a name."""

# ruff: noqa: PT012  # a change is a with block, and what refuses is inside it

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from broker.store.record import REPORTS_KEPT
from broker.store.store import SqlStore
from sulku import applications, ids, tunnels
from sulku.errors import NotFoundError, RepeatedKeyError, StaleError
from sulku.events import Happened
from sulku.ports import Effect
from tests.store import deeds
from tests.store.deeds import AINO, AT, cleared, do, everything

KEY = f"{AINO.id}:k-1"
EXPIRES = AT + timedelta(seconds=30)
GRANTED = tunnels.EntryGranted("digest", "nonce", EXPIRES, 1, AINO.id)


def test_a_repeated_request_gets_the_first_answer_and_changes_nothing(store: SqlStore) -> None:
    target = ids.new("tun")
    clearance = cleared(store, AINO, target)
    assert store.repeated(KEY, clearance.digest) is None
    with store.begin(clearance, at=AT, key=KEY) as unit:
        first = unit.record([Happened(target, deeds.requested())])
    again = store.repeated(KEY, clearance.digest)
    assert again is not None
    assert (again.facts, again.entries, again.repeated) == (first.facts, first.entries, True)


def test_a_key_is_for_one_request_of_one_person(store: SqlStore) -> None:
    do(store, AINO, ids.new("tun"), deeds.requested(), key=KEY)
    with pytest.raises(RepeatedKeyError):
        store.repeated(KEY, "another request")
    assert store.repeated("usr_x000000000000000:k-1", "another request") is None


def test_of_two_equal_requests_at_once_one_is_recorded(store: SqlStore) -> None:
    do(store, AINO, ids.new("tun"), deeds.requested(), key=KEY)
    before = everything(store)
    with pytest.raises(StaleError):
        do(store, AINO, ids.new("tun"), deeds.requested(), key=KEY)
    assert everything(store) == before


def test_a_failed_request_does_not_use_its_key_up(store: SqlStore) -> None:
    target = ids.new("tun")
    with pytest.raises(ZeroDivisionError), store.begin(cleared(store, AINO, target), at=AT, key=KEY) as unit:
        unit.record([Happened(target, deeds.requested())])
        raise ZeroDivisionError
    do(store, AINO, target, deeds.requested(), key=KEY)


def ticketed(store: SqlStore) -> str:
    return deeds.tunnel(store, tunnels.ClosureProved(1, 1, "0" * 64), tunnels.Opened(AT), GRANTED)


def spend(store: SqlStore, tunnel: str, *, digest: str = "digest", nonce: str = "nonce", at: object = AT) -> object:
    with store.begin(cleared(store, deeds.WORKER, tunnel), at=AT) as unit:
        spent = unit.spend_ticket(digest, nonce, at)  # type: ignore[arg-type]
        unit.record([Happened(tunnel, tunnels.Entered(digest, spent["epoch"]))])
        return spent


def test_a_ticket_opens_once(store: SqlStore) -> None:
    tunnel = ticketed(store)
    assert spend(store, tunnel) == {"noun": tunnel, "person": AINO.id, "epoch": 1}
    before = everything(store)
    with pytest.raises(NotFoundError):
        spend(store, tunnel)
    assert everything(store) == before


@pytest.mark.parametrize("wrong", [{"digest": "other"}, {"nonce": "other"}, {"nonce": ""}, {"at": EXPIRES}])
def test_a_ticket_of_another_browser_or_time_opens_nothing_and_is_not_used_up(store: SqlStore, wrong: dict[str, object]) -> None:
    tunnel = ticketed(store)
    with pytest.raises(NotFoundError):
        spend(store, tunnel, **wrong)  # type: ignore[arg-type]
    assert spend(store, tunnel, at=EXPIRES - timedelta(milliseconds=1))


def test_a_ticket_is_not_used_up_by_an_entry_that_could_not_be_recorded(store: SqlStore) -> None:
    tunnel = ticketed(store)
    with pytest.raises(ZeroDivisionError), store.begin(cleared(store, deeds.WORKER, tunnel), at=AT) as unit:
        unit.spend_ticket("digest", "nonce", AT)
        raise ZeroDivisionError
    assert spend(store, tunnel)


def note(store: SqlStore, tunnel: str, run: str, number: int, at: datetime = AT) -> int:
    with store.begin(cleared(store, deeds.WORKER, tunnel, at=at), at=at) as unit:
        unit.lock([tunnel])
        before = unit.note_reports(tunnel, run, number)
        unit.record([Happened(tunnel, tunnels.CodeExecuted("1 + 1", "k"))] if number > before else [])
        return before


def test_a_gateways_reports_are_noted_by_tunnel_and_run_up_to_the_highest_number(store: SqlStore) -> None:
    one, other = deeds.tunnel(store), deeds.tunnel(store)
    assert [note(store, one, "run", number) for number in (3, 3, 2, 7, 1)] == [0, 3, 3, 3, 7]
    assert (note(store, other, "run", 1), note(store, one, "another run", 1)) == (0, 0)
    assert sorted(row[:3] for row in everything(store)["reported"]) == sorted([(one, "run", 7), (other, "run", 1), (one, "another run", 1)])


def test_of_the_same_reports_at_once_one_is_fresh(store: SqlStore) -> None:
    tunnel = deeds.tunnel(store)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: note(store, tunnel, "run", 1), range(4))) == [0, 1, 1, 1]


def test_reports_that_could_not_be_recorded_are_not_noted(store: SqlStore) -> None:
    tunnel = deeds.tunnel(store)
    note(store, tunnel, "run", 3)
    before = everything(store)
    for run, number in (("run", 5), ("a new run", 1)):
        with pytest.raises(ZeroDivisionError), store.begin(cleared(store, deeds.WORKER, tunnel), at=AT) as unit:
            unit.lock([tunnel])
            unit.note_reports(tunnel, run, number)
            raise ZeroDivisionError
    assert everything(store) == before
    assert note(store, tunnel, "run", 5) == 3


def test_what_a_gateway_reported_a_month_ago_is_not_kept_for_ever(store: SqlStore) -> None:
    old, lately, new = deeds.tunnel(store), deeds.tunnel(store), deeds.tunnel(store)
    note(store, old, "run", 1)
    note(store, lately, "run", 1)
    note(store, lately, "run", 2, AT + timedelta(days=20))
    note(store, new, "run", 1, AT + REPORTS_KEPT + timedelta(seconds=1))
    assert {row[0] for row in everything(store)["reported"]} == {lately, new}


def test_an_effect_is_queued_once_by_its_name(store: SqlStore) -> None:
    def effects(*_: object) -> list[Effect]:
        return [Effect("notify:a", "notify", "app_a000000000000000", body={"to": "x"})]

    for _ in range(2):
        target = ids.new("app")
        with store.begin(cleared(store, AINO, target), at=AT) as unit:
            unit.record([Happened(target, applications.Drafted(AINO.id, "thl", deeds.form()))], effects)
    (claimed,) = store.outbox.claim(AT, most=10)
    assert (claimed.effect.name, claimed.effect.body) == ("notify:a", {"to": "x"})
