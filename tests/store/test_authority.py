"""No clearance, no write: what each of the three authorities carries, and that it carries nothing else."""

# ruff: noqa: PT012  # a change is a with block, and what refuses is inside it

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.store.store import SqlStore
from sulku import applications, ids, mounts, permits, tunnels
from sulku.clearance import LIFETIME, Refusal
from sulku.errors import IntegrityError, RuleError, StaleError
from sulku.events import Event, Happened, Refused, Seen
from tests.fakes import policy
from tests.store import deeds
from tests.store.deeds import AINO, AT, SAGA, TUOMO, cleared, closing, do, everything


def test_a_clearance_is_worth_nothing_once_a_record_that_policy_saw_has_moved_on(store: SqlStore) -> None:
    target, permit = ids.new("tun"), deeds.permit(store, AINO.id)
    clearance = cleared(store, AINO, target, permit)
    do(store, SAGA, permit, permits.Suspended("a complaint came in"))
    before = everything(store)
    with pytest.raises(StaleError), store.begin(clearance, at=AT) as unit:
        unit.lock([target])  # the permit is checked though the flow does not name it
    with pytest.raises(StaleError), store.begin(clearance, at=AT) as unit:
        unit.record([Happened(target, deeds.requested())])  # and though the flow does not lock at all
    assert everything(store) == before


def test_a_clearance_counts_while_what_policy_saw_stands_still(store: SqlStore) -> None:
    target, permit = ids.new("tun"), deeds.permit(store, AINO.id)
    clearance = cleared(store, AINO, target, permit)
    deeds.permit(store, AINO.id)  # another one
    with store.begin(clearance, at=AT) as unit:
        assert unit.lock([target])[permit].state is permits.State.ACTIVE
        unit.record([Happened(target, deeds.requested())])
    assert store.peek([target])[target].version == 1


def test_what_policy_saw_as_not_there_must_not_be_there_yet(store: SqlStore) -> None:
    target = ids.new("tun")
    clearance = cleared(store, AINO, target)
    do(store, AINO, target, deeds.requested())
    with pytest.raises(StaleError), store.begin(clearance, at=AT) as unit:
        unit.lock([target])


@pytest.mark.parametrize("wait", [LIFETIME + timedelta(milliseconds=1), -timedelta(seconds=2)])
def test_a_clearance_expires_and_comes_from_no_future(store: SqlStore, wait: timedelta) -> None:
    clearance = cleared(store, AINO, ids.new("tun"))
    with pytest.raises(RuleError, match="too old"), store.begin(clearance, at=AT + wait):
        pass
    with store.begin(clearance, at=AT + LIFETIME) as unit:
        unit.record([Happened(clearance.target, deeds.requested())])


def test_policy_must_have_seen_whatever_changes_unless_it_is_new(store: SqlStore) -> None:
    seen, unseen, new = deeds.tunnel(store), deeds.tunnel(store), ids.new("mnt")
    before = everything(store)
    with pytest.raises(RuleError, match="did not see"), store.begin(cleared(store, AINO, seen), at=AT) as unit:
        unit.lock([seen, unseen])
        unit.record([Happened(seen, closing()), Happened(unseen, closing())])
    assert everything(store) == before
    with store.begin(cleared(store, AINO, seen), at=AT) as unit:
        unit.record([Happened(seen, closing()), Happened(new, mounts.Attached(seen, deeds.grant(), AT))])
    assert store.peek([new])[new].version == 1


def test_one_clearance_makes_one_change(store: SqlStore) -> None:
    target = ids.new("app")
    clearance = cleared(store, AINO, ids.LEDGER)
    with store.begin(clearance, at=AT) as unit:
        unit.record([Happened(target, applications.Drafted(AINO.id, "thl", deeds.form()))])
    with pytest.raises(RuleError, match="had its change"), store.begin(clearance, at=AT) as unit:
        unit.record([Happened(ids.new("app"), applications.Drafted(AINO.id, "thl", deeds.form()))])
    with pytest.raises(RuleError, match="one change"), store.begin(cleared(store, AINO, target), at=AT) as unit:
        unit.record([Happened(target, Seen("application.view"))])
        unit.record([Happened(target, Seen("application.view"))])
    assert len(store.find("app")) == 1


def test_a_decision_that_could_not_be_replayed_is_not_acted_on(store: SqlStore) -> None:
    clearance = cleared(store, AINO, ids.new("tun"))
    other = replace(clearance, basis=replace(clearance.basis, asked=clearance.basis.asked + " "))
    with pytest.raises(IntegrityError), store.begin(other, at=AT) as unit:
        unit.record([Happened(clearance.target, deeds.requested())])
    with store.begin(clearance, at=AT) as unit:
        unit.record([Happened(clearance.target, deeds.requested())])


