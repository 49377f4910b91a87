"""The doctor's verdicts: what was reached is open, what was not is closed only if its control got there, and silence is no proof."""

from __future__ import annotations

import pytest

from sulku.soundness import CHECKS, Verdict, finding, safe, weigh

GOT, NOT = (True, "connected"), (False, "TimeoutError")


def sound() -> list:  # type: ignore[type-arg]
    return [finding(name, Verdict.OK, "as it should be") for name in CHECKS]


def test_what_fails_inside_while_the_control_gets_through_is_closed() -> None:
    verdict, found = weigh(["a"], [{"a": NOT}, {"a": NOT}], {"a": GOT}, {"a": GOT})
    assert verdict is Verdict.OK
    assert "2 rounds" in found
    assert "TimeoutError" in found


def test_once_is_enough_to_be_open_whatever_the_controls_say() -> None:
    for before, after in ((GOT, GOT), (NOT, NOT), (GOT, NOT)):
        verdict, found = weigh(["a", "b"], [{"a": NOT, "b": NOT}, {"a": NOT, "b": GOT}], {"a": before, "b": before}, {"a": after, "b": after})
        assert verdict is Verdict.NO
        assert "b (connected)" in found


@pytest.mark.parametrize(("before", "after"), [(NOT, NOT), (GOT, NOT), (NOT, GOT)])
def test_without_a_control_before_and_after_it_is_unknown(before: tuple[bool, str], after: tuple[bool, str]) -> None:
    assert weigh(["a"], [{"a": NOT}], {"a": before}, {"a": after})[0] is Verdict.UNKNOWN


def test_what_was_not_tried_inside_is_unknown() -> None:
    assert weigh(["a"], [], {"a": GOT}, {"a": GOT})[0] is Verdict.UNKNOWN
    assert weigh(["a"], [{"a": NOT}, {}], {"a": GOT}, {"a": GOT})[0] is Verdict.UNKNOWN
    assert weigh([], [{"a": NOT}], {"a": GOT}, {"a": GOT})[0] is Verdict.UNKNOWN


def test_one_target_with_its_control_is_enough_and_the_others_are_named() -> None:
    rounds = [{"a": NOT, "b": NOT}]
    verdict, found = weigh(["a", "b"], rounds, {"a": GOT, "b": NOT}, {"a": GOT, "b": NOT})
    assert verdict is Verdict.OK
    assert found.endswith("no control for b")


def test_a_cluster_is_safe_if_all_is_ok() -> None:
    assert safe(sound())


@pytest.mark.parametrize("name", CHECKS)
def test_a_cluster_is_not_safe_with_a_no_or_with_a_line_that_is_missing(name: str) -> None:
    rest = [one for one in sound() if one.check != name]
    assert not safe(rest)
    assert not safe([*rest, finding(name, Verdict.NO, "broken")])


@pytest.mark.parametrize("name", CHECKS)
def test_not_to_know_is_as_bad_as_a_no_where_the_check_is_certain(name: str) -> None:
    rest = [one for one in sound() if one.check != name]
    assert safe([*rest, finding(name, Verdict.UNKNOWN, "not tried")]) is not CHECKS[name].certain


def test_what_a_site_does_not_use_does_not_block() -> None:
    assert not finding("user-namespace", Verdict.NO, "impossible", needed=False).blocks
    assert finding("user-namespace", Verdict.NO, "impossible").blocks


def test_what_is_not_ok_comes_with_a_remedy_and_what_is_ok_without() -> None:
    for name in CHECKS:
        assert finding(name, Verdict.NO, "broken").remedy
        assert bool(finding(name, Verdict.UNKNOWN, "not tried").remedy) is CHECKS[name].certain
        assert not finding(name, Verdict.OK, "fine").remedy
