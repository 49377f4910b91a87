"""What a paper, a status list and the time say together: never more than is known, and what is over stays over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku import permits, standing
from sulku.codec import stamp
from sulku.errors import InvalidInputError
from sulku.permits import State
from sulku.standing import Listed, Standing, StatusList

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
PAPER = permits.Document(
    permits.SCHEMA, "per_p000000000000000", 1, "app_a000000000000000", "Falls", "To see", "thl", (), (), AT - DAY, AT + 30 * DAY,
    permits.Limits(), "default", (), AT - 2 * DAY, "",
)  # fmt: skip


def listing(state: State | None, *, revision: int = 1, issued: datetime = AT) -> StatusList:
    known = {PAPER.id: Listed(state, revision)} if state else {}
    return StatusList(standing.SCHEMA, issued, issued + standing.LIFETIME, known, "")


@pytest.mark.parametrize("state", [State.ACTIVE, State.SUSPENDED, State.REVOKED, State.SUPERSEDED, State.EXPIRED])
def test_a_good_list_says_the_state(state: State) -> None:
    assert standing.judge(PAPER, listing(state), AT).standing == state.value


@pytest.mark.parametrize("state", [State.REVOKED, State.SUPERSEDED, State.EXPIRED])
def test_what_ended_for_good_is_over_by_the_oldest_list(state: State) -> None:
    assert standing.judge(PAPER, listing(state, issued=AT - 400 * DAY), AT).standing == state.value


@pytest.mark.parametrize("state", [State.ACTIVE, State.SUSPENDED, None])
def test_of_anything_else_an_old_list_says_nothing_and_is_called_stale(state: State | None) -> None:
    fresh = listing(state, issued=AT - DAY + timedelta(milliseconds=1))
    assert standing.judge(PAPER, fresh, AT).standing is not Standing.STALE
    assert standing.judge(PAPER, listing(state, issued=AT - DAY), AT).standing is Standing.STALE


def test_without_a_list_nobody_can_tell_and_it_is_said_plainly() -> None:
    verdict = standing.judge(PAPER, None, AT)
    assert verdict.standing is Standing.UNKNOWN
    assert verdict.why == (
        "the signature and the dates hold; whether it was suspended or revoked since cannot be told without a status list"
    )


def test_the_dates_need_no_list() -> None:
    assert standing.judge(PAPER, None, PAPER.ends).standing is Standing.EXPIRED
    assert standing.judge(PAPER, None, PAPER.ends - timedelta(milliseconds=1)).standing is Standing.UNKNOWN
    assert standing.judge(PAPER, None, PAPER.starts - timedelta(milliseconds=1)).standing is Standing.NOT_YET
    early = PAPER.starts - timedelta(hours=1)
    assert standing.judge(PAPER, listing(State.ACTIVE, issued=early), early).standing is Standing.NOT_YET
    assert standing.judge(PAPER, listing(State.SUSPENDED, issued=early), early).standing is Standing.SUSPENDED


def test_a_later_revision_supersedes_and_an_older_list_does_not_know_this_one() -> None:
    assert standing.judge(PAPER, listing(State.ACTIVE, revision=2), AT).standing is Standing.SUPERSEDED
    assert standing.judge(replace(PAPER, revision=2), listing(State.ACTIVE), AT).standing is Standing.UNKNOWN


def test_a_permit_that_is_not_on_the_list_is_unknown() -> None:
    assert standing.judge(PAPER, listing(None), AT).standing is Standing.UNKNOWN
    assert standing.judge(PAPER, listing(State.NEW), AT).standing is Standing.UNKNOWN


def test_a_list_of_the_future_is_not_believed_beyond_what_clocks_differ() -> None:
    assert standing.judge(PAPER, listing(State.ACTIVE, issued=AT + standing.SKEW), AT).standing is Standing.ACTIVE
    assert standing.judge(PAPER, listing(State.ACTIVE, issued=AT + standing.SKEW + timedelta(seconds=1)), AT).standing is Standing.UNKNOWN


@given(
    state=st.sampled_from([*State, None]),
    revision=st.integers(0, 3),
    issued=st.integers(-100, 100),
    at=st.integers(-100, 1000),
    paper=st.integers(1, 2),
)
def test_active_is_said_only_by_a_good_list_of_this_paper_within_its_dates(
    state: State | None, revision: int, issued: int, at: int, paper: int
) -> None:
    hours = timedelta(hours=1)
    statuses, now = listing(state, revision=revision, issued=AT + issued * hours), AT + at * hours
    found = standing.judge(replace(PAPER, revision=paper), statuses, now).standing
    holds = (
        state is State.ACTIVE
        and revision == paper
        and statuses.issued - standing.SKEW <= now < statuses.expires
        and PAPER.starts <= now < PAPER.ends
    )
    assert (found is Standing.ACTIVE) == holds


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "sulku-permit-status/2"},
        {"expires": stamp(AT + standing.LIFETIME + timedelta(milliseconds=1))},
        {"expires": stamp(AT)},
        {"expires": "for ever"},
        {"permits": []},
        {"permits": {PAPER.id: {"state": "fine", "revision": 1}}},
        {"permits": {PAPER.id: {"state": "active", "revision": "1"}}},
        {"permits": {PAPER.id: {"state": "active"}}},
        {"more": 1},
    ],
)
def test_a_list_of_another_form_or_a_longer_life_is_refused(change: dict[str, Any]) -> None:
    sound = standing.write([], AT, "") | {"permits": {PAPER.id: {"state": "active", "revision": 1}}}
    assert standing.read(sound).permits[PAPER.id] == Listed(State.ACTIVE, 1)
    with pytest.raises(InvalidInputError):
        standing.read(sound | change)


def test_what_is_no_object_is_no_list() -> None:
    for payload in (None, [], "x", 1):
        with pytest.raises(InvalidInputError):
            standing.read(payload)
