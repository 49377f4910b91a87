"""The worker's rounds on a cluster: a tunnel that is not closed ends, one that ended is recorded, and a changed guard is in the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from broker.worker.handlers import Watch
from broker.worker.keeper import AT_ONCE, BLIND, GLANCE, LOOK, REPAIR, SILENT, STUCK, TIDY, Keeper
from sulku import guards, ids
from sulku.clearance import Query, Refusal
from sulku.closure import POD_CONTROLS, POD_WAYS, Attempt, ClosureReport, Control, judge
from sulku.errors import GateUnavailableError, PolicyUnavailableError, TunnelEndedError, WorkspaceUnavailableError
from sulku.manifests import Overview
from sulku.plan import EndRecord
from sulku.tunnels import Cause
from tests.faults.world import Broker, World

EVERY = 30.0


@dataclass
class Yard:
    """A cluster of the remembering world: its probes answer as a test has them."""

    world: World
    answer: Callable[[str], ClosureReport]
    acknowledged: set[str] = field(default_factory=set)
    rounds: list[str] = field(default_factory=list)
    living: list[Collection[str]] = field(default_factory=list)
    tidied: int = 0

    def overview(self) -> Overview:
        fresh = [record for tunnel, record in self.world.records.items() if tunnel not in self.acknowledged]
        return Overview(frozenset(self.world.alive), (), tuple(fresh))

    def ended(self) -> Sequence[EndRecord]:
        return self.overview().records

    def acknowledge(self, tunnel: str) -> None:
        self.acknowledged.add(tunnel)

    def reconcile(self, live: Collection[str]) -> list[str]:
        self.living.append(live)
        return []

    def forget(self) -> int:
        self.tidied += 1
        return 0

    def patrol(self, tunnel: str) -> ClosureReport:
        self.rounds.append(tunnel)
        return self.answer(tunnel)

    def status(self, tunnel: str) -> object:
        return self.world.status(tunnel)

    def stop(self, tunnel: str) -> EndRecord:
        self.world.end(tunnel, "crashed")
        return self.world.records[tunnel]


@dataclass
class Kept:
    """A keeper, its cluster and a stopwatch that the test moves."""

    made: Broker
    yard: Yard
    keeper: Keeper
    seconds: list[float]
    forgotten: list[str]

    def pass_by(self, seconds: float) -> None:
        """Let time go by, sweep once, and wait for the rounds that began."""
        self.seconds[0] += seconds
        self.made.watch.tick()
        until = time.monotonic() + 20
        while any(not one.done() for one, _ in self.keeper._running.values()) and time.monotonic() < until:
            time.sleep(0.005)

    def state(self, tunnel: str) -> tuple[str, Cause | None]:
        found = self.made.read(tunnel)
        return found.state, found.cause


def report(tunnel: str, *, hole: str = "", strangers: int = 0, alive: bool = True) -> ClosureReport:
    attempts = [Attempt(way, way != hole, "refused") for way in sorted(POD_WAYS)]
    controls = [Control(name, alive, strangers) for name in sorted(POD_CONTROLS)]
    return judge(tunnel, attempts, controls, 5, ways=POD_WAYS, needed=POD_CONTROLS)


class Dead:
    """A policy that does not answer."""

    def ask(self, query: Query) -> Any:
        error = PolicyUnavailableError("nobody answers")
        error.refusal = Refusal(query.by, query.action, query.target, (error.code,))
        raise error


@pytest.fixture
def look() -> list[guards.Look]:
    """What the next looks at the guards find; the last one stays."""
    return [guards.Look((), {("ClusterRole", "worker"): "1"})]


@pytest.fixture
def kept(made: Broker, look: list[guards.Look]) -> Iterator[Kept]:
    seconds, forgotten = [1000.0], list[str]()
    yard = Yard(made.world, report)
    def see() -> guards.Look:
        return look.pop(0) if len(look) > 1 else look[0]

    keeper = Keeper(made.ports, made.neighbours, yard, forgotten.append, every=EVERY, look=see, monotonic=lambda: seconds[0])  # type: ignore[arg-type]
    made.watch = Watch(made.ports, made.neighbours, lambda: None, lambda: None, keeper.tick)
    yield Kept(made, yard, keeper, seconds, forgotten)
    keeper.stop()


# --- patrol -------------------------------------------------------------------------------------------------------------


def test_every_open_tunnel_is_tried_again_and_again_and_a_closed_one_stays_open(kept: Kept) -> None:
    one, other = kept.made.tunnel(), kept.made.tunnel(kept.made.permit(), who="aki")
    kept.pass_by(0)
    assert kept.yard.rounds == [], "its opening has just proved it"
    for _ in range(3):
        kept.pass_by(EVERY)
    assert sorted(kept.yard.rounds) == sorted([one, other] * 3)
    assert kept.state(one) == kept.state(other) == ("open", None)


@pytest.mark.parametrize("leak", [{"hole": "api-service"}, {"strangers": 1}])
def test_a_tunnel_out_of_which_something_got_is_ended_at_once_and_the_record_says_how(kept: Kept, leak: dict[str, Any]) -> None:
    leaky, sound = kept.made.tunnel(), kept.made.tunnel(kept.made.permit(), who="aki")
    kept.pass_by(0)
    kept.yard.answer = lambda tunnel: report(tunnel, **leak) if tunnel == leaky else report(tunnel)
    kept.pass_by(EVERY)
    assert kept.state(leaky) == ("closed", Cause.NOT_CLOSED)
    assert leaky not in kept.made.world.alive
    assert "got out" in kept.made.read(leaky).detail
    assert kept.state(sound) == ("open", None), "its neighbour is not to blame"
    kinds = [entry["type"] for entry in kept.made.ledger(record=leaky)]
    assert kinds.index("tunnel.ended") < kinds.index("tunnel.closing"), "newest first: it was recorded, and then it was over"


def silent(_: str) -> ClosureReport:
    raise WorkspaceUnavailableError("nobody answers")


def no_gateway(_: str) -> ClosureReport:
    raise GateUnavailableError("nobody answers")


def no_canary(tunnel: str) -> ClosureReport:
    return report(tunnel, alive=False)


@pytest.mark.parametrize(("answer", "rounds"), [(silent, SILENT), (no_gateway, BLIND), (no_canary, BLIND)])
def test_rounds_that_cannot_be_had_end_a_tunnel_soon_if_its_probe_is_silent_and_later_if_we_are_blind(
    kept: Kept, answer: Callable[[str], ClosureReport], rounds: int
) -> None:
    tunnel = kept.made.tunnel(minutes=240)
    kept.pass_by(0)
    for _ in range(2):  # one fewer, and a round that was had: the count begins anew
        kept.yard.answer = answer
        for _ in range(rounds - 1):
            kept.pass_by(EVERY)
        kept.yard.answer = report
        kept.pass_by(EVERY)
    assert kept.state(tunnel) == ("open", None)
    kept.yard.answer = answer
    for _ in range(rounds):
        kept.pass_by(EVERY)
    assert kept.state(tunnel) == ("closed", Cause.NOT_CLOSED)


def test_a_probe_that_hangs_keeps_no_other_tunnel_from_being_tried(kept: Kept) -> None:
    slow, quick = kept.made.tunnel(), kept.made.tunnel(kept.made.permit(), who="aki")
    assert AT_ONCE > 1
    kept.pass_by(0)
    waiting, over = [], threading.Event()

    def answer(tunnel: str) -> ClosureReport:
        if tunnel == slow:
            waiting.append(tunnel)
            over.wait(20)
        return report(tunnel)

    kept.yard.answer = answer
    for rounds in (1, 2, 3):
        kept.seconds[0] += EVERY
        until = time.monotonic() + 10
        while (kept.yard.rounds.count(quick) < rounds or not waiting) and time.monotonic() < until:
            kept.made.watch.tick()
            time.sleep(0.01)
        assert kept.yard.rounds.count(quick) == rounds
    over.set()
    assert len(waiting) == 1, "the same probe was asked twice at once"


# --- what ended by itself -------------------------------------------------------------------------------------------------


def test_a_pod_that_ended_by_itself_is_recorded_once_and_then_acknowledged(kept: Kept) -> None:
    tunnel = kept.made.tunnel()
    kept.pass_by(0)
    kept.made.world.end(tunnel, "deadline")
    for _ in range(3):
        kept.pass_by(GLANCE)
    assert kept.state(tunnel) == ("closed", Cause.DEADLINE)
    assert kept.yard.acknowledged == {tunnel}
    assert kept.forgotten == [tunnel]
    assert [entry["type"] for entry in kept.made.ledger(record=tunnel)].count("tunnel.ended") == 1


def test_a_tunnel_whose_pod_somebody_took_away_is_over_at_its_next_round(kept: Kept) -> None:
    def gone(tunnel: str) -> ClosureReport:
        raise TunnelEndedError(f"{tunnel} has ended")

    tunnel = kept.made.tunnel()
    kept.pass_by(0)
    kept.yard.answer = gone
    kept.pass_by(EVERY)
    assert kept.state(tunnel) == ("closed", Cause.LOST)
    assert set(kept.forgotten) == {tunnel}
    assert [entry["type"] for entry in kept.made.ledger(record=tunnel)].count("tunnel.ended") == 1


def test_a_tunnel_of_which_the_cluster_knows_nothing_is_lost(kept: Kept) -> None:
    tunnel = kept.made.tunnel()
    kept.made.world.alive.discard(tunnel)
    kept.pass_by(GLANCE)
    assert kept.state(tunnel) == ("closed", Cause.LOST)


def test_a_tunnel_that_was_only_asked_for_is_not_lost_for_want_of_a_pod(kept: Kept) -> None:
    tunnel = kept.made.requested(kept.made.permit())
    kept.pass_by(GLANCE)
    assert kept.state(tunnel) == ("requested", None)


def test_the_repair_is_told_every_live_tunnel_and_no_other(kept: Kept) -> None:
    over, lives = kept.made.tunnel(), kept.made.tunnel(kept.made.permit(), who="aki")
    asked = kept.made.requested(kept.made.permit(people=[]), who="ada")
    kept.made.world.end(over, "deadline")
    kept.pass_by(REPAIR)
    kept.pass_by(REPAIR)
    assert set(kept.yard.living[-1]) == {lives, asked}


# --- what nobody recorded ---------------------------------------------------------------------------------------------------


def strays(made: Broker) -> list[str]:
    return [entry["body"]["tunnel"] for entry in made.ledger(type="ledger.stray-ended")]


def test_the_end_of_a_tunnel_that_is_in_no_record_is_in_the_ledger_once(kept: Kept) -> None:
    known, stray = kept.made.tunnel(), ids.new("tun")
    kept.pass_by(0)
    for one in (known, stray):
        kept.made.world.end(one, "stopped")
    kept.pass_by(GLANCE)
    assert strays(kept.made) == [stray]
    kept.yard.acknowledged.clear()  # whoever wrote it down was killed before they said so
    kept.pass_by(GLANCE)
    assert strays(kept.made) == [stray]
    assert kept.yard.acknowledged == {known, stray}
    assert kept.state(known)[0] == "closed"


def test_a_stray_that_cannot_be_recorded_yet_is_kept_and_keeps_nobody_else(kept: Kept) -> None:
    stray, known = ids.new("tun"), kept.made.tunnel()
    kept.pass_by(0)
    for one in (stray, known):
        kept.made.world.end(one, "stopped")
    alive = kept.made.ports
    kept.keeper._ports = replace(alive, policy=Dead())
    with pytest.raises(PolicyUnavailableError):
        kept.pass_by(GLANCE)
    assert kept.yard.acknowledged == {known}
    assert kept.state(known)[0] == "closed"
    kept.keeper._ports = alive
    kept.pass_by(GLANCE)
    assert strays(kept.made) == [stray]


# --- guards ---------------------------------------------------------------------------------------------------------------


def alarms(made: Broker) -> list[tuple[str, str, str]]:
    return [(entry["body"]["kind"], entry["body"]["name"], entry["body"]["how"]) for entry in made.ledger(type="ledger.guard-departed")]


def test_guards_as_installed_raise_no_alarm(kept: Kept) -> None:
    for _ in range(3):
        kept.pass_by(LOOK)
    assert alarms(kept.made) == []


def test_a_guard_that_departs_is_in_the_ledger_once_and_again_when_it_departs_otherwise(kept: Kept, look: list[guards.Look]) -> None:
    gone = guards.Departure("ValidatingAdmissionPolicy", "pods", "missing")
    changed = guards.Departure("ValidatingAdmissionPolicy", "pods", "changed", ("spec.failurePolicy",))
    look[:] = [guards.Look(()), guards.Look((gone,)), guards.Look((gone,)), guards.Look((changed,)), guards.Look(()), guards.Look((gone,))]
    for _ in range(7):
        kept.pass_by(LOOK)
    told = [("ValidatingAdmissionPolicy", "pods", how) for how in ("missing", "changed", "missing")]
    assert alarms(kept.made) == told


def test_a_guard_that_was_changed_and_changed_back_between_two_looks_is_noticed(kept: Kept, look: list[guards.Look]) -> None:
    key = ("ClusterRole", "worker")
    look[:] = [guards.Look((), {key: "uid 1"}), guards.Look((), {key: "uid 3"})]
    for _ in range(3):
        kept.pass_by(LOOK)
    assert alarms(kept.made) == [("ClusterRole", "worker", "touched")]


def test_an_alarm_that_could_not_be_recorded_is_raised_at_the_next_look(kept: Kept, look: list[guards.Look]) -> None:
    alive = kept.made.ports
    look[:] = [guards.Look((guards.Departure("ClusterRole", "worker", "missing"),))]
    kept.keeper._ports = replace(alive, policy=Dead())
    with pytest.raises(PolicyUnavailableError):
        kept.pass_by(LOOK)
    kept.keeper._ports = alive
    kept.pass_by(LOOK)
    assert alarms(kept.made) == [("ClusterRole", "worker", "missing")]




def test_what_need_not_be_remembered_is_removed_once_an_hour(kept: Kept) -> None:
    for seconds in (0, GLANCE, TIDY - 2 * GLANCE):
        kept.pass_by(seconds)
    assert kept.yard.tidied == 1
    kept.pass_by(GLANCE)
    assert kept.yard.tidied == 2


def test_a_round_that_never_ends_is_seen_as_stuck_and_the_worker_then_beats_no_more(kept: Kept) -> None:
    tunnel, began, go_on = kept.made.tunnel(), threading.Event(), threading.Event()
    kept.pass_by(0)

    def hang(asked: str) -> ClosureReport:
        began.set()
        go_on.wait(60)
        return report(asked)

    kept.yard.answer = hang
    kept.seconds[0] += EVERY
    kept.made.watch.tick()
    assert began.wait(60)
    assert not kept.keeper.stuck
    kept.seconds[0] += STUCK
    assert kept.keeper.stuck
    go_on.set()
    kept.pass_by(0)
    assert not kept.keeper.stuck
    assert kept.state(tunnel) == ("open", None)


def test_a_round_that_only_waited_long_for_its_turn_is_not_stuck(kept: Kept) -> None:
    kept.made.tunnel()
    kept.made.tunnel()
    kept.pass_by(0)
    go_on, began = threading.Event(), threading.Semaphore(0)

    def hang(asked: str) -> ClosureReport:
        began.release()
        go_on.wait(60)
        return report(asked)

    kept.yard.answer = hang
    kept.keeper._pool = ThreadPoolExecutor(1)
    kept.seconds[0] += EVERY
    kept.made.watch.tick()
    assert began.acquire(timeout=60)
    kept.seconds[0] += STUCK - 1  # the first takes long, and the second waits for it
    go_on.set()
    assert began.acquire(timeout=60)
    kept.seconds[0] += 1
    assert not kept.keeper.stuck
