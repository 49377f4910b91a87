"""What changed since the last round: every answer and every file, by what was sent, not by what somebody says about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku import applications, nouns, releases, rounds
from sulku.applications import Draft, Return, Submit, decide, evolve
from sulku.events import Erased, Event
from sulku.forms import Form, Wanted
from sulku.releases import Item
from sulku.reviews import Reason, digest
from sulku.rounds import Fate, File
from tests.core.test_applications import FORM

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
APP, REL = "app_" + "0" * 16, "rel_" + "0" * 16
NEW = replace(FORM, purpose="Whether chains foretell death.", datasets=(Wanted("dst_1", "1", ("age",)),), ends="2027-01-31")


def lived(*steps: tuple[object, str]) -> tuple[list[Event], applications.Application]:
    """Return the events of an application, and what it is after them."""
    known, history = nouns.begin(APP), []
    for command, by in steps:
        for one in decide(known, command, by, "Uni", "", AT):  # type: ignore[arg-type]
            history.append(one.event)
            known = evolve(known, one.event)
    return history, known


SENT = ((Draft(FORM), "usr_ada"), (Submit(), "usr_ada"))
BACK = (*SENT, (Return(("say which tables", "fewer columns")), "usr_bo"))
AGAIN = (*BACK, (Draft(NEW), "usr_ada"), (Submit(), "usr_ada"))


def test_what_was_sent_again_is_compared_with_what_was_sent_before() -> None:
    found = rounds.of_application(*lived(*AGAIN))
    assert (found.since, found.points) == (1, ("say which tables", "fewer columns"))
    assert [one.field for one in found.answers] == ["purpose", "datasets", "ends"]
    assert (found.answers[0].before, found.answers[0].now) == (FORM.purpose, NEW.purpose)
    assert found.answers[1].now == [{"dataset": "dst_1", "version": "1", "variables": ["age"]}]


def test_answers_that_were_changed_and_changed_back_did_not_change() -> None:
    found = rounds.of_application(*lived(*BACK, (Draft(NEW), "usr_ada"), (Draft(FORM), "usr_ada"), (Submit(), "usr_ada")))
    assert (found.since, found.answers) == (1, ())


def test_the_third_round_is_compared_with_the_second() -> None:
    third = replace(NEW, title="Another title")
    found = rounds.of_application(*lived(*AGAIN, (Return(("a title",)), "usr_bo"), (Draft(third), "usr_ada"), (Submit(), "usr_ada")))
    assert (found.since, found.points, [one.field for one in found.answers]) == (2, ("a title",), ["title"])


def test_while_its_people_write_again_it_is_compared_with_what_they_sent_last() -> None:
    found = rounds.of_application(*lived(*BACK, (Draft(NEW), "usr_ada")))
    assert (found.since, [one.field for one in found.answers]) == (1, ["purpose", "datasets", "ends"])


@pytest.mark.parametrize("steps", [SENT[:1], SENT])
def test_a_first_round_has_nothing_to_be_compared_with(steps: Sequence[tuple[object, str]]) -> None:
    assert rounds.of_application(*lived(*steps)) == rounds.AnswersChanged()


def test_what_is_erased_is_not_called_changed() -> None:
    history, known = lived(*AGAIN)
    erased = Erased((), 2, 0, "GDPR Art. 17")
    empty = [replace(one, form=Form()) if isinstance(one, applications.Submitted) and one.round == 1 else one for one in history]
    assert rounds.of_application(empty, known).answers
    assert rounds.of_application([*empty, erased], known) == rounds.AnswersChanged()


# --- files ------------------------------------------------------------------------------------------------------------


def item(n: int, name: str, frozen: str, rebuilt: str = "") -> Item:
    return Item(f"out_{n}", name, frozen, rebuilt)


def test_a_file_is_unchanged_changed_new_or_gone_by_its_digest() -> None:
    before = (item(1, "table.csv", "aa"), item(2, "figure.png", "bb"), item(3, "old.txt", "cc"))
    now = (item(4, "table.csv", "dd"), item(5, "figure.png", "bb"), item(6, "new.txt", "ee"))
    assert rounds.files(before, now) == (
        File("table.csv", Fate.CHANGED, "", "out_4", "aa", "dd"),
        File("figure.png", Fate.UNCHANGED, "", "out_5", "bb", "bb"),
        File("new.txt", Fate.NEW, "", "out_6", "", "ee"),
        File("old.txt", Fate.GONE, "", "", "cc", ""),
    )


def test_a_file_under_a_new_name_is_the_same_file() -> None:
    assert rounds.files((item(1, "a.csv", "aa"),), (item(2, "b.csv", "aa"),)) == (
        File("b.csv", Fate.UNCHANGED, "a.csv", "out_2", "aa", "aa"),
    )


def test_a_name_that_another_file_took_is_no_proof_of_sameness() -> None:
    swapped = rounds.files((item(1, "a.csv", "aa"), item(2, "b.csv", "bb")), (item(3, "a.csv", "bb"), item(4, "b.csv", "aa")))
    assert [(one.name, one.was, one.fate) for one in swapped] == [("a.csv", "b.csv", Fate.UNCHANGED), ("b.csv", "a.csv", Fate.UNCHANGED)]


def test_the_same_bytes_that_were_rebuilt_to_others_are_called_changed() -> None:
    before, now = item(1, "a.csv", "aa", "r1"), item(2, "a.csv", "aa", "r2")
    assert rounds.files((before,), (now,)) == (File("a.csv", Fate.CHANGED, "", "out_2", "r1", "r2"),)
    assert rounds.files((before,), (replace(now, rebuilt="r1"),))[0].fate is Fate.UNCHANGED
    assert rounds.files((before,), (replace(now, rebuilt=""),))[0].fate is Fate.UNCHANGED, "it is still being checked"


items = st.lists(st.builds(Item, st.uuids().map(str), st.sampled_from("abc"), st.sampled_from(["aa", "bb", "cc"])), max_size=6)


@given(before=items, now=items)
def test_every_file_of_both_rounds_is_spoken_of_once(before: list[Item], now: list[Item]) -> None:
    found = rounds.files(before, now)
    assert [one.output for one in found if one.output] == [one.output for one in now]
    assert sum(one.fate is not Fate.NEW for one in found) == len(before)
    for one in found:
        assert (one.fate is Fate.UNCHANGED) == (one.before == one.now)
        assert (one.fate is Fate.NEW, one.fate is Fate.GONE) == (not one.before, not one.now)
    if sorted((one.name, one.frozen) for one in before) == sorted((one.name, one.frozen) for one in now):
        assert {one.fate for one in found} <= {Fate.UNCHANGED}


def submitted(round_: int, *given_: Item) -> releases.Submitted:
    return releases.Submitted("usr_ada", (), "Uni", "per_1", "tun_1", "Table", "", given_, digest(given_), round_, AT)


def test_a_release_is_compared_as_it_stood_when_the_round_before_ended() -> None:
    first = item(1, "a.csv", "aa")
    history = [
        submitted(1, first),
        releases.ItemRebuilt("out_1", "r1", blocked=False),
        releases.Returned("usr_bo", (Reason.UNCLEAR,), ("who is it about?",), AT),
        submitted(2, item(2, "a.csv", "aa", "r2")),
    ]
    known = nouns.replay(REL, history)
    found = rounds.of_release(history, known)
    assert (found.since, found.points, found.reasons) == (1, ("who is it about?",), (Reason.UNCLEAR,))
    assert found.files == (File("a.csv", Fate.CHANGED, "", "out_2", "r1", "r2"),)
    assert rounds.of_release(history[:3], nouns.replay(REL, history[:3])) == rounds.FilesChanged()
    assert rounds.of_release([*history, Erased((), 1, 0, "GDPR Art. 17")], known) == rounds.FilesChanged()
