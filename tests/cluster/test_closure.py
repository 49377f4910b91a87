"""Where the network's rules are not kept, no tunnel opens and its report says why; where they come to be broken, the patrol sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.adapters import kubernetes
from sulku.errors import NotProvedClosedError, SandboxError, TunnelEndedError
from sulku.manifests import namespace_of
from sulku.plan import EndRecord
from tests.cluster.bench import Bench, controller_answers
from tests.soon import soon

pytestmark = pytest.mark.draw(1)  # each test, with one of the two kinds of isolation


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a tunnel that is not closed given up sooner than a busy node may need."""
    monkeypatch.setattr(kubernetes, "PROVE_SECONDS", 40)


@contextmanager
def _without_controller(bench: Bench) -> Iterator[None]:
    bench.cluster.kill("netpol")
    try:
        yield
    finally:
        bench.cluster.start("netpol")
        assert soon(controller_answers)


@pytest.mark.alone
@pytest.mark.usefixtures("brief")
def test_without_a_policy_controller_no_tunnel_opens_and_the_report_says_why(bench: Bench) -> None:
    """The API server takes every policy and nobody keeps it: only a probe can tell."""
    plan = bench.plan()
    with _without_controller(bench):
        report = bench.tunnels.start(plan)
    assert not report.closed
    open_ways = {one.way for one in report.attempts if not one.closed}
    assert "canary-tcp" in open_ways
    assert len(open_ways & {"canary-udp", "api-service", "dns-udp"}) >= 2, "of one round: a datagram may be lost"
    assert any(one.strangers for one in report.controls)
    assert any("canary-tcp: open" in one for one in report.problems)
    record = bench.tunnels.status(plan.tunnel)
    assert isinstance(record, EndRecord)
    assert record.cause == "closure-failed"
    with pytest.raises((TunnelEndedError, NotProvedClosedError, SandboxError)):
        bench.tunnels.release(plan.tunnel, bench.volumes)
    assert soon(lambda: not bench.left_behind(plan.tunnel))


def test_with_it_a_tunnel_opens(bench: Bench) -> None:
    assert bench.opened()


@pytest.mark.usefixtures("brief")
def test_a_dead_canary_proves_nothing(bench: Bench) -> None:
    targets = tuple((name, kind, "198.18.0.99" if name.startswith("canary") else host, port) for name, kind, host, port in bench.targets())
    hands = bench.hands(targets=targets)
    hands._around = type(hands._around)(targets, type(bench.canary)(bench.canary.host, 9, bench.canary.key))
    report = hands.start(bench.plan())
    assert not report.closed
    assert not report.breached
    assert {f"control canary-{kind}: missing" for kind in ("tcp", "udp")} <= set(report.problems)


def test_a_policy_that_is_removed_is_seen_by_the_next_patrol(bench: Bench) -> None:
    plan = bench.opened()
    assert bench.tunnels.patrol(plan.tunnel).closed
    bench.cluster.kubectl("delete", "networkpolicy", "closed", "-n", namespace_of(plan.tunnel))
    assert soon(lambda: not bench.tunnels.patrol(plan.tunnel).closed)


@pytest.mark.usefixtures("brief")
def test_a_neighbour_who_may_be_reached_counts_as_open(bench: Bench) -> None:
    """One more target than the fixed ones is as good as they are."""
    plan = bench.plan()
    here = json.dumps(bench.canary.host)
    report = bench.hands(targets=(*bench.targets(), ("self", "tcp", "127.0.0.1", 8889))).start(plan)
    assert not report.closed, here
    assert any(problem.startswith("self: open") for problem in report.problems)
