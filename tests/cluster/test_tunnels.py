"""A tunnel on a real cluster: proved closed, released, read-only inside, ended by whoever is first, and then gone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from broker.adapters import podline
from broker.adapters.kubernetes_endings import containers
from sulku.closure import POD_WAYS
from sulku.errors import NotProvedClosedError, TunnelEndedError, WorkspaceNotReadyError
from sulku.manifests import POD, PROVE, WORKSPACE, namespace_of
from sulku.plan import Alive, EndRecord
from tests.cluster.bench import Bench, now, token
from tests.soon import soon

pytestmark = pytest.mark.draw(1)  # each test, with one of the two kinds of isolation


def test_a_sound_pod_is_proved_closed_by_every_way_and_every_control(bench: Bench) -> None:
    plan = bench.plan()
    report = bench.tunnels.start(plan)
    assert report.closed, report.problems
    assert {one.way for one in report.attempts} >= POD_WAYS
    assert all(one.alive and not one.strangers for one in report.controls)


def test_nothing_starts_before_the_release_and_the_workspace_answers_after_it(bench: Bench) -> None:
    plan = bench.plan()
    bench.tunnels.start(plan)
    states = {one["name"]: one["state"] for one in bench.pod(POD, namespace_of(plan.tunnel))["status"]["containerStatuses"]}
    assert "waiting" in states[WORKSPACE]
    proofs = bench.tunnels.release(plan.tunnel, bench.volumes)
    assert [(one.name, one.refused, one.files) for one in proofs] == [("flchain", "EROFS", 1)]
    assert bench.tunnels.wait_ready(plan.tunnel, 60).startswith("http://10.244.")
    status = bench.tunnels.status(plan.tunnel)
    assert isinstance(status, Alive)
    assert status.phase == "released"


def test_a_release_without_a_proof_is_refused(bench: Bench) -> None:
    plan = bench.plan()
    bench.tunnels.start(plan)
    stranger = bench.hands()  # a worker that has not seen the proof
    with pytest.raises(NotProvedClosedError):
        stranger.release(plan.tunnel, bench.volumes)
    states = {one["name"]: one["state"] for one in bench.pod(POD, namespace_of(plan.tunnel))["status"]["initContainerStatuses"]}
    assert "running" in states[PROVE]


def test_stopping_leaves_nothing_and_a_late_opening_does_nothing(bench: Bench) -> None:
    plan = bench.opened()
    record = bench.tunnels.stop(plan.tunnel)
    assert (record.cause, record.processes_left, record.mounts_left) == ("stopped", 0, 0)
    assert bench.tunnels.stop(plan.tunnel) == record
    assert soon(lambda: not bench.left_behind(plan.tunnel))
    with pytest.raises(TunnelEndedError):
        bench.tunnels.start(plan)
    assert record in bench.tunnels.ended()
    bench.tunnels.acknowledge(plan.tunnel)
    assert record not in bench.tunnels.ended()
    with pytest.raises(TunnelEndedError):
        bench.tunnels.start(plan)


def test_what_was_shown_before_the_release_is_shown_again_to_whoever_repeats_it(bench: Bench) -> None:
    """A worker may be killed at any moment: the next one has the same proofs, also when JupyterLab serves already."""
    plan = bench.plan()
    assert bench.tunnels.start(plan).closed
    proofs = bench.tunnels.release(plan.tunnel, bench.volumes)
    bench.tunnels.wait_ready(plan.tunnel, 60)
    other = bench.hands()
    assert other.start(plan).closed
    assert other.release(plan.tunnel, bench.volumes) == proofs
    assert other.wait_ready(plan.tunnel, 60)


def test_an_address_that_another_tunnel_has_now_is_not_given_out_and_no_token_or_key_is_ever_sent(bench: Bench) -> None:
    """The worker only seals with them. An address is reused when its pod is gone; whoever has it then cannot answer for this tunnel."""
    sent: list[bytes] = []
    plan, other = bench.plan(), bench.opened()
    hands = bench.hands()

    def listening(host: str, port: int, line: bytes, seconds: float) -> bytes:
        sent.append(line)
        return podline.direct(host, port, line, seconds)

    hands._reach = listening
    assert hands.start(plan).closed
    hands.release(plan.tunnel, bench.volumes)
    assert hands.wait_ready(plan.tunnel, 60)
    secrets = (token(plan.tunnel), token(other.tunnel), hands._key(plan.tunnel), hands._key(other.tunnel))
    assert len(sent) > 10
    assert not any(secret[:16].encode() in line for secret in secrets for line in sent)
    taken = bench.pod(POD, namespace_of(other.tunnel))["status"]["podIP"]
    hands._address = lambda _: taken  # type: ignore[method-assign]
    with pytest.raises(WorkspaceNotReadyError):
        hands.wait_ready(plan.tunnel, 3)


def test_the_kubelet_ends_a_tunnel_at_its_deadline_while_the_broker_does_nothing(bench: Bench) -> None:
    plan = bench.opened()
    deadline = now() + timedelta(seconds=3)
    bench.tunnels.shorten(plan.tunnel, deadline)
    assert soon(lambda: bench.pod(POD, namespace_of(plan.tunnel))["status"]["phase"] == "Failed")
    ends = [one["state"]["terminated"]["finishedAt"] for one in containers(bench.pod(POD, namespace_of(plan.tunnel)))]
    assert timedelta(seconds=-1) <= datetime.fromisoformat(max(ends)) - deadline < timedelta(seconds=10), "by the node's own record, in whole seconds"
    record = bench.tunnels.status(plan.tunnel)
    assert isinstance(record, EndRecord)
    assert record.cause == "deadline"


def test_until_its_deadline_a_tunnel_lives_and_its_patrol_finds_nothing(bench: Bench) -> None:
    plan = bench.opened()
    report = bench.tunnels.patrol(plan.tunnel)
    assert report.closed, report.problems
    assert isinstance(bench.tunnels.status(plan.tunnel), Alive)
