"""What pages, clocks and meters ask of the store."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from broker.store.store import SqlStore
from sulku import applications, ids, mounts, permits, releases
from sulku.errors import InvalidInputError
from sulku.events import Happened, Refused
from sulku.ledger import checkpoint
from sulku.records import Search
from tests.fakes import policy
from tests.store import deeds
from tests.store.deeds import AINO, AT, LATER, SAGA, TUOMO, closing, do

HOUR = timedelta(hours=1)


def ids_of(found: object) -> list[str]:
    return [one.id for one in found]  # type: ignore[attr-defined]


def judged(by: str, verdict: applications.Verdict = applications.Verdict.APPROVE) -> applications.Judged:
    return applications.Judged(by, verdict, "as it should be", AT)


def test_a_stewards_queue_of_applications(store: SqlStore) -> None:
    old = deeds.submitted(store, at=AT - HOUR)
    new = deeds.submitted(store)
    judged_by_me = deeds.submitted(store, judged(SAGA.id))
    conflict = deeds.submitted(store, applications.ConflictDeclared(SAGA.id, "my sister"))
    names_me = deeds.submitted(store, people_=(SAGA.id,))
    by_other = deeds.submitted(store, judged(TUOMO.id), at=AT + HOUR)
    decided = deeds.submitted(store, applications.Decided(applications.Verdict.REFUSE, (SAGA.id, TUOMO.id), "", AT))
    draft = ids.new("app")
    do(store, AINO, draft, applications.Drafted(AINO.id, "thl", deeds.form()))
    queue = store.queries.application_queue(SAGA.id)
    assert ids_of(queue.needs_me)[0] == old
    assert ids_of(queue.needs_me)[-1] == by_other
    assert set(ids_of(queue.needs_me)) == {old, new, by_other}
    assert set(ids_of(queue.waiting)) == {judged_by_me, conflict, names_me}
    assert ids_of(queue.done) == [decided]


def release(store: SqlStore, *reviewers: str, people: tuple[str, ...] = ()) -> str:
    identifier, output = ids.new("rel"), ids.new("out")
    item = releases.Item(output, "table.csv", "0" * 64)
    begun = releases.Submitted(
        AINO.id, people, "thl", "per_p000000000000000", "tun_t000000000000000", "Table", "", (item,), "0" * 64, 1, AT
    )
    do(store, AINO, identifier, begun)
    for each in reviewers:
        do(store, SAGA, identifier, releases.Reviewed(each, (), AT))
    return identifier


def test_a_stewards_queue_of_releases(store: SqlStore) -> None:
    fresh, half = release(store), release(store, TUOMO.id)
    mine_half = release(store, SAGA.id)
    to_consolidate, others = release(store, SAGA.id, TUOMO.id), release(store, TUOMO.id, "usr_x000000000000000")
    names_me = release(store, people=(SAGA.id,))
    done = release(store)
    do(store, AINO, done, releases.Withdrawn(AINO.id))
    queue = store.queries.release_queue(SAGA.id)
    assert set(ids_of(queue.needs_me)) == {fresh, half, to_consolidate}
    assert set(ids_of(queue.waiting)) == {mine_half, others, names_me}
    assert ids_of(queue.done) == [done]


def test_my_things_are_those_that_name_me(store: SqlStore) -> None:
    application = deeds.submitted(store, by=TUOMO, people_=(AINO.id,))
    deeds.submitted(store, by=TUOMO)
    permit, tunnel, out = deeds.permit(store, TUOMO.id, AINO.id), deeds.tunnel(store), release(store)
    deeds.permit(store, TUOMO.id)
    deeds.tunnel(store, person_id=TUOMO.id)
    mine = store.queries.mine(AINO.id)
    assert [ids_of(each) for each in (mine.applications, mine.permits, mine.tunnels, mine.releases)] == [[application], [permit], [tunnel], [out]]


def test_live_tunnels_past_their_deadline_are_found_the_most_overdue_first(store: SqlStore) -> None:
    two = deeds.tunnel(store, deadline=AT + 2 * HOUR)
    one = deeds.tunnel(store, deadline=AT + HOUR)
    ended = deeds.tunnel(store, deadline=AT + HOUR)
    deeds.end(store, ended, closing())
    deeds.tunnel(store, deadline=AT + 3 * HOUR)
    assert store.queries.due_tunnels(AT + HOUR - timedelta(milliseconds=1)) == []
    assert ids_of(store.queries.due_tunnels(AT + HOUR)) == [one]
    assert ids_of(store.queries.due_tunnels(AT + 2 * HOUR)) == [one, two]


def test_permits_past_their_end_are_found_until_they_say_so(store: SqlStore) -> None:
    permit, suspended, revoked = (deeds.permit(store, AINO.id, ends=AT + HOUR) for _ in range(3))
    do(store, SAGA, suspended, permits.Suspended("a complaint came in"))
    do(store, SAGA, revoked, permits.Revoked("a complaint was right"))
    assert store.queries.ended_permits(AT) == []
    assert set(ids_of(store.queries.ended_permits(AT + HOUR))) == {permit, suspended}
    deeds.end(store, permit, permits.Expired(AT + HOUR))
    assert ids_of(store.queries.ended_permits(AT + HOUR)) == [suspended]


def test_the_access_list_says_who_could_read_what_when(store: SqlStore) -> None:
    tunnel = deeds.tunnel(store)
    past, present = deeds.mount(store, tunnel), deeds.mount(store, tunnel)
    deeds.mount(store, tunnel, dataset="dst_x000000000000000")
    with store.begin(deeds.mandate(past), at=LATER) as unit:
        unit.lock([past])
        unit.record([Happened(past, mounts.Detached(LATER))])
    found = {one.mount: one for one in store.queries.access(deeds.DATASET)}
    assert set(found) == {past, present}
    assert (found[past].since, found[past].until, found[present].until) == (AT, LATER, None)
    assert {(one.person, one.permit, one.tunnel, one.edition) for one in found.values()} == {(AINO.id, "per_p000000000000000", tunnel, "1")}


@pytest.fixture
def history(store: SqlStore) -> dict[str, str]:
    """Half a day of work on two datasets."""
    deeds.person(store, AINO.id)
    permit = deeds.permit(store, AINO.id)
    other = deeds.permit(store, TUOMO.id, dataset="dst_x000000000000000")
    tunnel = deeds.tunnel(store, permit=permit, at=AT + HOUR)
    elsewhere = deeds.tunnel(store, by=TUOMO, person_id=TUOMO.id, permit=other, at=AT + 2 * HOUR)
    mount = deeds.mount(store, tunnel)
    with store.begin(policy.refusal(SAGA, "tunnel.close", tunnel), at=AT + 3 * HOUR) as unit:
        unit.record([Happened(tunnel, Refused("tunnel.close", ("no",)))])
    deeds.end(store, tunnel, closing(), at=AT + 4 * HOUR)
    return {"permit": permit, "other": other, "tunnel": tunnel, "elsewhere": elsewhere, "mount": mount}


P, M, R, C = "person.registered", "mount.attached", "refusal.recorded", "tunnel.closing"
I1 = I2 = "permit.issued"  # Aino's, and Tuomo's
T1 = T2 = "tunnel.requested"


@pytest.mark.parametrize(
    ("search", "types"),
    [
        (Search(), [C, R, M, T2, T1, I2, I1, P]),
        (Search(person=AINO.id), [C, R, M, T1, I1, P]),
        (Search(person=TUOMO.id), [T2, I2]),
        (Search(person=SAGA.id), [R, I2, I1]),
        (Search(noun="tun"), [C, R, T2, T1]),
        (Search(noun="mnt"), [M]),
        (Search(type="tunnel.requested"), [T2, T1]),
        (Search(type="tunnel"), [C, T2, T1]),
        (Search(dataset=deeds.DATASET), [C, R, M, T1, I1]),
        (Search(dataset="dst_x000000000000000"), [T2, I2]),
        (Search(outcome="refusal"), [R]),
        (Search(outcome="mandate"), [C]),
        (Search(since=AT + HOUR), [C, R, M, T2, T1]),
        (Search(since=AT + HOUR + timedelta(seconds=1), until=AT + 3 * HOUR), [M, T2]),
        (Search(until=AT + HOUR), [I2, I1, P]),
        (Search(since=AT + 9 * HOUR), []),
        (Search(person=AINO.id, type="tunnel", outcome="clearance"), [T1]),
        (Search(person="usr_x000000000000000"), []),
    ],
)
def test_the_ledger_is_searched(store: SqlStore, history: dict[str, str], search: Search, types: list[str]) -> None:
    assert [entry["type"] for entry in store.queries.search(search).entries] == types
    assert history


def test_one_records_story(store: SqlStore, history: dict[str, str]) -> None:
    assert [entry["type"] for entry in store.queries.search(Search(record=history["tunnel"])).entries] == [C, R, T1]


def test_a_search_is_read_page_by_page(store: SqlStore, history: dict[str, str]) -> None:
    indices, before = [], None
    while True:
        page = store.queries.search(Search(), before=before, most=3)
        indices += [entry["index"] for entry in page.entries]
        before = page.before
        if before is None:
            break
    assert indices == [7, 6, 5, 4, 3, 2, 1, 0]
    assert store.queries.search(Search(), most=8).before is None
    assert history


@pytest.mark.parametrize("wrong", [{"most": 0}, {"most": 501}])
def test_a_search_has_limits(store: SqlStore, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError):
        store.queries.search(Search(), **wrong)
    with pytest.raises(InvalidInputError):
        store.queries.search(Search(noun="xyz"))


def test_meters_count(store: SqlStore, history: dict[str, str]) -> None:
    store.ledger.checkpoint(lambda size, root: checkpoint.Note(checkpoint.Checkpoint("o", size, root), (("o+00000000", b"x"),)).write(), AT)
    deeds.tunnel(store)
    (claimed,) = store.outbox.claim(AT, most=1)
    store.outbox.done(claimed, AT)
    counts = store.queries.counts()
    assert (counts["tunnels.requested"], counts["tunnels.closing"], counts["mounts.attached"]) == (2, 1, 1)
    assert (counts["ledger.entries"], counts["ledger.sealed"], counts["outbox.done"]) == (9, 8, 1)
    assert history


def test_notices_are_told_once_read_once_and_each_to_their_own(store: SqlStore) -> None:
    for _ in range(2):
        store.notices.put("notify:1", [AINO.id, SAGA.id, AINO.id], "permit.issued", "per_p000000000000000", AT)
    store.notices.put("notify:2", [AINO.id], "permit.revoked", "per_p000000000000000", LATER)
    store.notices.put("notify:3", [], "permit.revoked", "per_p000000000000000", LATER)
    newest, oldest = store.notices.of(AINO.id)
    assert (newest.what, oldest.what, newest.seen, newest.at) == ("permit.revoked", "permit.issued", None, LATER)
    assert (store.notices.unread(AINO.id), store.notices.unread(SAGA.id)) == (2, 1)
    store.notices.read(AINO.id, oldest.id, LATER)
    assert (store.notices.unread(AINO.id), store.notices.unread(SAGA.id)) == (1, 1)
    assert isinstance(store.notices.of(AINO.id)[1].seen, datetime)
    assert [one.person for one in store.notices.of(SAGA.id, 1)] == [SAGA.id]
