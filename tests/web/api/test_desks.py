"""On a cluster the broker raises nothing: it says where the worker has raised a workspace, and only while the record says that it lives.

On one machine it raises them itself, and one that it could not raise is over.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from broker.desks import Elsewhere, Here
from broker.flows import tunnels
from sulku.closure import ClosureReport
from sulku.errors import ClusterUnavailableError, PolicyUnavailableError, RuleError, SandboxError, SulkuError, WorkspaceNotReadyError
from sulku.people import Role
from sulku.plan import Alive
from sulku.tunnels import Cause
from tests.web.api.test_nouns import approved
from tests.web.rig import Rig

PLACE = "http://10.244.0.7:8888"
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


@pytest.fixture
def desk(rig: Rig) -> Elsewhere:
    wired: Any = SimpleNamespace(store=rig.ports.store, workspace_token=lambda tunnel: f"token of {tunnel}")
    return Elsewhere(wired)


@pytest.fixture
def tunnel(rig: Rig) -> str:
    permit = approved(rig)["permit"]
    receipt = tunnels.open_(rig.ports, rig.actor("aino", Role.RESEARCHER), permit, 60)
    return next(one for one in receipt.facts if one.startswith("tun_"))


def test_a_workspace_that_is_up_is_where_the_worker_said(desk: Elsewhere, rig: Rig, tunnel: str) -> None:
    tunnels.prove(rig.ports, tunnel, ClosureReport(tunnel, True, (), (), (), 1))
    assert not desk.running(tunnel)
    with pytest.raises(RuleError, match="does not run"):
        desk.start(tunnel)
    rig.ports.store.places.put(tunnel, PLACE, NOW)
    assert desk.running(tunnel)
    assert desk.start(tunnel) == PLACE
    assert desk.addresses([rig.ports.store.peek([tunnel])[tunnel]]) == {tunnel: PLACE}
    assert desk.token(tunnel) == f"token of {tunnel}"


def test_a_place_that_was_left_behind_leads_nowhere_once_the_tunnel_is_over(desk: Elsewhere, rig: Rig, tunnel: str) -> None:
    rig.ports.store.places.put(tunnel, PLACE, NOW)
    assert desk.running(tunnel)
    tunnels.finish(rig.ports, tunnel, Cause.HALT, tunnels.CLOCK, "for the test")
    assert not desk.running(tunnel)
    with pytest.raises(RuleError):
        desk.start(tunnel)


def test_the_hubs_stop_ends_nothing(desk: Elsewhere, rig: Rig, tunnel: str) -> None:
    rig.ports.store.places.put(tunnel, PLACE, NOW)
    desk.stop(tunnel)
    assert desk.running(tunnel)
    assert rig.ports.store.peek([tunnel])[tunnel].state == "requested"


class Sandbox:
    """A sandbox that fails to start, or to answer."""

    def __init__(self, error: SulkuError, *, runs: bool = False) -> None:
        self.error, self.runs = error, runs

    def status(self, tunnel: str) -> Alive | None:
        return Alive(tunnel, "released", 1000, 3) if self.runs else None

    def start(self, _: object) -> None:
        raise self.error

    def wait_ready(self, *_: object) -> None:
        raise self.error


def here(rig: Rig, sandbox: Sandbox) -> Here:
    wired: Any = SimpleNamespace(ports=rig.ports, store=rig.ports.store, sandbox=sandbox, vault=None, plan=lambda known: SimpleNamespace(tunnel=known.id))
    return Here(wired)


@pytest.mark.parametrize("error", [SandboxError("it did not start"), PolicyUnavailableError("down"), ClusterUnavailableError("away")])
def test_a_sandbox_that_could_not_be_raised_is_over_as_the_hub_destroys_it(rig: Rig, tunnel: str, error: SulkuError) -> None:
    with pytest.raises(type(error)):
        here(rig, Sandbox(error)).start(tunnel)
    assert rig.ports.store.peek([tunnel])[tunnel].cause is Cause.FAILED


def test_an_open_tunnel_that_the_hub_asks_for_again_is_not_over_because_it_is_slow(rig: Rig, tunnel: str) -> None:
    tunnels.prove(rig.ports, tunnel, ClosureReport(tunnel, True, (), (), (), 1))
    tunnels.opened(rig.ports, tunnel)
    with pytest.raises(WorkspaceNotReadyError):
        here(rig, Sandbox(WorkspaceNotReadyError("busy"), runs=True)).start(tunnel)
    assert rig.ports.store.peek([tunnel])[tunnel].state == "open"
