"""A closure is proved only if everything was tried, all of it failed, and every canary was alive and untouched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sulku.closure import CONTROLS, WAYS, Attempt, Control, judge

TUNNEL = "tun_0123456789abcdef"
SOUND = [Attempt(way, True, "EPERM") for way in sorted(WAYS)]
ALIVE = [Control(name, True, 0) for name in sorted(CONTROLS)]


def test_all_tried_all_failed_all_canaries_alive_is_closed() -> None:
    report = judge(TUNNEL, SOUND, ALIVE, 60)
    assert (report.closed, report.problems, report.milliseconds) == (True, (), 60)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_one_open_or_untried_way_is_enough(way: str) -> None:
    opened = [replace(one, closed=one.way != way) for one in SOUND]
    assert judge(TUNNEL, opened, ALIVE, 1).problems == (f"{way}: open (EPERM)",)
    untried = [one for one in SOUND if one.way != way]
    assert judge(TUNNEL, untried, ALIVE, 1).problems == (f"{way}: not tried",)


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_one_dead_missing_or_touched_canary_is_enough(name: str) -> None:
    dead = [replace(one, alive=one.canary != name) for one in ALIVE]
    touched = [replace(one, strangers=int(one.canary == name)) for one in ALIVE]
    missing = [one for one in ALIVE if one.canary != name]
    for controls in (dead, touched, missing):
        report = judge(TUNNEL, SOUND, controls, 1)
        assert not report.closed
        assert len(report.problems) == 1


def test_a_way_more_than_is_asked_for_is_welcome_and_counts() -> None:
    assert judge(TUNNEL, [*SOUND, Attempt("new-way", True, "EPERM")], ALIVE, 1).closed
    assert not judge(TUNNEL, [*SOUND, Attempt("new-way", False, "out")], ALIVE, 1).closed


def test_a_way_that_is_reported_twice_proves_nothing() -> None:
    assert not judge(TUNNEL, [*SOUND, SOUND[0]], ALIVE, 1).closed


def test_an_empty_report_is_not_closed() -> None:
    assert not judge(TUNNEL, [], [], 1).closed


def test_the_document_holds_everything_that_was_found() -> None:
    document = judge(TUNNEL, SOUND, ALIVE, 1).document()
    assert len(document["attempts"]) == len(WAYS)
    assert document["closed"] is True
