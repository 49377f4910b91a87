"""A tunnel never outlives its deadline or its permit, no data enters before the proof, and an honest one opens."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sulku import mounts, nouns
from sulku.errors import IllegalMoveError, PermitNotLiveError, RefusalError, RuleError
from sulku.events import Event
from sulku.permits import MACHINE as PERMITS
from sulku.permits import Document, Grant, Issued, Limits, Permit, Resume, Revoke, Suspend, require_live
from sulku.permits import State as PermitState
from sulku.permits import decide as decide_permit
from sulku.permits import evolve as evolve_permit
from sulku.tunnels import (
    LIVE,
    MACHINE,
    Cause,
    ClosureProved,
    Ended,
    Open,
    Opened,
    State,
    Tunnel,
    close,
    evolve,
    request,
    require_enterable,
)

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
PER, TUN, MNT = "per_" + "0" * 16, "tun_" + "0" * 16, "mnt_" + "0" * 16
GRANT = Grant("dst_1", "flchain", "1", "d" * 64, ("age",), "special")
PAPER = Document(
    schema="sulku-permit/1",
    id=PER,
    revision=1,
    application="app_1",
    title="Light chains",
    purpose="",
    organisation="Uni",
    people=("usr_ada",),
    grants=(GRANT,),
    starts=START - timedelta(days=1),
    ends=START + timedelta(hours=3),
    limits=Limits(),
    profile="default",
    approved_by=("usr_bo", "usr_cy"),
    issued=START,
    checkpoint="",
)


def permit() -> Permit:
    return evolve_permit(nouns.begin(PER), Issued(PAPER, "{}", "0" * 64, 1, "app_1"))


def requested(minutes: int = 60, *, of: Permit | None = None, person: str = "usr_ada", live: int = 0, at: datetime = START) -> Tunnel:
    happened = request(TUN, Open(PER, minutes), of or permit(), person, live, 0, decision="dec_1", at=at)
    return evolve(nouns.begin(TUN), happened.event)


class Lifecycle(RuleBasedStateMachine):
    """Time moves, permits change, clocks fire in any order; keeps its own account of proof and end."""

    def __init__(self) -> None:
        super().__init__()
        self.at = START
        self.permit = permit()
        self.tunnel = nouns.begin(TUN)
        self.history: list[Event] = []
        self.proved = self.over = False
        self.mounted = False

    def take(self, event: Event) -> None:
        self.history.append(event)
        self.tunnel = evolve(self.tunnel, event)

    @rule(minutes=st.integers(0, 500), person=st.sampled_from(["usr_ada", "usr_eve"]))
    def request(self, minutes: int, person: str) -> None:
        if self.tunnel.version:
            return
        try:
            self.take(request(TUN, Open(PER, minutes), self.permit, person, 0, 0, decision="dec_1", at=self.at).event)
        except RefusalError:
            return
        assert person == "usr_ada"
        assert self.at + timedelta(minutes=minutes) <= PAPER.ends

    @rule()
    def prove(self) -> None:
        try:
            MACHINE.after(self.tunnel.state, "prove")
        except RefusalError:
            return
        self.take(ClosureProved(50, 6, "r" * 64))
        self.proved = True

    @rule(grant=st.sampled_from([GRANT, replace(GRANT, version="2"), replace(GRANT, variables=("age", "name"))]))
    def mount(self, grant: Grant) -> None:
        try:
            mounts.attach(MNT, self.tunnel, grant, PAPER, self.at)
        except RefusalError:
            return
        self.mounted = True
        assert self.proved
        assert grant == GRANT

    @rule()
    def open(self) -> None:
        try:
            MACHINE.after(self.tunnel.state, "open")
        except RefusalError:
            return
        self.take(Opened(self.at))

    @rule(cause=st.sampled_from(Cause))
    def close(self, cause: Cause) -> None:
        for one in close(self.tunnel, cause, self.at):
            self.take(one.event)
            self.over = True

    @rule()
    def end(self) -> None:
        if self.tunnel.state is State.CLOSING:
            self.take(Ended(self.at, 0, 0, "deadline", ""))

    @rule(minutes=st.integers(1, 90))
    def wait(self, minutes: int) -> None:
        self.at += timedelta(minutes=minutes)

    @invariant()
    def history_is_the_truth(self) -> None:
        assert nouns.replay(TUN, self.history) == self.tunnel

    @invariant()
    def nobody_is_inside_past_the_deadline_or_after_the_end(self) -> None:
        try:
            require_enterable(self.tunnel, self.at)
        except RefusalError:
            return
        assert not self.over
        assert self.tunnel.deadline is not None
        assert self.at < self.tunnel.deadline <= PAPER.ends

    @invariant()
    def an_end_is_for_ever_and_moves_the_epoch(self) -> None:
        if self.over:
            assert self.tunnel.state not in LIVE
            assert self.tunnel.epoch == 2


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)


def test_an_honest_tunnel_opens_and_is_entered() -> None:
    tunnel = requested()
    for event in (ClosureProved(50, 6, "r" * 64), Opened(START)):
        tunnel = evolve(tunnel, event)
    require_enterable(tunnel, START + timedelta(minutes=59))
    mounts.attach(MNT, evolve(requested(), ClosureProved(50, 6, "r" * 64)), GRANT, PAPER, START)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"person": "usr_eve"}, "not-on-permit"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": -5}, "minutes"),
        ({"minutes": 481}, "minutes"),
        ({"minutes": 181}, "beyond-permit"),
        ({"live": 1}, "too-many-tunnels"),
    ],
)
def test_what_is_refused(change: dict, code: str) -> None:
    with pytest.raises(RuleError) as refused:
        requested(**change)
    assert refused.value.rule == code


@pytest.mark.parametrize(
    ("of", "at"),
    [
        (replace(permit(), state=PermitState.SUSPENDED), START),
        (replace(permit(), state=PermitState.REVOKED), START),
        (replace(permit(), state=PermitState.SUPERSEDED), START),
        (permit(), PAPER.starts - timedelta(milliseconds=1)),
        (permit(), PAPER.ends),
        (nouns.begin(PER), START),
    ],
    ids=["suspended", "revoked", "superseded", "early", "expired", "never-issued"],
)
def test_no_tunnel_without_a_live_permit(of: Permit, at: datetime) -> None:
    with pytest.raises(PermitNotLiveError):
        requested(1, of=of, at=at)


def test_a_second_end_changes_nothing() -> None:
    tunnel = evolve(requested(), close(requested(), Cause.DEADLINE, START)[0].event)
    assert close(tunnel, Cause.HALT, START) == ()


def test_a_late_proof_of_an_ended_tunnel_is_illegal() -> None:
    tunnel = evolve(requested(), close(requested(), Cause.HALT, START)[0].event)
    with pytest.raises(IllegalMoveError):
        MACHINE.after(tunnel.state, "prove")


def test_a_permit_is_suspended_resumed_and_revoked() -> None:
    held = permit()
    for command, state in [(Suspend("a steward asked for it"), "suspended"), (Resume(), "active"), (Revoke("the purpose has ended"), "revoked")]:
        held = evolve_permit(held, decide_permit(held, command)[0].event)
        assert held.state == state
    with pytest.raises(IllegalMoveError):
        decide_permit(held, Resume())


def test_a_suspension_needs_a_reason() -> None:
    with pytest.raises(RuleError):
        decide_permit(permit(), Suspend("no"))


def test_a_live_permit_is_live_to_its_last_moment() -> None:
    assert require_live(permit(), PAPER.ends - timedelta(milliseconds=1)) == PAPER
    assert PERMITS.moves(PermitState.REVOKED) == frozenset()
