"""The published JSON Schemas describe the papers that are really written, and nothing that is only like them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker.flows.releases import _manifest
from docs import schemas
from sulku import ids, permits
from sulku.applications import Application
from sulku.datasets import Dataset, Edition, File, Variable
from sulku.datasets import State as Listed
from sulku.forms import Form, Wanted
from sulku.ledger import canonical
from sulku.releases import Item, Release

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
APPLICANT, BO, CAI = (ids.new("usr") for _ in range(3))


def permit() -> dict[str, Any]:
    target, application, paper = ids.new("dst"), ids.new("app"), ids.new("per")
    edition = Edition("1", "d" * 64, (File("a.csv", 9, 2, "e" * 64),), (Variable("age", "integer"),), 2, "person")
    dataset = Dataset(target, 1, Listed.LISTED, name="flchain", editions=(edition,))
    form = Form("Light chains", "To see it earlier, in older people.", people=(ids.new("usr"),), starts="2026-11-22", ends="2027-11-21")
    form = Form(**{**{name: getattr(form, name) for name in form.__slots__}, "datasets": (Wanted(target, "1", ("age",)),)})
    asked = Application(application, 3, applicant=APPLICANT, organisation="Lakeside University", form=form)
    document = permits.write(asked, paper, {target: dataset}, (BO, CAI), at=AT, checkpoint="")
    return json.loads(canonical.canonical(permits.payload(document)))  # type: ignore[no-any-return]


def release() -> dict[str, Any]:
    item = Item(ids.new("out"), "persons.csv", "a" * 64, "b" * 64, blocked=False)
    judged = Release(
        ids.new("rel"), 5, permit=ids.new("per"), author=APPLICANT, title="Persons", round=2, items=(item,), decided_by=(BO, CAI)
    )
    file = {"output": item.output, "name": "persons.csv", "media": "text/csv", "sha256": item.rebuilt, "bytes": 120}
    return json.loads(canonical.canonical(_manifest(judged, [file], AT, "a checkpoint")))  # type: ignore[no-any-return]


PAPERS: dict[str, Callable[[], dict[str, Any]]] = {"permit": permit, "release": release}
papers = pytest.mark.parametrize("name", PAPERS)


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((REFERENCE / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@papers
def test_a_paper_as_it_is_written_is_valid(name: str) -> None:
    assert list(validator(name).iter_errors(PAPERS[name]())) == []


def test_what_is_valid_can_be_read() -> None:
    assert permits.payload(permits.read(permit()))["people"]


@papers
def test_what_is_published_is_what_the_code_says(name: str) -> None:
    assert json.loads((REFERENCE / f"{name}.schema.json").read_text()) == getattr(schemas, name)()


@papers
def test_no_field_may_be_missing_added_or_of_another_type(name: str) -> None:
    check, good = validator(name), PAPERS[name]()
    for field in good:
        for other in (None, 1.5, {}):
            assert not check.is_valid({**good, field: other}), (field, other)
        assert not check.is_valid({key: value for key, value in good.items() if key != field}), field
    assert not check.is_valid({**good, "extra": "x"})


@papers
def test_references_times_and_digests_have_their_form(name: str) -> None:
    check, good = validator(name), PAPERS[name]()
    for path, wrong in {
        "permit": [("id", ids.new("rel")), ("starts", "2026-11-22"), ("people", [APPLICANT, APPLICANT]), ("approved_by", [BO])],
        "release": [("id", ids.new("per")), ("delivered", "2026-11-22T10:00:00Z"), ("approved_by", [BO]), ("schema", "sulku-release/2")],
    }[name]:
        changed = copy.deepcopy(good)
        changed[path] = wrong
        assert not check.is_valid(changed), path
    nested = copy.deepcopy(good)
    part = nested["grants" if name == "permit" else "files"][0]
    part["digest" if name == "permit" else "sha256"] = "sha256:" + "0" * 64
    assert not check.is_valid(nested)
