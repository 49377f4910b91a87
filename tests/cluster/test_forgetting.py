"""What a worker remembers of tunnels that are over: for as long as an opening could come late, and not for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.adapters.kubernetes_endings import KEPT
from sulku.errors import TunnelEndedError
from sulku.manifests import namespace_of
from sulku.plan import WorkspacePlan
from tests.cluster.mortal import Cut, KilledError, Mortals
from tests.soon import soon

pytestmark = pytest.mark.slow
LONGEST = 86400  # seconds: the most that `tunnels.longest` may be


@pytest.fixture
def over(mortals: Mortals) -> WorkspacePlan:
    """Give a tunnel that was made and has ended, as its worker remembers; the ledger has not heard of it."""
    plan = mortals.made()
    mortals.hands().stop(plan.tunnel)
    return plan


def remembered(mortals: Mortals, plan: WorkspacePlan) -> bool:
    return mortals.api.find("ConfigMap", namespace_of(plan.tunnel), mortals.home) is not None


def test_an_end_that_the_ledger_has_not_heard_of_is_never_forgotten(mortals: Mortals, over: WorkspacePlan) -> None:
    mortals.hands().forget(older=0)
    assert remembered(mortals, over)
    assert over.tunnel in {one.tunnel for one in mortals.hands().ended()}


def test_one_that_it_has_is_kept_for_a_day_and_refuses_a_late_opening(mortals: Mortals, over: WorkspacePlan) -> None:
    assert KEPT > LONGEST
    worker = mortals.hands()
    worker.acknowledge(over.tunnel)
    worker.forget()
    assert remembered(mortals, over)
    with pytest.raises(TunnelEndedError):
        worker.start(over)
    assert worker.forget(older=0) >= 1
    assert not remembered(mortals, over)
    assert worker.forget(older=0) == 0


def test_when_it_is_forgotten_a_late_opening_is_refused_by_its_own_deadline(mortals: Mortals, over: WorkspacePlan) -> None:
    worker = mortals.hands()
    worker.acknowledge(over.tunnel)
    worker.forget(older=0)
    late = replace(over, deadline=over.deadline - timedelta(days=1))  # as it is a day later
    with pytest.raises(TunnelEndedError):
        worker.start(late)
    assert mortals.api.find("Namespace", namespace_of(over.tunnel)) is None or soon(
        lambda: mortals.api.find("Namespace", namespace_of(over.tunnel)) is None, 60
    )


def test_what_is_made_after_all_is_ended_by_the_next_reconcile(mortals: Mortals, over: WorkspacePlan) -> None:
    """Whoever looked before the end, and slept until nobody remembered."""
    worker = mortals.hands()
    worker.acknowledge(over.tunnel)
    worker.forget(older=0)
    assert soon(lambda: mortals.api.find("Namespace", namespace_of(over.tunnel)) is None)
    mortals.made(over)
    done = mortals.hands().reconcile((), grace=0)
    assert over.tunnel in {getattr(one, "tunnel", "") for one in done}
    assert not mortals.runs(over)


def test_a_worker_that_is_killed_while_it_forgets_has_lost_nothing(mortals: Mortals) -> None:
    known, unknown = [mortals.made() for _ in range(2)], mortals.made()
    for plan in (*known, unknown):
        mortals.hands().stop(plan.tunnel)
    for plan in known:
        mortals.hands().acknowledge(plan.tunnel)
    cut = Cut(1)  # it hears which there are, and dies
    with pytest.raises(KilledError):
        mortals.hands(cut=cut).forget(older=0)
    assert all(remembered(mortals, plan) for plan in known)
    assert mortals.hands().forget(older=0) >= len(known)
    assert not any(remembered(mortals, plan) for plan in known)
    assert remembered(mortals, unknown)
