"""What changed since the last round, for people to read: each answer's old words beside its new ones, what differs marked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any, Final

from broker.web.pages.render import day, person
from broker.web.views import Difference, Names, Words
from sulku.datasets import Dataset
from sulku.rounds import Answer

# field -> what the pages call it, in the order of the form; both dates are one line there
LABELS: Final = {
    "title": "Title",
    "purpose": "Purpose and benefit",
    "basis": "Legal basis",
    "people": "People",
    "datasets": "Datasets and variables",
    "starts": "First day",
    "ends": "Last day",
    "outputs": "Expected results",
}
NOTHING: Final = "Not answered"


def of_answers(changed: tuple[Answer, ...], names: Names, datasets: Mapping[str, Dataset]) -> tuple[Difference, ...]:
    """Return the answers that differ, in the order of the form."""
    order = list(LABELS)
    found = []
    for one in sorted(changed, key=lambda one: order.index(one.field)):
        before, now = (_text(one.field, value, names, datasets) for value in (one.before, one.now))
        found.append(Difference(one.field, LABELS[one.field], *compared(before, now)))
    return tuple(found)


def _text(field: str, value: Any, names: Names, datasets: Mapping[str, Dataset]) -> str:
    match field:
        case "people":
            said = ", ".join(person(one, names) for one in value) or "Nobody else"
        case "datasets":
            said = "\n".join(_wanted(one, datasets) for one in value)
        case "starts" | "ends":
            said = day(value) if value else ""
        case _:
            said = value
    return said or NOTHING


def _wanted(one: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> str:
    known = datasets.get(one["dataset"])
    variables = ", ".join(one["variables"]) or "no variables yet"
    return f"{known.title if known else one['dataset']}, version {one['version']}: {variables}"


def compared(before: str, now: str) -> tuple[Words, Words]:
    """Return both texts in pieces, each with whether the other text lacks it; words are compared, and the space between goes with them."""
    old, new = (re.findall(r"[^\s]+\s*|\s+", text) for text in (before, now))
    left, right = [], []
    matcher = SequenceMatcher(None, [one.rstrip() for one in old], [one.rstrip() for one in new], autojunk=False)
    for how, a, b, c, d in matcher.get_opcodes():
        left += _piece("".join(old[a:b]), marked=how != "equal")
        right += _piece("".join(new[c:d]), marked=how != "equal")
    return tuple(left), tuple(right)


def _piece(text: str, *, marked: bool) -> list[tuple[str, bool]]:
    """Return a piece; the space after a marked one is not marked."""
    end = len(text.rstrip()) if marked else len(text)
    return [one for one in ((text[:end], marked), (text[end:], False)) if one[0]]
