"""On a cluster the broker raises nothing: it says where the worker has raised a workspace, and only while the record says that it lives."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from broker.desks import Elsewhere
from broker.flows import tunnels
from sulku.closure import ClosureReport
from sulku.errors import RuleError
from sulku.people import Role
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
