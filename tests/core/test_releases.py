"""A release: no path lets anything out that two others did not look at, in the form they looked at; and one path does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sulku import nouns
from sulku.errors import IllegalMoveError, InvalidInputError, RefusalError, RuleError, StaleError
from sulku.events import Event, Happened
from sulku.releases import (
    MACHINE,
    QUORUM,
    Compared,
    Consolidate,
    Item,
    ItemRebuilt,
    Judge,
    Mark,
    Move,
    Reason,
    Release,
    Retract,
    State,
    Submitted,
    Verdict,
    Withdraw,
    blind,
    decide,
    digest,
    evolve,
)

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
REL = "rel_" + "0" * 16
PEOPLE = ("usr_ada", "usr_aki", "usr_bo", "usr_cy", "usr_di")  # ada wrote it, aki is on the permit, the rest are stewards
OUTPUTS = ("out_1", "out_2")


def submitted(round_: int = 1, rebuilt: str = "a", *, blocked: bool | None = False) -> Submitted:
    items = tuple(Item(output, f"{output}.csv", "f" + output, rebuilt + output, blocked) for output in OUTPUTS)
    return Submitted("usr_ada", PEOPLE[:2], "Uni", "per_1", "tun_1", "Table", "", items, digest(items), round_, AT)


def marks(release: Release, verdict: Verdict = Verdict.APPROVE, reason: Reason | None = None) -> tuple[Mark, ...]:
    return tuple(Mark(item.output, item.rebuilt, verdict, reason) for item in release.items)


class Lifecycle(RuleBasedStateMachine):
    """Keeps its own account of who looked at which bytes, and never asks the code under test for it."""

    def __init__(self) -> None:
        super().__init__()
        self.release = nouns.begin(REL)
        self.history: list[Event] = []
        self.approvals: dict[str, str] = {}  # who -> the bytes they approved, in this round
        self.dissent: set[str] = set()
        self.bytes = ""
        self.serial = 0

    def take(self, happened: tuple[Happened, ...]) -> None:
        for one in happened:
            self.history.append(one.event)
            self.release = evolve(self.release, one.event)

    def forget(self) -> None:
        self.approvals, self.dissent = {}, set()

    @rule(blocked=st.booleans())
    def submit(self, blocked: bool) -> None:
        if (self.release.state, Move.SUBMIT) not in MACHINE.table:
            return
        self.serial += 1
        self.bytes = f"v{self.serial}"
        self.take((Happened(REL, submitted(self.release.round + 1, self.bytes, blocked=blocked)),))
        self.take((Happened(REL, Compared(digest(self.release.items), ())),))
        self.forget()

    @precondition(lambda self: self.release.state is State.SUBMITTED)
    @rule(blocked=st.booleans())
    def rebuild(self, blocked: bool) -> None:
        self.serial += 1
        self.bytes = f"v{self.serial}"
        for output in OUTPUTS:
            self.take((Happened(REL, ItemRebuilt(output, self.bytes + output, blocked)),))
        self.take((Happened(REL, Compared(digest(self.release.items), ())),))
        self.forget()

    @rule(by=st.sampled_from(PEOPLE), verdict=st.sampled_from(Verdict), stale=st.booleans())
    def judge(self, by: str, verdict: Verdict, stale: bool) -> None:
        wanted = marks(self.release, verdict, Reason.UNCLEAR)
        if stale:
            wanted = tuple(replace(mark, rebuilt="other") for mark in wanted)
        try:
            self.take(decide(self.release, Judge(wanted), by, AT))
        except RefusalError:
            return
        assert not stale, "a verdict on other bytes counted"
        if verdict is Verdict.APPROVE:
            self.approvals[by] = self.bytes
        else:
            self.dissent.add(by)

    @rule(by=st.sampled_from(PEOPLE))
    def retract(self, by: str) -> None:
        try:
            self.take(decide(self.release, Retract(), by, AT))
        except RefusalError:
            return
        self.approvals.pop(by, None)
        self.dissent.discard(by)

    @rule(by=st.sampled_from(PEOPLE), release=st.booleans())
    def consolidate(self, by: str, release: bool) -> None:
        try:
            self.take(decide(self.release, Consolidate(release, ("please merge the rows",)), by, AT))
        except RefusalError:
            return
        if not release:
            self.forget()

    @invariant()
    def history_is_the_truth(self) -> None:
        assert nouns.replay(REL, self.history) == self.release

    @invariant()
    def nothing_is_approved_without_two_others_who_saw_these_bytes(self) -> None:
        if self.release.state in {State.APPROVED, State.RELEASED}:
            others = {by for by, seen in self.approvals.items() if by not in PEOPLE[:2] and seen == self.bytes}
            assert len(others) >= QUORUM
            assert not self.dissent
            assert not any(item.blocked for item in self.release.items)

    @invariant()
    def verdicts_stay_blind_until_the_quorum(self) -> None:
        if self.release.state is State.SUBMITTED and len(self.approvals) + len(self.dissent) < QUORUM:
            for viewer in PEOPLE:
                assert {review.by for review in blind(self.release, viewer, reviewer=True).reviews} <= {viewer}
        for viewer in PEOPLE[:2]:
            assert not blind(self.release, viewer, reviewer=False).reviews


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def under_review(**fields: object) -> Release:
    return replace(compared(evolve(nouns.begin(REL), submitted())), **fields)


def compared(release: Release, *findings: dict) -> Release:
    return evolve(release, Compared(digest(release.items), findings))


def after(release: Release, *steps: tuple[object, str]) -> Release:
    for command, by in steps:
        for one in decide(release, command, by, AT):
            release = evolve(release, one.event)
    return release


def test_two_others_can_let_it_out() -> None:
    """Safety is vacuous if nothing can ever be released."""
    release = under_review()
    yes = Judge(marks(release))
    release = after(release, (yes, "usr_bo"), (yes, "usr_cy"), (Consolidate(True), "usr_cy"))
    assert release.state is State.APPROVED
    assert release.decided_by == ("usr_bo", "usr_cy")


def test_a_returned_release_can_be_corrected_and_let_out() -> None:
    release = under_review()
    no = Judge(marks(release, Verdict.CHANGE, Reason.SMALL_COUNT))
    release = after(release, (no, "usr_bo"), (no, "usr_cy"), (Consolidate(False, ("merge ages 90 and over",)), "usr_bo"))
    assert (release.state, release.reasons) == (State.RETURNED, (Reason.SMALL_COUNT,))
    release = compared(evolve(release, submitted(2, "b")))
    yes = Judge(marks(release))
    assert after(release, (yes, "usr_bo"), (yes, "usr_di"), (Consolidate(True), "usr_di")).state is State.APPROVED


@pytest.mark.parametrize(
    ("steps", "rule_code"),
    [
        ([(Judge, "usr_ada")], "self-review"),
        ([(Judge, "usr_aki")], "self-review"),
        ([(Judge, "usr_bo"), (Judge, "usr_bo")], "judged-already"),
        ([(Judge, "usr_bo"), (Consolidate(True), "usr_bo")], "no-quorum"),
        ([(Judge, "usr_bo"), (Judge, "usr_cy"), (Consolidate(True), "usr_di")], "not-a-reviewer"),
        ([(Judge, "usr_bo"), (Judge, "usr_cy"), (Retract(), "usr_cy")], "consolidating"),
        ([(Retract(), "usr_cy")], "no-verdict"),
    ],
)
def test_what_the_lifecycle_refuses_it_names(steps: list, rule_code: str) -> None:
    release = under_review()
    commands = [(Judge(marks(release)) if command is Judge else command, by) for command, by in steps]
    release = after(release, *commands[:-1])
    with pytest.raises(RuleError) as refused:
        decide(release, *commands[-1], AT)
    assert refused.value.rule == rule_code


def test_a_dissent_blocks() -> None:
    release = under_review()
    no, yes = Judge(marks(release, Verdict.CHANGE, Reason.UNCLEAR)), Judge(marks(release))
    release = after(release, (no, "usr_bo"), (yes, "usr_cy"), (yes, "usr_di"))
    with pytest.raises(RuleError) as refused:
        decide(release, Consolidate(True), "usr_di", AT)
    assert refused.value.rule == "dissent"


def test_a_verdict_after_the_decision_is_refused() -> None:
    release = under_review()
    yes = Judge(marks(release))
    release = after(release, (yes, "usr_bo"), (yes, "usr_cy"), (Consolidate(True), "usr_cy"))
    with pytest.raises(IllegalMoveError):
        decide(release, yes, "usr_di", AT)


@pytest.mark.parametrize("blocked", [True, None], ids=["finding", "not-inspected"])
def test_a_file_that_the_checks_block_or_have_not_seen_is_never_approved(blocked: bool | None) -> None:
    release = compared(evolve(nouns.begin(REL), submitted(blocked=blocked)))
    with pytest.raises(RuleError):
        decide(release, Judge(marks(release)), "usr_bo", AT)


def test_nobody_judges_files_that_were_not_compared_with_each_other() -> None:
    release = under_review()
    release = evolve(release, ItemRebuilt("out_1", "other bytes", False))
    with pytest.raises(RuleError) as refused:
        decide(release, Judge(marks(release)), "usr_bo", AT)
    assert refused.value.rule == "not-inspected"


def test_what_files_give_away_together_blocks() -> None:
    release = compared(under_review(), {"severity": "block"})
    yes = Judge(marks(release))
    release = after(release, (yes, "usr_bo"), (yes, "usr_cy"))
    with pytest.raises(RuleError) as refused:
        decide(release, Consolidate(True), "usr_cy", AT)
    assert refused.value.rule == "blocked"


def test_every_file_is_judged_once_and_a_change_has_a_reason() -> None:
    release = under_review()
    for wrong in (marks(release)[:1], marks(release) * 2, marks(release, Verdict.CHANGE)):
        with pytest.raises(InvalidInputError):
            decide(release, Judge(wrong), "usr_bo", AT)


def test_a_changed_file_makes_the_verdict_stale() -> None:
    release = under_review()
    wanted = Judge(marks(release))
    release = compared(evolve(release, ItemRebuilt("out_1", "other bytes", False)))
    with pytest.raises(StaleError):
        decide(release, wanted, "usr_bo", AT)


def test_an_author_may_take_it_back() -> None:
    assert after(under_review(), (Withdraw(), "usr_ada")).state is State.WITHDRAWN


@given(state=st.sampled_from(State), move=st.sampled_from(Move))
def test_the_table_is_the_only_law(state: State, move: Move) -> None:
    assert (move in MACHINE.moves(state)) == ((state, move) in MACHINE.table)


def test_every_state_is_reachable() -> None:
    seen, todo = set(), {MACHINE.start}
    while todo:
        seen |= todo
        todo = {MACHINE.after(state, move) for state in todo for move in MACHINE.moves(state)} - seen
    assert seen == set(State)
