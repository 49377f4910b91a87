"""What grows with what, by counts and not by time: each of a hundred tunnels costs what each of a few does, and a look at all of them a few calls.

All of it towards a real API server with the chart's guards; what pods would say is said by `hands.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.cluster.scale import measure as scale
from tests.cluster.scale.ground import Ground, ground
from tests.cluster.scale.hands import Counted, Hands, plan

T = TypeVar("T")
FEW, MANY = 20, 100
WAITING = {"GET pods", "GET persistentvolumes", "LIST persistentvolumeclaims"}  # of this tunnel alone; how often, depends on time
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000, func_only=True)]


@pytest.fixture(scope="module")
def at() -> Iterator[Ground]:
    with ground("scale-test") as made:
        yield made


def inside(at: Ground, do: Callable[[], T]) -> T:
    """Do it by a thread in the cluster's network; the others of this process stay where they are."""

    def joined() -> T:
        at.join()
        return do()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(joined).result()


@pytest.fixture(scope="module")
def two(at: Ground) -> tuple[scale.Outcome, scale.Outcome]:
    """The same with few tunnels and with many."""
    return inside(at, lambda: (scale.measure(at, FEW, 8), scale.measure(at, MANY, 8)))


def fixed(of: scale.Cost) -> dict[str, float]:
    """Return the calls whose number does not depend on time."""
    return {kind: number for kind, number in of.calls.items() if kind not in WAITING}


def test_each_opening_makes_the_same_calls_however_many_there_are_and_lists_nothing(two: tuple[scale.Outcome, scale.Outcome]) -> None:
    few, many = (fixed(one.opened) for one in two)
    assert few == many
    assert sum(number for kind, number in many.items() if kind.startswith("POST")) == 11
    assert sum(many.values()) == 14
    assert not [kind for kind in many if kind.startswith("LIST")]
    assert two[1].opened.sent == pytest.approx(two[0].opened.sent, rel=0.01)


def test_each_ending_makes_the_same_calls_however_many_there_are_and_lists_nothing(two: tuple[scale.Outcome, scale.Outcome]) -> None:
    few, many = (fixed(one.closed) for one in two)
    assert few == many
    assert sum(many.values()) == 12
    assert not [kind for kind in many if kind.startswith("LIST")]


def test_one_look_at_all_and_one_search_for_what_nobody_owns_are_lists_whose_bytes_grow_with_the_tunnels_and_no_faster(
    two: tuple[scale.Outcome, scale.Outcome],
) -> None:
    for few, many, lists in ((two[0].glance, two[1].glance, 3), (two[0].reconcile, two[1].reconcile, 4)):
        assert sum(few.calls.values()) == sum(many.calls.values()) == lists
        assert all(kind.startswith("LIST") for kind in many.calls)
        assert many.received / MANY == pytest.approx(few.received / FEW, rel=0.05)


def test_a_round_of_a_probe_asks_the_api_server_once(two: tuple[scale.Outcome, scale.Outcome]) -> None:
    assert two[0].patrol.calls == two[1].patrol.calls == {"GET pods": 1.0}


def test_what_is_listed_comes_in_pages_and_nothing_is_left_out(at: Ground) -> None:
    """The pages are what keeps an answer small; were the second one not asked for, the rest would be ended as unknown, or never."""

    def paged() -> tuple[int, int, int]:
        hands = Hands(at.worker(Counted))
        plans = [plan() for _ in range(5)]
        scale.each(5, hands.open, plans)
        api = hands._api
        assert isinstance(api, Counted)
        api.asked.clear()
        whole, found = hands.overview().tunnels, {one["metadata"]["name"] for one in api.every("Namespace", hands._ours, whole=False, page=2)}
        calls = api.asked["LIST namespaces"]
        scale.each(5, lambda one: hands.close(one.tunnel), plans)
        return len(whole), len(found), calls

    assert inside(at, paged) == (5, 5, 4)  # one page of 500, and three of 2
