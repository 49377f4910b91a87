"""An application: no permit without two stewards who are free of conflicts; a dissent blocks; and two can say yes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sulku import nouns
from sulku.applications import (
    MACHINE,
    QUORUM,
    Application,
    Decided,
    Declare,
    Draft,
    Judge,
    Retract,
    Return,
    State,
    Submit,
    Verdict,
    Withdraw,
    decide,
    evolve,
)
from sulku.errors import IllegalMoveError, InvalidInputError, RefusalError, RuleError, UnsafeNameError
from sulku.events import Event
from sulku.forms import Form, Wanted, read, require_complete

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
APP, PER = "app_" + "0" * 16, "per_" + "0" * 16
FORM = Form(
    title="Light chains and survival",
    purpose="Whether a high concentration of free light chain foretells death, for everybody's benefit.",
    basis="Secondary Use Act, section 38",
    outputs="Tables of counts and one survival curve",
    people=("usr_aki",),
    datasets=(Wanted("dst_1", "1", ("age", "sex")),),
    starts="2026-11-01",
    ends="2027-10-31",
)
STEWARDS = ("usr_bo", "usr_cy", "usr_di")
PEOPLE = ("usr_ada", "usr_aki", *STEWARDS)
COMMANDS = (
    Submit(),
    Judge(Verdict.APPROVE),
    Judge(Verdict.REFUSE, "the purpose is not clear"),
    Retract(),
    Declare("my sister is in the group"),
    Return(("say which tables",)),
    Draft(FORM),
    Withdraw(),
)


class Lifecycle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.application = nouns.begin(APP)
        self.history: list[Event] = []
        self.yes: set[str] = set()
        self.no: set[str] = set()
        self.out: set[str] = set()

    @rule(command=st.sampled_from(COMMANDS), by=st.sampled_from(PEOPLE))
    def act(self, command: object, by: str) -> None:
        if isinstance(command, Draft) and by not in PEOPLE[:2]:
            return  # policy, not the lifecycle, keeps stewards from drafting
        try:
            happened = decide(self.application, command, by, "Uni", PER, AT)
        except RefusalError:
            return
        for one in happened:
            self.history.append(one.event)
            self.application = evolve(self.application, one.event)
        if isinstance(command, (Submit, Return)):
            self.yes, self.no = set(), set()
        if isinstance(command, Judge):
            (self.yes if command.verdict is Verdict.APPROVE else self.no).add(by)
        if isinstance(command, (Retract, Declare)):
            self.yes.discard(by)
            self.no.discard(by)
        if isinstance(command, Declare):
            self.out.add(by)

    @invariant()
    def history_is_the_truth(self) -> None:
        assert nouns.replay(APP, self.history) == self.application

    @invariant()
    def an_approval_has_two_free_stewards_and_no_dissent(self) -> None:
        if self.application.state is State.APPROVED:
            named = {self.application.applicant, *self.application.form.people}
            assert len(self.yes - named - self.out) >= QUORUM
            assert not self.no
            assert self.application.permit == PER

    @invariant()
    def nothing_but_an_approval_gives_a_permit(self) -> None:
        assert bool(self.application.permit) == (self.application.state is State.APPROVED)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def after(*steps: tuple[object, str], start: Application | None = None) -> Application:
    application = start or after((Draft(FORM), "usr_ada"), (Submit(), "usr_ada"), start=nouns.begin(APP))
    for command, by in steps:
        for one in decide(application, command, by, "Uni", PER, AT):
            application = evolve(application, one.event)
    return application


def test_two_stewards_can_approve() -> None:
    approved = after((Judge(Verdict.APPROVE), "usr_bo"), (Judge(Verdict.APPROVE), "usr_cy"))
    assert (approved.state, approved.permit) == (State.APPROVED, PER)


def test_two_stewards_can_refuse() -> None:
    no = Judge(Verdict.REFUSE, "the purpose is not clear")
    assert after((no, "usr_bo"), (no, "usr_cy")).state is State.REFUSED


def test_a_dissent_blocks_until_it_is_retracted() -> None:
    yes, no = Judge(Verdict.APPROVE), Judge(Verdict.REFUSE, "the purpose is not clear")
    blocked = after((no, "usr_bo"), (yes, "usr_cy"), (yes, "usr_di"))
    assert blocked.state is State.SUBMITTED
    assert after((Retract(), "usr_bo"), (yes, "usr_bo"), start=blocked).state is State.APPROVED


def test_a_returned_application_is_judged_anew() -> None:
    returned = after((Judge(Verdict.APPROVE), "usr_bo"), (Return(("say which tables",)), "usr_cy"))
    again = after((Submit(), "usr_ada"), (Judge(Verdict.APPROVE), "usr_cy"), start=returned)
    assert (again.state, again.round) == (State.SUBMITTED, 2)


@pytest.mark.parametrize(
    ("by", "before", "code"),
    [
        ("usr_ada", (), "own-application"),
        ("usr_aki", (), "own-application"),
        ("usr_bo", ((Judge(Verdict.APPROVE), "usr_bo"),), "judged-already"),
        ("usr_bo", ((Declare(), "usr_bo"),), "conflict-declared"),
    ],
)
def test_who_may_not_judge(by: str, before: tuple, code: str) -> None:
    with pytest.raises(RuleError) as refused:
        after(*before, (Judge(Verdict.APPROVE), by))
    assert refused.value.rule == code


def test_a_verdict_after_the_decision_is_refused() -> None:
    approved = after((Judge(Verdict.APPROVE), "usr_bo"), (Judge(Verdict.APPROVE), "usr_cy"))
    with pytest.raises(IllegalMoveError):
        after((Judge(Verdict.APPROVE), "usr_di"), start=approved)


def test_a_refusal_needs_a_reason() -> None:
    with pytest.raises(InvalidInputError):
        after((Judge(Verdict.REFUSE, "no"), "usr_bo"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"purpose": "short"}, "purpose"),
        ({"datasets": ()}, "datasets"),
        ({"datasets": (Wanted("dst_1", "1", ()),)}, "datasets[0].variables"),
        ({"datasets": (Wanted("dst_1", "1", ("a",)), Wanted("dst_1", "2", ("a",)))}, "datasets"),
        ({"ends": "2026-10-01"}, "ends"),
        ({"ends": "2126-10-01"}, "ends"),
        ({"starts": "2026-02-30"}, "starts"),
        ({"starts": "tomorrow"}, "starts"),
    ],
)
def test_an_incomplete_form_names_each_field(change: dict, field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        require_complete(replace(FORM, **change))
    assert field in dict(refused.value.fields)
    require_complete(FORM)


@pytest.mark.parametrize("answers", [{"title": 3}, {"nonsense": "x"}, {"people": "usr_x"}, {"title": "x" * 201}, {"datasets": [{"dataset": "d"}]}])
def test_a_wrong_answer_is_refused_before_it_is_kept(answers: dict) -> None:
    with pytest.raises(InvalidInputError):
        read(answers)
    assert read({"title": "Half a draft"}).title == "Half a draft"


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\x00", "\x1b[2J", "\ud800"], ids=["rtl", "zero-width", "nul", "escape", "surrogate"])
def test_invisible_characters_are_refused(hidden: str) -> None:
    with pytest.raises((UnsafeNameError, InvalidInputError)):
        read({"title": f"A title{hidden} of a project"})


def test_the_decision_is_one_event_that_names_both() -> None:
    judged = after((Judge(Verdict.APPROVE), "usr_bo"))
    events = [one.event for one in decide(judged, Judge(Verdict.APPROVE), "usr_cy", "Uni", PER, AT)]
    assert [event.by for event in events if isinstance(event, Decided)] == [("usr_bo", "usr_cy")]


def test_every_state_is_reachable() -> None:
    seen, todo = set(), {MACHINE.start}
    while todo:
        seen |= todo
        todo = {MACHINE.after(state, move) for state in todo for move in MACHINE.moves(state)} - seen
    assert seen == set(State)
