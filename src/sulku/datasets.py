"""A dataset: a catalogued, versioned set of files with a controller, a sensitivity and terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, assert_never

from sulku.errors import NotFoundError, RuleError
from sulku.events import Event, Happened, event
from sulku.forms import Wanted
from sulku.machine import Machine


class State(StrEnum):
    """Where a dataset stands."""

    DRAFT = "draft"
    LISTED = "listed"
    WITHDRAWN = "withdrawn"


class Move(StrEnum):
    """What can be done to a dataset."""

    CATALOGUE = "catalogue"
    REVISE = "revise"
    WITHDRAW = "withdraw"


MACHINE: Final = Machine(
    "dataset",
    State.DRAFT,
    {
        (State.DRAFT, Move.CATALOGUE): State.LISTED,
        (State.LISTED, Move.REVISE): State.LISTED,
        (State.LISTED, Move.WITHDRAW): State.WITHDRAWN,
    },
)


class Sensitivity(StrEnum):
    """How much harm a disclosure does, in rising order."""

    PUBLIC = "public"
    PERSONAL = "personal"
    SPECIAL = "special"  # health, genes and the other special categories of GDPR Art. 9


@dataclass(frozen=True, slots=True)
class Variable:
    """One column: its name, its type (``integer|number|text|boolean|date``) and what it means."""

    name: str
    kind: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version: relative name, bytes, rows, and SHA-256 (hex) of its bytes."""

    name: str
    size: int
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Edition:
    """One immutable version of a dataset.

    Attributes:
        persons: Distinct persons, counted at ingest by ``person_key``.
        digest: SHA-256 (hex) over the names and digests of the files, in order.
    """

    version: str
    digest: str
    files: tuple[File, ...]
    variables: tuple[Variable, ...]
    persons: int
    person_key: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The fold of a dataset's events. ``controllers`` are the ids of the people who control it; conflicts derive from it."""

    id: str
    version: int = 0
    state: State = MACHINE.start
    name: str = ""
    title: str = ""
    description: str = ""
    controller: str = ""
    controllers: tuple[str, ...] = ()
    sensitivity: Sensitivity = Sensitivity.SPECIAL
    terms: str = ""
    source: str = ""
    editions: tuple[Edition, ...] = ()


@event("dataset.catalogued")
@dataclass(frozen=True, slots=True)
class Catalogued(Event):
    """A dataset entered the catalogue."""

    name: str
    title: str
    description: str
    controller: str
    controllers: tuple[str, ...]
    sensitivity: Sensitivity
    terms: str
    source: str
    edition: Edition


@event("dataset.revised")
@dataclass(frozen=True, slots=True)
class Revised(Event):
    """A new version of the data was added; older permits keep the old one."""

    edition: Edition


@event("dataset.withdrawn", private=("reason",))
@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """No new tunnel may mount it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Enter a dataset into the catalogue."""

    ACTION: ClassVar[str] = "dataset.catalogue"
    name: str
    title: str
    description: str
    controller: str
    sensitivity: Sensitivity
    terms: str
    edition: Edition
    controllers: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Revise:
    """Add a version."""

    ACTION: ClassVar[str] = "dataset.revise"
    edition: Edition


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take it out of the catalogue."""

    ACTION: ClassVar[str] = "dataset.withdraw"
    reason: str


Command = Catalogue | Revise | Withdraw


def decide(dataset: Dataset, command: Command, at: datetime) -> tuple[Happened, ...]:
    """Return what happens; change nothing.

    Raises:
        IllegalMoveError: The lifecycle has no such step now.
        RuleError: The version exists already.
    """
    del at
    facts: Event
    match command:
        case Catalogue():
            MACHINE.after(dataset.state, Move.CATALOGUE)
            facts = Catalogued(
                name=command.name,
                title=command.title,
                description=command.description,
                controller=command.controller,
                controllers=command.controllers,
                sensitivity=command.sensitivity,
                terms=command.terms,
                source=command.source,
                edition=command.edition,
            )
        case Revise(edition):
            MACHINE.after(dataset.state, Move.REVISE)
            if any(known.version == edition.version for known in dataset.editions):
                raise RuleError("version-exists", f"version {edition.version} exists and never changes", "Use a new version.")
            facts = Revised(edition)
        case Withdraw(reason):
            MACHINE.after(dataset.state, Move.WITHDRAW)
            facts = Withdrawn(reason)
        case _:
            assert_never(command)
    return (Happened(dataset.id, facts),)


def evolve(dataset: Dataset, happened: Event) -> Dataset:
    """Return ``dataset`` as it stands after ``happened``; total on history."""
    after = replace(dataset, version=dataset.version + 1)
    match happened:
        case Catalogued():
            return replace(
                after,
                state=MACHINE.after(dataset.state, Move.CATALOGUE),
                name=happened.name,
                title=happened.title,
                description=happened.description,
                controller=happened.controller,
                controllers=happened.controllers,
                sensitivity=happened.sensitivity,
                terms=happened.terms,
                source=happened.source,
                editions=(happened.edition,),
            )
        case Revised(edition):
            return replace(after, editions=(*dataset.editions, edition))
        case Withdrawn():
            return replace(after, state=MACHINE.after(dataset.state, Move.WITHDRAW))
        case _:
            return after


def edition(dataset: Dataset, version: str) -> Edition:
    """Return one version of ``dataset``.

    Raises:
        NotFoundError: There is no such version.
    """
    for known in dataset.editions:
        if known.version == version:
            return known
    raise NotFoundError(f"dataset {dataset.name} has no version {version}")


def require_available(dataset: Dataset, wanted: Wanted) -> None:
    """Require that ``wanted`` can be had: listed, in that version, with those variables.

    Raises:
        NotFoundError: The version does not exist.
        RuleError: The dataset is withdrawn or has no such variable.
    """
    if dataset.state is not State.LISTED:
        raise RuleError("dataset-withdrawn", f"dataset {dataset.name} is {dataset.state}", "Choose another dataset.")
    unknown = set(wanted.variables) - {variable.name for variable in edition(dataset, wanted.version).variables}
    if unknown:
        raise RuleError("unknown-variable", f"{dataset.name} {wanted.version} has no {', '.join(sorted(unknown))}", "Choose from its variables.")
