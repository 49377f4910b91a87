"""While the database is away: endings and refusals wait in a file, and come into the ledger later, in order, each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from broker.flows.effects import effects_of
from broker.store.spool import Spool
from broker.store.store import SqlStore
from broker.store.verify import verify
from sulku import ids, mounts, tunnels
from sulku.clearance import Refusal
from sulku.errors import RuleError, StoreUnavailableError
from sulku.events import Happened, Refused
from tests.fakes import policy
from tests.store import deeds
from tests.store.deeds import AINO, AT, LATER, SAGA, closing

NOWHERE = "postgresql+psycopg://nobody@/nothing?host={}"  # no server listens in that folder


@pytest.fixture
def away(store: SqlStore, tmp_path: Path) -> Iterator[SqlStore]:
    """The same store, cut off from its database; it shares the spool."""
    made = SqlStore(NOWHERE.format(tmp_path), tmp_path / "spool", timeout=1.0)
    yield made
    made.close()


def refuse(store: SqlStore, refusal: Refusal) -> None:
    with store.begin(refusal, at=AT) as unit:
        unit.record([Happened(refusal.target, Refused(refusal.action, refusal.codes, "they said: 'let me in'"))])


def entries(store: SqlStore) -> list[dict[str, object]]:
    return [orjson.loads(each) for each in store.ledger.entries()]


def test_what_waited_comes_in_later_in_order_and_says_when_it_was(store: SqlStore, away: SqlStore) -> None:
    tunnel = deeds.tunnel(store)
    refusal = policy.refusal(SAGA, "tunnel.close", tunnel)
    refuse(away, refusal)
    away.spool(deeds.mandate(tunnel), [Happened(tunnel, closing())], AT)
    assert store.ledger.head()[0] == 1
    assert store.replay(LATER, effects_of) == 2
    _, refused, closed = entries(store)
    assert (refused["type"], closed["type"]) == ("refusal.recorded", "tunnel.closing")
    for entry in (refused, closed):
        assert entry["at"] == "2026-03-01T09:05:00.000Z"
        assert entry["clearance"]["spooled"] == "2026-03-01T09:00:00.000Z"  # type: ignore[index]
    assert store.peek([tunnel])[tunnel].state is tunnels.State.CLOSING
    kinds = {claimed.effect.kind for claimed in store.outbox.claim(LATER, most=9)}
    assert "close-tunnel" in kinds
    assert verify(store.database).records == 1


def test_replaying_again_finds_nothing(store: SqlStore, away: SqlStore) -> None:
    tunnel = deeds.tunnel(store)
    away.spool(deeds.mandate(tunnel), [Happened(tunnel, closing())], AT)
    assert [store.replay(LATER), store.replay(LATER)] == [1, 0]
    assert len(entries(store)) == 2


def test_a_replay_that_stops_halfway_goes_on_without_repeating(store: SqlStore, away: SqlStore, tmp_path: Path) -> None:
    first, second = deeds.tunnel(store), deeds.tunnel(store)
    refuse(away, Refusal(SAGA, "tunnel.close", first, ("no",)))
    refuse(away, Refusal(SAGA, "tunnel.close", second, ("no",)))
    calls = 0

    def fail_at_second(late: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailableError("gone again")
        store._replay(late, LATER, None)  # type: ignore[arg-type]

    with pytest.raises(StoreUnavailableError):
        Spool(tmp_path / "spool").replay(fail_at_second)
    assert len(entries(store)) == 3
    assert store.replay(LATER) == 2
    assert [entry["id"] for entry in entries(store)[2:]] == [first, second]


def test_two_refusals_that_look_alike_are_two(store: SqlStore, away: SqlStore) -> None:
    refusal = Refusal(SAGA, "tunnel.open", ids.new("tun"), ("policy-unavailable",))
    refuse(away, refusal)
    refuse(away, refusal)
    store.replay(LATER)
    assert len(entries(store)) == 2


def test_a_refusal_whose_commit_did_succeed_is_not_recorded_twice(store: SqlStore, away: SqlStore) -> None:
    refusal = policy.refusal(SAGA, "tunnel.open", ids.new("tun"))
    refuse(store, refusal)
    refuse(away, refusal)
    store.replay(LATER)
    assert len(entries(store)) == 1


def test_an_end_that_another_clock_recorded_is_not_recorded_twice_and_the_rest_of_it_is(store: SqlStore, away: SqlStore) -> None:
    tunnel = deeds.tunnel(store, tunnels.ClosureProved(1, 1, "0" * 64))
    mount = deeds.mount(store, tunnel)
    away.spool(deeds.mandate(tunnel), [Happened(tunnel, closing()), Happened(mount, mounts.Detached(AT))], AT)
    deeds.end(store, tunnel, closing())
    store.replay(LATER)
    assert [entry["type"] for entry in entries(store)[-2:]] == ["tunnel.closing", "mount.detached"]
    assert store.peek([mount])[mount].state is mounts.State.DETACHED
    assert store.peek([tunnel])[tunnel].epoch == 2


def test_nothing_is_spooled_while_the_database_is_there(store: SqlStore, tmp_path: Path) -> None:
    refuse(store, policy.refusal(SAGA, "tunnel.open", ids.new("tun")))
    assert not (tmp_path / "spool").exists()


def test_only_endings_and_refusals_are_spooled(store: SqlStore, away: SqlStore, tmp_path: Path) -> None:
    tunnel = deeds.tunnel(store)
    with pytest.raises(RuleError):
        away.spool(deeds.mandate(tunnel), [Happened(tunnel, tunnels.Opened(AT))], AT)
    with pytest.raises(RuleError), away.begin(policy.refusal(SAGA, "x.y", tunnel), at=AT) as unit:
        unit.record([Happened(tunnel, closing())])
    with pytest.raises(StoreUnavailableError), away.begin(policy.clearance(AINO, "x.y", tunnel, [], AT), at=AT) as unit:
        unit.lock([tunnel])
    assert not (tmp_path / "spool").exists()


def test_a_line_torn_by_a_crash_is_dropped_and_those_before_and_after_count(store: SqlStore, away: SqlStore, tmp_path: Path) -> None:
    tunnel = deeds.tunnel(store)
    refuse(away, Refusal(SAGA, "a.b", tunnel, ("first",)))
    path = tmp_path / "spool"
    whole = path.read_bytes()
    for size in (1, 40, 64, 70, len(whole) - 1):
        path.write_bytes(whole + whole[:size])
        refuse(away, Refusal(SAGA, "a.b", tunnel, ("second",)))
        lines = path.read_bytes().splitlines()
        assert (len(lines), lines[0] + b"\n") == (2, whole)
    assert store.replay(LATER) == 2
    assert [entry["body"]["codes"] for entry in entries(store)[1:]] == [["first"], ["second"]]  # type: ignore[index]


def test_what_cannot_be_recorded_is_set_aside_and_does_not_hold_up_the_rest(store: SqlStore, away: SqlStore, tmp_path: Path) -> None:
    tunnel = deeds.tunnel(store)
    refuse(away, Refusal(SAGA, "a.b", tunnel, ("damaged",)))
    path = tmp_path / "spool"
    path.write_bytes(path.read_bytes().replace(b"damaged", b"changed"))
    refuse(away, Refusal(SAGA, "a.b", tunnel, ("good",)))
    assert store.replay(LATER) == 2
    assert [entry["body"]["codes"] for entry in entries(store)[1:]] == [["good"]]  # type: ignore[index]
    aside = orjson.loads((tmp_path / "spool.refused").read_bytes())
    assert aside["code"] == "integrity"
    assert "changed" in aside["line"]


def test_when_neither_can_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()  # a folder cannot be appended to, for root neither
    store = SqlStore(NOWHERE.format(tmp_path), tmp_path / "spool", timeout=1.0)
    with pytest.raises(StoreUnavailableError, match="neither"):
        refuse(store, policy.refusal(SAGA, "tunnel.open", ids.new("tun")))
    store.close()


def test_the_spool_is_for_its_owner_only(away: SqlStore, tmp_path: Path) -> None:
    refuse(away, policy.refusal(SAGA, "tunnel.open", ids.new("tun")))
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_an_ending_cannot_begin_without_a_database(away: SqlStore) -> None:
    with pytest.raises(StoreUnavailableError), away.begin(deeds.mandate(ids.new("tun")), at=AT):
        pytest.fail("it began")
