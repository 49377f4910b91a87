"""All tunnels at a glance, and what a reconcile ends, finishes and leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.adapters.kubernetes_api import Api
from sulku.manifests import POD, namespace_of
from sulku.plan import Alive, EndRecord
from tests.cluster.bench import GATEWAY, Bench
from tests.cluster.cluster import Cluster
from tests.cluster.guarding import client
from tests.cluster.mortal import Mortals
from tests.soon import soon

pytestmark = pytest.mark.draw(3, "overview")


@pytest.fixture
def ours(mortals: Mortals) -> Iterator[Mortals]:
    """Give an installation without a tunnel."""
    yield mortals
    mortals.hands().reconcile((), grace=0)
    assert soon(lambda: not mortals.hands().overview().tunnels)
    for record in mortals.hands().ended():
        mortals.tunnels.acknowledge(record.tunnel)


class Counted(Api):
    """An API server that remembers what it was asked."""

    def call(self, method: str, path: str, *rest: object, **more: object) -> object:
        self.asked = [*getattr(self, "asked", []), (method, path)]
        return super().call(method, path, *rest, **more)  # type: ignore[arg-type]


def test_one_look_names_every_tunnel_and_those_that_ended_by_themselves(ours: Mortals) -> None:
    alive, over = ours.made(), ours.made()
    ours.cluster.kubectl("patch", "pod", POD, "-n", namespace_of(over.tunnel), "--type=merge", "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    assert soon(lambda: over.tunnel in ours.tunnels.overview().stopped)
    seen = ours.tunnels.overview()
    assert {alive.tunnel, over.tunnel} <= seen.tunnels
    assert alive.tunnel not in seen.stopped
    assert [one.cause for one in ours.tunnels.ended() if one.tunnel == over.tunnel] == ["deadline"]
    assert over.tunnel in {one.tunnel for one in ours.tunnels.overview().records}
    ours.tunnels.acknowledge(over.tunnel)
    assert over.tunnel not in {one.tunnel for one in ours.tunnels.overview().records}


def test_a_look_takes_three_calls_however_many_tunnels_there_are_and_brings_names_not_objects(ours: Mortals) -> None:
    plans = [ours.made() for _ in range(3)]
    hands = ours.hands()
    hands._api = Counted(client(ours.cluster))
    before = hands._api.bytes
    assert {one.tunnel for one in plans} <= hands.overview().tunnels
    assert len(hands._api.asked) == 3
    assert hands._api.bytes - before < 2000 * (len(hands.overview().tunnels) + 1)
    whole = ours.cluster.get("pod", POD, "-n", namespace_of(plans[0].tunnel))
    assert len(str(whole)) > 4000  # which is what a call for each would have brought


def test_another_installations_tunnels_are_not_seen_and_not_ended(ours: Mortals, cluster: Cluster, prepared: Path) -> None:
    others = Bench(cluster, prepared, "runc")
    others.tunnels = others.hands(others.place(gateway=(f"{ours.home}-others", GATEWAY)))
    theirs, mine = others.plan(), ours.made()
    try:
        assert others.tunnels.start(theirs).closed
        ours.hands().reconcile((), grace=0)
        assert isinstance(others.tunnels.status(theirs.tunnel), Alive)
        assert others.tunnels.overview().tunnels == {theirs.tunnel}
        assert soon(lambda: mine.tunnel not in ours.tunnels.overview().tunnels)
    finally:
        others.clear()


def test_what_nobody_knows_is_ended_after_its_grace_and_what_lives_is_left(ours: Mortals) -> None:
    live, orphan = ours.made(), ours.made()
    assert ours.tunnels.reconcile([live.tunnel]) == []  # both are young
    done = ours.tunnels.reconcile([live.tunnel], grace=0)
    assert [(one.tunnel, one.cause, one.detail) for one in done if isinstance(one, EndRecord)] == [(orphan.tunnel, "stopped", "nobody knew of it")]
    assert ours.runs(live)
    assert soon(lambda: not ours.left_behind(orphan.tunnel))
    assert ours.tunnels.reconcile([live.tunnel], grace=0) == []


def test_a_live_tunnel_whose_pod_somebody_removed_has_ended(ours: Mortals) -> None:
    plan = ours.made()
    ours.cluster.kubectl("delete", "pod", POD, "-n", namespace_of(plan.tunnel), "--grace-period=1")
    status = ours.tunnels.status(plan.tunnel)
    assert isinstance(status, Alive)  # its worker may be about to make it
    assert status.phase == "busy"
    assert ours.tunnels.reconcile([plan.tunnel], grace=0) == []
    [record] = ours.tunnels.reconcile([plan.tunnel], making=0)
    assert isinstance(record, EndRecord)
    assert (record.tunnel, record.cause, record.detail) == (plan.tunnel, "crashed", "its pod is gone")


def test_a_namespace_that_somebody_else_removes_and_a_volume_that_was_forgotten_are_finished(ours: Mortals) -> None:
    plan = ours.made()
    space = namespace_of(plan.tunnel)
    ours.cluster.kubectl("delete", "namespace", space, "--wait=false")
    done = ours.tunnels.reconcile([plan.tunnel], grace=0)
    assert [one.tunnel for one in done if isinstance(one, EndRecord)] == [plan.tunnel]
    assert soon(lambda: not ours.left_behind(plan.tunnel))
    forgotten = next(one for one in ours.objects(plan) if one["kind"] == "PersistentVolume")
    ours.api.make(forgotten)
    assert ours.tunnels.reconcile(()) == [f"removed volume {forgotten['metadata']['name']}, whose tunnel is gone"]
    assert soon(lambda: not ours.left_behind(plan.tunnel))
    assert ours.tunnels.reconcile(()) == []


def test_claims_that_keep_an_ending_namespace_are_removed(ours: Mortals) -> None:
    plan = ours.made()
    space = namespace_of(plan.tunnel)
    ours.tunnels._api.remove("Pod", POD, space, grace=1)
    assert ours.tunnels._api.gone("Pod", POD, space, seconds=30)
    ours.tunnels._remember(EndRecord(plan.tunnel, "stopped", plan.deadline, 0, 0, home_kept=True))
    ours.cluster.kubectl("delete", "namespace", space, "--wait=false")
    done = ours.tunnels.reconcile(())
    assert all(isinstance(one, str) and space in one for one in done)
    assert soon(lambda: not ours.cluster.get("ns", "-l", f"kubernetes.io/metadata.name={space}")["items"])
