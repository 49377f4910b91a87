"""Whoever is killed at any call of an opening or a closing leaves nothing that the next reconcile does not end, nor a repetition finish.

The table is made, not written: an honest run is heard, and each different call of it is a row. A run draws some rows;
`make test-full` takes all, under both kinds of isolation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sulku.errors import TunnelEndedError
from sulku.manifests import namespace_of
from sulku.plan import EndRecord, WorkspacePlan
from tests.cluster.cluster import Cluster
from tests.cluster.draws import EVERY, some
from tests.cluster.mortal import Cut, KilledError, Mortals
from tests.soon import soon

ROWS = 4  # that a run draws of each table
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000 if EVERY else 400, func_only=True)]


@pytest.fixture(scope="module", params=["gvisor", "runc"] if EVERY else ["gvisor"])
def mortals(cluster: Cluster, prepared: Path, request: pytest.FixtureRequest) -> Iterator[Mortals]:
    made = Mortals(cluster, prepared, request.param)
    yield made
    made.close()


def rows(steps: list[str], request: pytest.FixtureRequest) -> list[int]:
    """Return after how many calls a process dies: each number that there is, or some."""
    return some(request.config, request.node.name, range(len(steps)), ROWS)


def opening(mortals: Mortals) -> list[str]:
    """Return the different calls of an opening that nobody interrupts."""
    cut, plan = Cut(1000), mortals.plan()
    assert mortals.open(plan, mortals.hands(cut=cut)).startswith("http://")
    mortals.tunnels.stop(plan.tunnel)
    return cut.heard


def killed(mortals: Mortals, most: int) -> WorkspacePlan:
    """Return the plan of an opening whose worker was killed after ``most`` calls."""
    cut, plan = Cut(most), mortals.plan()
    with pytest.raises(KilledError):
        mortals.open(plan, mortals.hands(cut=cut))
    assert len(cut.heard) == most
    return plan


def nothing_left(mortals: Mortals, plan: WorkspacePlan) -> bool:
    return soon(lambda: not mortals.left_behind(plan.tunnel)) and not mortals.runs(plan)


def test_a_worker_that_is_killed_while_it_opens_leaves_nothing_that_a_reconcile_does_not_end(mortals: Mortals, request: pytest.FixtureRequest) -> None:
    steps = opening(mortals)
    assert len(steps) > 20
    for most in rows(steps, request):
        plan = killed(mortals, most)
        made = "POST /namespaces T" in steps[:most]
        done = mortals.hands().reconcile((), grace=0)
        assert [one.tunnel for one in done if isinstance(one, EndRecord)] == [plan.tunnel] * made, (steps[most], done)
        assert not mortals.runs(plan), steps[most]
        assert nothing_left(mortals, plan), (steps[most], mortals.left_behind(plan.tunnel))
        assert mortals.hands().reconcile((), grace=0) == [], steps[most]
        if made:
            assert plan.tunnel in {one.tunnel for one in mortals.tunnels.ended()}
            with pytest.raises(TunnelEndedError):
                mortals.hands().start(plan)


def test_an_opening_in_which_a_worker_was_killed_is_finished_by_the_next(mortals: Mortals, request: pytest.FixtureRequest) -> None:
    steps = opening(mortals)
    for most in rows(steps, request):
        plan = killed(mortals, most)
        assert mortals.hands().reconcile([plan.tunnel]) == [], steps[most]  # it is known, and young: nobody ends it
        assert mortals.open(plan, mortals.hands()).startswith("http://"), steps[most]
        mortals.tunnels.stop(plan.tunnel)


def closing(mortals: Mortals) -> list[str]:
    """Return the different calls of a closing that nobody interrupts."""
    cut, plan = Cut(1000), mortals.made()
    mortals.hands(cut=cut).stop(plan.tunnel)
    return cut.heard


@pytest.mark.parametrize("next_one", ["a reconcile", "a repetition"])
def test_a_worker_that_is_killed_while_it_closes_leaves_nothing_that_the_next_does_not_end(
    mortals: Mortals, request: pytest.FixtureRequest, next_one: str
) -> None:
    steps = closing(mortals)
    assert len(steps) >= 9
    for most in rows(steps, request):
        cut, plan = Cut(most), mortals.made()
        assert soon(lambda made=plan: mortals.pod("workspace", namespace_of(made.tunnel))["status"].get("podIP"))
        with pytest.raises(KilledError):
            mortals.hands(cut=cut).stop(plan.tunnel)
        if next_one == "a repetition":
            record = mortals.hands().stop(plan.tunnel)
            assert (record.cause, record.processes_left) == ("stopped", 0)
        else:
            assert mortals.hands().reconcile((), grace=0) or most == len(steps), steps[most]
        assert not mortals.runs(plan), steps[most]
        assert nothing_left(mortals, plan), (steps[most], mortals.left_behind(plan.tunnel))
        assert mortals.hands().reconcile((), grace=0) == [], steps[most]
        assert [one.cause for one in mortals.tunnels.ended() if one.tunnel == plan.tunnel] == ["stopped"]
