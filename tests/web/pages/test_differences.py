"""Old words beside new ones: what differs is marked, nothing else is, and nothing is lost."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from broker.web.pages.differences import LABELS, compared
from sulku.forms import Form


def test_every_answer_of_the_form_has_a_name_on_the_page() -> None:
    assert {one.name for one in fields(Form)} == set(LABELS)


def test_the_words_that_differ_are_marked_and_no_others() -> None:
    before, now = compared("people of all ages, to decide", "people over 50, to decide")
    assert before == (("people ", False), ("of all ages,", True), (" ", False), ("to decide", False))
    assert now == (("people ", False), ("over 50,", True), (" ", False), ("to decide", False))


@given(before=st.text(), now=st.text())
def test_no_word_is_lost_between_old_and_new(before: str, now: str) -> None:
    left, right = compared(before, now)
    assert ("".join(one for one, _ in left), "".join(one for one, _ in right)) == (before, now)
    if before == now:
        assert not any(marked for _, marked in (*left, *right))
