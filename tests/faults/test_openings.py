"""A part that is away for a moment while a tunnel opens costs a moment; away for longer, or a plain no, ends it with nothing left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from broker.flows import tunnels
from broker.worker.handlers import AWAY, OPENING
from sulku.errors import IsolationUnavailableError, SandboxError, SulkuError, TunnelEndedError, WorkspaceNotReadyError
from sulku.tunnels import Cause, State
from tests.faults.world import Broker

STEPS = (
    "hub.start",
    "workspace.start",
    "workspace.started",
    "vault.materialise",
    "workspace.release",
    "workspace.released",
    "workspace.ready",
    "hub.started",
)
FINAL = {
    "isolation": lambda: IsolationUnavailableError(["a guard"]),
    "sandbox": lambda: SandboxError("the pod does not come up"),
    "ended": lambda: TunnelEndedError("it has ended"),
    "not-ready": lambda: WorkspaceNotReadyError("it does not answer"),
}


def failing(step: str, error: Callable[[], SulkuError], times: int = 1_000_000) -> Callable[[str], None]:
    """Return what has the first ``times`` calls of a step fail."""
    left = [times]

    def fail(asked: str) -> None:
        if asked == step and left[0]:
            left[0] -= 1
            raise error()

    return fail


def lived(made: Broker, tunnel: str) -> Counter[str]:
    return Counter(entry["type"] for entry in made.ledger(record=tunnel))


def pass_time(made: Broker, time: timedelta) -> None:
    """Let time pass second by second, with all that is due done."""
    end = made.clock.at + time
    while made.clock.at < end:
        made.clock.at += timedelta(seconds=1)
        made.work()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("away", AWAY)
def test_a_part_that_is_away_for_a_moment_delays_an_opening_and_no_more(made: Broker, away: type[SulkuError], step: str) -> None:
    made.world.fail = failing(step, lambda: away("killed"), times=2)
    tunnel = made.requested(made.permit())
    made.work()
    assert made.read(tunnel).state in {State.REQUESTED, State.PROVED}
    pass_time(made, timedelta(seconds=5))
    assert made.read(tunnel).state is State.OPEN
    assert made.world.alive == made.world.served == {tunnel}
    events = lived(made, tunnel)
    assert [events[one] for one in ("tunnel.requested", "tunnel.closure-proved", "tunnel.opened")] == [1, 1, 1], "it is recorded once"
    assert len(made.ports.store.find("mnt", tunnel=tunnel)) == 1, "what was mounted is mounted once"
    assert made.store.outbox.troubles() == []


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("away", AWAY)
def test_a_part_that_stays_away_ends_the_opening_and_nothing_is_left(made: Broker, away: type[SulkuError], step: str) -> None:
    made.world.fail = failing(step, lambda: away("gone"))
    tunnel = made.requested(made.permit())
    made.work()
    pass_time(made, OPENING - timedelta(seconds=5))
    assert made.read(tunnel).state in {State.REQUESTED, State.PROVED}, "there was still time"
    pass_time(made, timedelta(seconds=30))
    assert (made.read(tunnel).state, made.read(tunnel).cause) == (State.CLOSED, Cause.FAILED)
    assert not made.world.alive | made.world.served
    assert lived(made, tunnel)["tunnel.ended"] == 1
    asked = len(made.world.asked)
    pass_time(made, timedelta(minutes=3))
    assert "hub.start" not in made.world.asked[asked:], "it is over and is tried again"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("why", FINAL)
def test_a_plain_no_ends_the_opening_at_once(made: Broker, why: str, step: str) -> None:
    made.world.fail = failing(step, FINAL[why])
    tunnel = made.requested(made.permit())
    made.work()
    assert (made.read(tunnel).state, made.read(tunnel).cause) == (State.CLOSED, Cause.FAILED)
    assert not made.world.alive | made.world.served


@pytest.mark.parametrize("step", STEPS)
def test_who_ends_a_tunnel_that_is_about_to_be_tried_again_is_not_surprised_by_it(made: Broker, step: str) -> None:
    made.world.fail = failing(step, lambda: AWAY[0]("killed"), times=1)
    tunnel = made.requested(made.permit())
    made.work()
    tunnels.close(made.ports, made.by("ada"), tunnel)
    pass_time(made, timedelta(minutes=2))
    assert (made.read(tunnel).state, made.read(tunnel).cause) == (State.CLOSED, Cause.PERSON)
    assert not made.world.alive | made.world.served
    assert lived(made, tunnel)["tunnel.opened"] == 0