def happened(*events: tuple[str, Event]) -> Sequence[Happened]:
    return [Happened(target, event) for target, event in events]


def test_a_refusal_is_good_for_one_entry_about_its_target(store: SqlStore) -> None:
    target, other = deeds.tunnel(store), deeds.tunnel(store)
    refusal = policy.refusal(SAGA, "tunnel.close", target)
    no = Refused("tunnel.close", ("no",))
    before = everything(store)
    for wrong in (
        happened((target, closing())),
        happened((target, no), (target, closing())),
        happened((target, no), (target, no)),
        happened((other, no)),
        happened((target, Seen("tunnel.view"))),
    ):
        with pytest.raises(RuleError), store.begin(refusal, at=AT) as unit:
            unit.record(wrong)
    with pytest.raises(RuleError), store.begin(refusal, at=AT) as unit:
        unit.lock([target])
    with pytest.raises(RuleError), store.begin(refusal, at=AT) as unit:
        unit.spend_ticket("", "", AT)
    with pytest.raises(RuleError), store.begin(refusal, at=AT) as unit:
        unit.note_reports(target, "run", 1)
    assert everything(store) == before
    with store.begin(refusal, at=AT) as unit:
        (entry,) = unit.record(happened((target, no))).entries
        with pytest.raises(RuleError):
            unit.record(happened((target, no)))
    after = everything(store)
    assert len(after["ledger_entries"]) == entry + 1 == len(before["ledger_entries"]) + 1
    assert after["tunnels"] == before["tunnels"]
    assert [row for row in after["decisions"] if row[0] == refusal.basis.decision]  # type: ignore[union-attr]


def test_a_refusal_without_a_decision_is_recorded_too(store: SqlStore) -> None:
    refusal = Refusal(AINO, "tunnel.open", ids.new("tun"), ("policy-unavailable",))
    with store.begin(refusal, at=AT) as unit:
        unit.record([Happened(refusal.target, Refused(refusal.action, refusal.codes))])
    assert store.ledger.head()[0] == 1


def test_a_mandate_ends_its_target_and_does_nothing_else(store: SqlStore) -> None:
    target, other = deeds.tunnel(store, tunnels.ClosureProved(1, 1, "0" * 64)), deeds.tunnel(store)
    mount = deeds.mount(store, target)
    before = everything(store)
    for wrong in (
        happened((target, tunnels.Opened(AT))),
        happened((target, closing()), (target, tunnels.ToppedUp(1, "why"))),
        happened((other, closing())),
        happened((target, Seen("tunnel.view"))),
    ):
        with pytest.raises(RuleError), store.begin(deeds.mandate(target), at=AT) as unit:
            unit.lock([target, other])
            unit.record(wrong)
    assert everything(store) == before
    with store.begin(deeds.mandate(target), at=AT + timedelta(days=999)) as unit:  # it needs no freshness
        unit.lock([target, mount])
        unit.record(happened((target, closing()), (mount, mounts.Detached(AT))))
    assert store.peek([target])[target].state is tunnels.State.CLOSING
    assert store.peek([mount])[mount].state is mounts.State.DETACHED


def test_an_error_in_the_flow_leaves_nothing_behind(store: SqlStore) -> None:
    target = ids.new("tun")
    before = everything(store)
    with pytest.raises(ZeroDivisionError), store.begin(cleared(store, AINO, target), at=AT) as unit:
        unit.record([Happened(target, deeds.requested())], lambda happened, facts: [])
        raise ZeroDivisionError
    assert everything(store) == before
    do(store, AINO, target, deeds.requested())
    assert store.peek([target])[target].version == 1


def test_the_ledger_says_under_which_authority_each_entry_came(store: SqlStore) -> None:
    import orjson

    clearance = cleared(store, AINO, ids.new("tun"), action="tunnel.open")
    with store.begin(clearance, at=AT) as unit:
        unit.record([Happened(clearance.target, deeds.requested())])
    deeds.end(store, clearance.target, closing())
    refusal = policy.refusal(TUOMO, "tunnel.close", clearance.target)
    with store.begin(refusal, at=AT) as unit:
        unit.record([Happened(refusal.target, Refused(refusal.action, refusal.codes))])
    opened, ended, refused = (orjson.loads(entry) for entry in store.ledger.entries())
    assert (opened["by"], opened["clearance"]["kind"]) == ({"id": AINO.id, "role": "researcher"}, "clearance")
    assert (opened["clearance"]["decision"], opened["clearance"]["action"]) == (clearance.basis.decision, "tunnel.open")
    assert opened["clearance"]["input"] == f"sha256:{clearance.basis.input}"
    assert ended["clearance"] == {"kind": "mandate", "action": "tunnel.close", "opened_by": "dec_d000000000000000"}
    assert (refused["clearance"]["kind"], refused["body"]["codes"]) == ("refusal", ["no"])
