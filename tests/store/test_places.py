"""Where workspaces are: the latest word counts, and what is dropped leads nowhere."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.store.places import FEW
from broker.store.store import SqlStore
from sulku import ids

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


def test_a_place_is_kept_moved_and_dropped(store: SqlStore) -> None:
    one, other = ids.new("tun"), ids.new("tun")
    store.places.put(one, "http://10.0.0.1:8888", NOW)
    store.places.put(other, "http://10.0.0.2:8888", NOW)
    store.places.put(one, "http://10.0.0.3:8888", NOW)
    assert store.places.of([one, other, ids.new("tun")]) == {one: "http://10.0.0.3:8888", other: "http://10.0.0.2:8888"}
    assert store.places.of([other]) == {other: "http://10.0.0.2:8888"}
    for _ in range(2):
        store.places.drop(one)
    assert store.places.of([one, other]) == {other: "http://10.0.0.2:8888"}
    assert store.places.of([]) == {}


def test_more_are_asked_for_than_one_statement_takes(store: SqlStore) -> None:
    here = ids.new("tun")
    store.places.put(here, "http://10.0.0.9:8888", NOW)
    assert store.places.of([here, *(ids.new("tun") for _ in range(FEW * 2))]) == {here: "http://10.0.0.9:8888"}
