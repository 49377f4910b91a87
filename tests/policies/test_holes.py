"""Questions with holes: whatever is deleted, nulled or of the wrong type, no engine turns a no into a yes.

The adapters refuse such questions before any engine sees them (``tests/adapters``); this is the second wall.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from sulku import nouns
from sulku.codec import typed
from sulku.errors import InvalidInputError
from tests.policies import cases
from tests.policies.conftest import Ask

HOLES: tuple[Any, ...] = ("DELETE", None, 0, 3.5, True, "x", [], ["x"], {"x": 1})
REFUSED = [case for case in cases.every() if case.because]
SUBJECT = {"id": str, "kind": str, "role": str, "organisation": str, "groups": list, "mfa": bool, "signed_in": (str, type(None))}


def _places(document: Any, above: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every place of a document, with what can be torn there; a shorter list is another document, not a hole."""
    listed = isinstance(document, list)
    items = document.items() if isinstance(document, dict) else enumerate(document) if listed else ()
    for key, value in items:
        torn = tuple(hole for hole in HOLES if hole != "DELETE" and type(hole) is not type(value))
        yield f"{above}{key}", torn if listed else (*torn, "DELETE")
        yield from _places(value, f"{above}{key}.")


def _with_hole(document: dict[str, Any], path: str, hole: Any) -> dict[str, Any]:
    broken = copy.deepcopy(document)
    cases.put(broken, path, hole)
    return broken


def _random_hole(draw: random.Random, among: list[cases.Case]) -> tuple[cases.Case, str, Any, dict[str, Any]]:
    case = draw.choice(among)
    path, holes = draw.choice(list(_places(case.document)))
    hole = draw.choice(holes)
    return case, path, hole, _with_hole(case.document, path, hole)


def _is_whole(document: dict[str, Any]) -> bool:
    """Whether every part is still one that policy was written for; then a yes may well be right."""
    try:
        facts = [{key: value for key, value in document["target"].items() if key != "noun"}]
        for part in document["about"].values():
            facts += [part] if "id" in part else part.values()
        for fact in facts:
            typed(nouns.of(fact["id"]).record, fact)
        subject = document["subject"]
        return subject.keys() == SUBJECT.keys() and all(isinstance(subject[name], kind) for name, kind in SUBJECT.items())
    except (InvalidInputError, AttributeError, KeyError, TypeError):
        return False


def _yes(answer: dict[str, Any] | None) -> bool:
    return answer is not None and answer["allow"]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_is_taken_away_never_helps(case: cases.Case, engines: dict[str, Ask]) -> None:
    """Rules only ever clear reasons, so a missing field clears none."""
    for path, holes in _places(case.document):
        if "DELETE" in holes and path != "command.form":  # an empty command asks what could be done, and allows only that
            assert not _yes(engines["compiled"](_with_hole(case.document, path, "DELETE"))), path


def test_no_hole_turns_a_no_into_a_yes(engines: dict[str, Ask]) -> None:
    draw = random.Random(22)
    torn = 0
    while torn < 1000:
        case, path, hole, broken = _random_hole(draw, REFUSED)
        if (path.startswith("command") and broken.get("command") != {}) or not _is_whole(broken):
            torn += 1
            for name, ask in engines.items():
                assert not _yes(ask(broken)), (name, case.name, path, hole)


def test_engines_agree_on_holes(engines: dict[str, Ask]) -> None:
    """Where they answer, they answer alike; one that cannot answer has not said yes."""
    draw = random.Random(23)
    answered = 0
    for _ in range(1500):
        case, path, hole, broken = _random_hole(draw, list(cases.every()))
        answers = {name: ask(broken) for name, ask in engines.items()}
        given = [answer for answer in answers.values() if answer is not None]
        assert all(answer == given[0] for answer in given), (case.name, path, hole, answers)
        answered += len(given) == len(engines)
    assert answered > 1000  # and they do answer


@pytest.mark.parametrize(
    "document", [{}, {"action": None}, {"action": ["tunnel.open"]}, {"action": {"a": 1}}, {"action": "tunnel.open"}, [], None, 1, "x"]
)
def test_what_is_no_question_is_refused(document: Any, engines: dict[str, Ask]) -> None:
    for ask in engines.values():
        assert not _yes(ask(document))
