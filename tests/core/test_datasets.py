"""Whatever enters the catalogue can be read back as it was; what could not is refused, with a code for each field."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sulku import checks, datasets
from sulku.checks import Problem
from sulku.codec import plain, typed
from sulku.datasets import Catalogue, Dataset, Edition, File, Revise, Sensitivity, State, Variable, Withdraw
from sulku.errors import InvalidInputError
from sulku.events import from_plain
from sulku.ledger import canonical

AT = datetime(2026, 3, 1, tzinfo=UTC)
DATASET = "dst_d000000000000000"
PERSON = "usr_a000000000000000"
EDITION = Edition("2026-1", "0" * 64, (File("a.csv", 10, 2, "1" * 64),), (Variable("age", "integer", "Age in years"),), 2, "person")
ENTRY = Catalogue("flchain", "Light chains", "A study.", "The authority", Sensitivity.SPECIAL, "Research only.", EDITION, (PERSON,), "Delivery 7")


def refused(command: Any) -> dict[str, str]:
    """Return the code for each field of a refusal; nothing if there is none."""
    try:
        datasets.require_sound(command)
    except InvalidInputError as error:
        return {field: problem.partition(":")[0] for field, problem in error.fields}
    return {}


def kept(command: Any) -> None:
    """Do what is asked and read it back from the row and from the ledger's entry."""
    before = Dataset(DATASET)
    if not isinstance(command, Catalogue):
        first = replace(ENTRY, edition=replace(EDITION, version="none-is-called-so"))
        before = datasets.evolve(before, datasets.decide(before, first, AT)[0].event)
    (happened,) = datasets.decide(before, command, AT)
    after = datasets.evolve(before, happened.event)
    assert typed(Dataset, orjson.loads(orjson.dumps(plain(after)))) == after
    body = orjson.loads(canonical.canonical(plain(happened.event)))
    assert from_plain(happened.event.TYPE, happened.event.SCHEMA, body) == happened.event


def test_a_sound_entry_is_kept() -> None:
    assert refused(ENTRY) == {}
    kept(ENTRY)
    kept(Revise(replace(EDITION, version="2026-2")))
    kept(Withdraw("The controller asked for it.\nBy letter."))
    assert datasets.evolve(Dataset(DATASET), datasets.decide(Dataset(DATASET), ENTRY, AT)[0].event).state is State.LISTED


P = Problem
LINE_FAULTS = [(None, P.WRONG_TYPE), (1, P.WRONG_TYPE), (b"x", P.WRONG_TYPE), ("x" * 201, P.TOO_LONG)]
UNSAFE = ["a\x00b", "a\x1b[2J", "a\u202eb", "\ud800", "a\u200bb", "\U000e0041"]
LINES = {"title", "controller", "source"}
TEXTS = {"description", "terms"}
FAULTS: list[tuple[str, Any, Problem]] = [
    *[(field, wrong, code) for field in sorted(LINES) for wrong, code in LINE_FAULTS],
    *[(field, "two\nlines", P.UNSAFE_TEXT) for field in sorted(LINES)],
    *[(field, wrong, P.UNSAFE_TEXT) for field in sorted(LINES | TEXTS) for wrong in UNSAFE],
    *[(field, wrong, code) for field in sorted(TEXTS) for wrong, code in ((None, P.WRONG_TYPE), ("x" * 4001, P.TOO_LONG))],
    *[(field, wrong, P.MISSING) for field in ("title", "controller") for wrong in ("", " ")],
    ("name", "", P.MISSING),
    ("name", "two words", P.MALFORMED),
    ("name", "-x", P.MALFORMED),
    ("name", "../x", P.MALFORMED),
    ("name", "x" * 64, P.MALFORMED),
    ("name", "näme", P.MALFORMED),
    ("name", 7, P.WRONG_TYPE),
    ("sensitivity", "specal", P.UNKNOWN_VALUE),
    ("sensitivity", "", P.UNKNOWN_VALUE),
    ("sensitivity", None, P.WRONG_TYPE),
    ("controllers", PERSON, P.WRONG_TYPE),
    ("controllers", [PERSON], P.WRONG_TYPE),
    ("controllers", (PERSON,) * 101, P.TOO_LONG),
    ("controllers[0]", ("usr_short",), P.MALFORMED),
    ("controllers[0]", (None,), P.WRONG_TYPE),
    ("controllers[1]", (PERSON, PERSON), P.DUPLICATE),
    ("edition", None, P.WRONG_TYPE),
    ("edition", plain(EDITION), P.WRONG_TYPE),
]


