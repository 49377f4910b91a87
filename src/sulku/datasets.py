"""A dataset: a catalogued, versioned set of files with a controller, a sensitivity and terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, assert_never

from sulku.checks import Checks
from sulku.errors import NotFoundError, RuleError
from sulku.events import Event, Happened, event
from sulku.forms import Wanted
from sulku.ids import ALPHABET
from sulku.machine import Machine

MAX_CONTROLLERS: Final = 100
MAX_FILES: Final = 1000
MAX_VARIABLES: Final = 5000
KINDS: Final = ("integer", "number", "text", "boolean", "date")
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
VERSION: Final = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}"
_DIGEST: Final = r"[0-9a-f]{64}"


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
    """One column: its name, its type (one of ``KINDS``) and what it means."""

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
        InvalidInputError: As for ``require_sound``.
        IllegalMoveError: The lifecycle has no such step now.
        RuleError: The version exists already.
    """
    del at
    require_sound(command)
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


def require_sound(command: Command) -> None:
    """Require that what is asked can be kept: whatever passes is read back from its row as it was.

    Raises:
        InvalidInputError: A field is missing, of the wrong type, too long, unsafe, unknown, malformed or there twice;
            ``fields`` names each, with a code of ``checks.Problem`` in front.
    """
    checks = Checks()
    match command:
        case Catalogue():
            _check_entry(checks, command)
            _check_edition(checks, command.edition)
        case Revise(edition):
            _check_edition(checks, edition)
        case Withdraw(reason):
            checks.text("reason", reason, most=2000, lines=True)
        case _:
            assert_never(command)
    checks.require("this cannot be kept in the catalogue")


def _check_entry(checks: Checks, entry: Catalogue) -> None:
    checks.shaped("name", entry.name, NAME, "letters, digits, hyphens and underscores, at most 63")
    checks.text("title", entry.title, least=1, most=200)
    checks.text("description", entry.description, most=4000, lines=True)
    checks.text("controller", entry.controller, least=1, most=200)
    checks.choice("sensitivity", entry.sensitivity, tuple(Sensitivity))
    checks.text("terms", entry.terms, most=4000, lines=True)
    checks.text("source", entry.source, most=200)
    controllers = checks.rows("controllers", entry.controllers, str, most=MAX_CONTROLLERS)
    for at, one in controllers:
        checks.shaped(at, one, f"usr_[{ALPHABET}]{{16}}", "a reference to a person")
    checks.distinct(controllers)


def _check_edition(checks: Checks, edition: Any) -> None:
    if not checks.instance("edition", edition, Edition):
        return
    if checks.shaped("edition.version", edition.version, VERSION, "letters, digits, dots, hyphens, underscores and plus signs, at most 63"):
        checks.named("edition.version", edition.version)  # it is a folder's name
    checks.shaped("edition.digest", edition.digest, _DIGEST, "64 hexadecimal digits")
    checks.number("edition.persons", edition.persons)
    checks.text("edition.person_key", edition.person_key, least=1, most=200)
    files = checks.rows("edition.files", edition.files, File, least=1, most=MAX_FILES)
    for at, file in files:
        checks.named(f"{at}.name", file.name)
        checks.number(f"{at}.size", file.size)
        checks.number(f"{at}.rows", file.rows)
        checks.shaped(f"{at}.sha256", file.sha256, _DIGEST, "64 hexadecimal digits")
    checks.distinct((f"{at}.name", file.name) for at, file in files)
    variables = checks.rows("edition.variables", edition.variables, Variable, least=1, most=MAX_VARIABLES)
    for at, variable in variables:
        checks.shaped(f"{at}.name", variable.name, r"\S(.*\S)?", "without space at either end")
        checks.choice(f"{at}.kind", variable.kind, KINDS)
        checks.text(f"{at}.label", variable.label, most=200)
    checks.distinct((f"{at}.name", variable.name) for at, variable in variables)


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
