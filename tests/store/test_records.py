"""Records: what was recorded is what is found, by everything that a queue may look for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.store import rows
from broker.store.store import SqlStore
from sulku import applications, ids, people, permits, tunnels
from sulku.errors import InvalidInputError, StaleError
from sulku.events import Happened, Seen
from sulku.people import Role
from tests.store import deeds
from tests.store.deeds import AINO, AT, LATER, SAGA, do


def test_what_never_happened_is_at_version_zero(store: SqlStore) -> None:
    identifier = ids.new("tun")
    assert store.peek([identifier]) == {identifier: tunnels.Tunnel(identifier)}


def test_a_record_is_the_fold_of_its_events(store: SqlStore) -> None:
    identifier = deeds.tunnel(store, tunnels.ClosureProved(9, 9, "0" * 64), tunnels.Opened(AT))
    found = store.peek([identifier])[identifier]
    assert (found.state, found.version, found.person, found.deadline) == (tunnels.State.OPEN, 3, AINO.id, AT + timedelta(hours=1))


def test_the_receipt_holds_the_records_as_they_stand_and_the_places_of_their_entries(store: SqlStore) -> None:
    identifier = ids.new("app")
    receipt = do(store, AINO, identifier, applications.Drafted(AINO.id, "thl", deeds.form()), applications.Submitted(deeds.form(), 1, AT))
    assert receipt.facts[identifier] == store.peek([identifier])[identifier]
    assert receipt.facts[identifier].version == 2
    assert (receipt.entries, receipt.repeated) == ((0, 1), False)
    assert do(store, AINO, identifier, applications.Withdrawn(AINO.id)).entries == (2,)


def test_a_stateless_event_is_in_the_ledger_and_changes_no_row(store: SqlStore) -> None:
    identifier = deeds.tunnel(store)
    before = deeds.everything(store)["tunnels"]
    receipt = do(store, SAGA, identifier, Seen("tunnel.view"))
    assert len(receipt.entries) == 1
    assert deeds.everything(store)["tunnels"] == before


def test_nothing_happening_is_not_an_error(store: SqlStore) -> None:
    identifier = deeds.tunnel(store)
    before = deeds.everything(store)
    with store.begin(deeds.mandate(identifier), at=AT) as unit:
        unit.lock([identifier])
        receipt = unit.record([])
    assert (receipt.entries, receipt.facts) == ((), store.peek([identifier]))
    assert deeds.everything(store) == before


def test_records_are_found_by_what_they_are_about_newest_first(store: SqlStore) -> None:
    mine = [deeds.tunnel(store, at=AT + timedelta(seconds=n)) for n in range(3)]
    deeds.tunnel(store, person_id=SAGA.id)
    deeds.end(store, mine[0], deeds.closing())
    assert [one.id for one in store.find("tun", person=AINO.id)] == mine[::-1]
    assert [one.id for one in store.find("tun", person=AINO.id, state=tunnels.State.REQUESTED)] == [mine[2], mine[1]]
    both = [tunnels.State.REQUESTED, tunnels.State.CLOSING]
    assert [one.id for one in store.find("tun", person=[AINO.id], state=both)] == mine[::-1]
    assert store.find("tun", person="usr_x000000000000000") == []


def test_records_are_found_by_each_of_several_people_and_no_longer_by_those_who_are_off(store: SqlStore) -> None:
    identifier = ids.new("app")
    do(store, AINO, identifier, applications.Drafted(AINO.id, "thl", deeds.form((SAGA.id,))))
    assert [one.id for one in store.find("app", person=SAGA.id)] == [identifier]
    assert [one.id for one in store.find("app", dataset=deeds.DATASET)] == [identifier]
    do(store, AINO, identifier, applications.Drafted(AINO.id, "thl", deeds.form()))
    assert store.find("app", person=SAGA.id) == []
    assert [one.id for one in store.find("app", person=AINO.id)] == [identifier]


def test_permits_and_people_are_found_by_what_queues_need(store: SqlStore) -> None:
    deeds.person(store, AINO.id, Role.RESEARCHER, Role.STEWARD, subject="https://id|1")
    permit = deeds.permit(store, AINO.id, SAGA.id)
    assert [one.id for one in store.find("usr", role=Role.STEWARD)] == [AINO.id]
    assert [one.id for one in store.find("usr", subject="https://id|1")] == [AINO.id]
    assert [one.id for one in store.find("per", person=SAGA.id, state=permits.State.ACTIVE)] == [permit]
    assert store.find("per", dataset="dst_x000000000000000") == []


@pytest.mark.parametrize(("noun", "fact"), [("tun", "body"), ("tun", "shoe_size"), ("xyz", "state"), ("led", "state"), ("tun", "reviewer")])
def test_what_cannot_be_looked_for_is_said(store: SqlStore, noun: str, fact: str) -> None:
    with pytest.raises(InvalidInputError):
        store.find(noun, **{fact: "x"})


def test_two_people_cannot_have_one_sign_in_and_many_can_have_none(store: SqlStore) -> None:
    deeds.person(store, AINO.id, subject="https://id|1")
    with pytest.raises(StaleError):
        deeds.person(store, SAGA.id, subject="https://id|1")
    deeds.person(store, SAGA.id)
    deeds.person(store, "usr_x000000000000000")
    assert len(store.find("usr")) == 3


def test_find_inside_a_change_sees_that_change_and_waits_for_no_connection(store: SqlStore) -> None:
    identifier = ids.new("tun")
    with store.begin(deeds.cleared(store, AINO, identifier), at=AT) as unit:
        unit.lock([identifier])
        assert store.find("tun", person=AINO.id) == []
        unit.record([Happened(identifier, deeds.requested())])
        assert [one.id for one in store.find("tun", person=AINO.id)] == [identifier]


def test_hostile_texts_come_back_as_they_were(store: SqlStore) -> None:
    name = "O'Hara\"; DROP TABLE people; -- \x00 \u202e 𝕏 \\u0000"
    deeds.person(store, AINO.id, name=name)
    assert store.peek([AINO.id])[AINO.id].name == name


def test_a_row_says_when_its_record_began_and_last_changed(store: SqlStore) -> None:
    identifier = deeds.tunnel(store)
    deeds.end(store, identifier, deeds.closing(), at=LATER)
    with store.database.read() as connection:
        row = connection.exec_driver_sql("SELECT created, updated FROM tunnels").one()
    assert tuple(row) == ("2026-03-01T09:00:00.000Z", "2026-03-01T09:05:00.000Z")


def test_a_row_is_only_written_over_what_it_was(store: SqlStore) -> None:
    identifier = deeds.tunnel(store)
    once = store.peek([identifier])[identifier]
    deeds.end(store, identifier, deeds.closing())
    with pytest.raises(StaleError), store.database.write() as connection:  # the second line, behind locks and checks
        rows.save(connection, once, replace(once, version=2, minutes=9), AT)
    assert store.peek([identifier])[identifier].minutes == 60


def test_absence_is_kept(store: SqlStore) -> None:
    deeds.person(store, AINO.id)
    do(store, AINO, AINO.id, people.AbsenceSet(LATER, SAGA.id))
    assert store.peek([AINO.id])[AINO.id].away_until == LATER