@pytest.mark.parametrize(("field", "wrong", "code"), FAULTS)
def test_every_field_of_an_entry_has_its_code(field: str, wrong: Any, code: Problem) -> None:
    assert refused(replace(ENTRY, **{field.partition("[")[0]: wrong})) == {field: code}


FILE, COLUMN = EDITION.files[0], EDITION.variables[0]
EDITION_FAULTS: list[tuple[str, dict[str, Any], Problem]] = [
    ("version", {"version": None}, P.WRONG_TYPE),
    ("version", {"version": ""}, P.MISSING),
    ("version", {"version": "../1"}, P.MALFORMED),
    ("version", {"version": "1..2"}, P.MALFORMED),
    ("version", {"version": "1:age"}, P.MALFORMED),
    ("version", {"version": "x" * 64}, P.MALFORMED),
    ("digest", {"digest": "0" * 63}, P.MALFORMED),
    ("digest", {"digest": "A" * 64}, P.MALFORMED),
    ("digest", {"digest": 0}, P.WRONG_TYPE),
    ("persons", {"persons": -1}, P.OUT_OF_RANGE),
    ("persons", {"persons": 2**53}, P.OUT_OF_RANGE),
    ("persons", {"persons": "2"}, P.WRONG_TYPE),
    ("persons", {"persons": 2.0}, P.WRONG_TYPE),
    ("persons", {"persons": True}, P.WRONG_TYPE),
    ("person_key", {"person_key": ""}, P.MISSING),
    ("person_key", {"person_key": "x" * 201}, P.TOO_LONG),
    ("files", {"files": ()}, P.MISSING),
    ("files", {"files": (FILE,) * 1001}, P.TOO_LONG),
    ("files", {"files": [FILE]}, P.WRONG_TYPE),
    ("files[0]", {"files": ({"name": "a.csv"},)}, P.WRONG_TYPE),
    ("files[0].name", {"files": (replace(FILE, name="../a.csv"),)}, P.MALFORMED),
    ("files[0].name", {"files": (replace(FILE, name="a\x00.csv"),)}, P.UNSAFE_TEXT),
    ("files[0].name", {"files": (replace(FILE, name=None),)}, P.WRONG_TYPE),
    ("files[0].size", {"files": (replace(FILE, size=-1),)}, P.OUT_OF_RANGE),
    ("files[0].rows", {"files": (replace(FILE, rows="2"),)}, P.WRONG_TYPE),
    ("files[0].sha256", {"files": (replace(FILE, sha256=""),)}, P.MISSING),
    ("files[1].name", {"files": (FILE, FILE)}, P.DUPLICATE),
    ("variables", {"variables": ()}, P.MISSING),
    ("variables", {"variables": tuple(Variable(f"v{n}", "text") for n in range(5001))}, P.TOO_LONG),
    ("variables", {"variables": None}, P.WRONG_TYPE),
    ("variables[1]", {"variables": (COLUMN, "age")}, P.WRONG_TYPE),
    ("variables[0].name", {"variables": (replace(COLUMN, name=""),)}, P.MISSING),
    ("variables[0].name", {"variables": (replace(COLUMN, name=" age"),)}, P.MALFORMED),
    ("variables[0].name", {"variables": (replace(COLUMN, name="a\tge"),)}, P.UNSAFE_TEXT),
    ("variables[0].name", {"variables": (replace(COLUMN, name="x" * 201),)}, P.TOO_LONG),
    ("variables[0].kind", {"variables": (replace(COLUMN, kind="float"),)}, P.UNKNOWN_VALUE),
    ("variables[0].kind", {"variables": (replace(COLUMN, kind=1),)}, P.WRONG_TYPE),
    ("variables[0].label", {"variables": (replace(COLUMN, label="x" * 201),)}, P.TOO_LONG),
    ("variables[2].name", {"variables": (COLUMN, Variable("sex", "text"), replace(COLUMN, kind="text"))}, P.DUPLICATE),
]


