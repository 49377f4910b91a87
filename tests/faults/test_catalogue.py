"""The catalogue takes no entry that it could not give back: a refusal leaves every table as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.flows import datasets
from sulku import ids
from sulku.datasets import Catalogue, Edition, File, Sensitivity, Variable
from sulku.errors import DeniedError, InvalidInputError
from sulku.people import PUBLIC
from tests.faults.world import Broker
from tests.store.deeds import everything

EDITION = Edition("1", "d" * 64, (File("a.csv", 100, 10, "e" * 64),), (Variable("age", "integer"),), 10, "person")
ENTRY = Catalogue("falls", "Falls", "Who fell.", "Holder", Sensitivity.SPECIAL, "For the purpose only.", EDITION)
WRONG: dict[str, Catalogue] = {
    "a-sensitivity-mistyped": replace(ENTRY, sensitivity="specal"),  # type: ignore[arg-type]
    "a-number-as-text": replace(ENTRY, edition=replace(EDITION, persons="10")),  # type: ignore[arg-type]
    "a-fraction": replace(ENTRY, edition=replace(EDITION, persons=10.5)),  # type: ignore[arg-type]
    "a-number-too-large-for-a-record": replace(ENTRY, edition=replace(EDITION, persons=2**60)),
    "nothing": replace(ENTRY, title=None),  # type: ignore[arg-type]
    "half-a-character": replace(ENTRY, description="\ud800"),
    "a-document-for-a-version": replace(ENTRY, edition={"version": "1"}),  # type: ignore[arg-type]
    "bytes": replace(ENTRY, terms=b"For the purpose only."),  # type: ignore[arg-type]
    "a-name-twice": replace(ENTRY, edition=replace(EDITION, variables=(Variable("age", "integer"), Variable("age", "text")))),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_entry_that_could_not_be_read_back_is_refused_and_nothing_is_written(made: Broker, what: str) -> None:
    before = everything(made.store)
    with pytest.raises(InvalidInputError) as refused:
        datasets.catalogue(made.ports, made.by("bo"), WRONG[what])
    assert refused.value.fields
    assert refused.value.remedy().endswith(".")
    if WRONG[what].edition != EDITION:
        with pytest.raises(InvalidInputError):
            datasets.revise(made.ports, made.by("bo"), made.dataset, WRONG[what].edition)
    assert everything(made.store) == before
    assert [one.name for one in datasets.listing(made.ports, made.by("ada"))] == ["flchain"]


def test_a_sound_entry_is_read_back_as_it_was(made: Broker) -> None:
    target = ids.new("dst")
    datasets.catalogue(made.ports, made.by("bo"), ENTRY, dataset=target)
    found = datasets.view(made.ports, PUBLIC, target)
    assert (found.name, found.sensitivity, found.editions) == (ENTRY.name, ENTRY.sensitivity, (EDITION,))
    datasets.revise(made.ports, made.by("bo"), target, replace(EDITION, version="2"))
    assert [one.version for one in datasets.view(made.ports, PUBLIC, target).editions] == ["1", "2"]
    with pytest.raises(DeniedError):
        datasets.catalogue(made.ports, made.by("ada"), ENTRY)