@pytest.mark.parametrize(("field", "change", "code"), EDITION_FAULTS)
def test_every_field_of_a_version_has_its_code_whether_it_is_the_first_or_a_later_one(field: str, change: Any, code: Problem) -> None:
    edition = replace(EDITION, **change)
    for command in (replace(ENTRY, edition=edition), Revise(edition)):
        assert refused(command) == {f"edition.{field}": code}
        with pytest.raises(InvalidInputError):
            datasets.decide(Dataset(DATASET), command, AT)


def test_every_field_is_tried() -> None:
    """A field that is added to an entry without a check fails here."""
    tried = {field.partition("[")[0] for field, _, _ in FAULTS} | {f"edition.{field.partition('[')[0]}" for field, _, _ in EDITION_FAULTS}
    assert tried == {one.name for one in fields(Catalogue)} | {f"edition.{one.name}" for one in fields(Edition)}
    inside = {field.partition("].")[2] for field, _, _ in EDITION_FAULTS} - {""}
    assert inside == {one.name for kind in (File, Variable) for one in fields(kind)}


def test_all_problems_are_told_at_once_and_not_without_end() -> None:
    found = refused(replace(ENTRY, name="", title="x" * 201, edition=replace(EDITION, persons=-1)))
    assert found == {"name": "missing", "title": "too-long", "edition.persons": "out-of-range"}
    with pytest.raises(InvalidInputError) as many:
        datasets.require_sound(Revise(replace(EDITION, variables=tuple(Variable("", "text") for _ in range(5000)))))
    assert len(many.value.fields) == checks.MOST_TOLD + 1


@pytest.mark.parametrize("reason", [None, 1, "x" * 2001, "a\x00"])
def test_a_reason_that_cannot_be_kept_is_refused(reason: Any) -> None:
    assert set(refused(Withdraw(reason))) == {"reason"}


# --- whatever is accepted ------------------------------------------------------------------------------------------------

anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5) | st.text(max_size=20) | st.sampled_from([*UNSAFE, 2**53, 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
seen = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"])


def said(least: int = 0) -> st.SearchStrategy[str]:
    """A text that people can read, of any script."""
    return st.text(seen, min_size=least, max_size=40) | st.sampled_from(["two words", "x" * 200, "å ä ö"])


shaped = partial(st.from_regex, fullmatch=True)
digests = shaped(r"[0-9a-f]{64}")
counts = st.integers(0, 2**53 - 1)
files = st.builds(File, shaped(r"f[a-z0-9_]{0,20}\.csv"), counts, counts, digests)
columns = st.builds(Variable, said(1), st.sampled_from(datasets.KINDS), said())


def some(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, min_size=1, max_size=4, unique_by=lambda one: one.name).map(tuple)


editions = st.builds(Edition, shaped(r"[0-9]([._+-]?[A-Za-z0-9]){0,20}"), digests, some(files), some(columns), counts, said(1))
people = st.lists(shaped(r"usr_[0-9a-hjkmnp-tv-z]{16}"), max_size=3, unique=True).map(tuple)
entries = st.builds(
    Catalogue, shaped(datasets.NAME), said(1), said(), said(1), st.sampled_from(Sensitivity), said(), editions, people, said()
)  # fmt: skip


@given(entries)
@settings(max_examples=100, deadline=None)
def test_every_sound_entry_is_accepted_and_read_back_as_it_was(entry: Catalogue) -> None:
    assert refused(entry) == refused(Revise(entry.edition)) == {}
    kept(entry)
    kept(Revise(entry.edition))


def spoil(kind: type, field: str, value: Any) -> Catalogue:
    """Return a sound entry of which one field, on any level, holds ``value``."""
    if kind is Catalogue:
        return replace(ENTRY, **{field: value})
    if kind is File:
        field, value = "files", (replace(FILE, **{field: value}),)
    elif kind is Variable:
        field, value = "variables", (replace(COLUMN, **{field: value}),)
    return replace(ENTRY, edition=replace(EDITION, **{field: value}))


@pytest.mark.parametrize(("kind", "field"), [(kind, one.name) for kind in (Catalogue, Edition, File, Variable) for one in fields(kind)])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_accepted_is_read_back_as_it_was_and_all_else_is_told(kind: type, field: str, data: st.DataObject) -> None:
    entry = spoil(kind, field, data.draw(anything))
    for command in (entry, Revise(entry.edition)):
        found = refused(command)
        assert set(found.values()) <= set(Problem)
        assert all(field in one for one in found)
        if not found:
            kept(command)
