"""What the researcher declares of a file: a claim that steers the checks and is never evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sulku.codec import Plain, typed
from sulku.errors import InvalidInputError

MAX_COLUMNS: Final = 200
MAX_TEXT: Final = 200
MAX_PERSONS: Final = 10**9


class Kind(StrEnum):
    """What a file claims to show. What is not declared is checked as a frequency table, the strictest."""

    FREQUENCY = "frequency table"
    STATISTICS = "statistics"
    MODEL = "model"
    PLOT = "plot"
    TEXT = "text"


class Role(StrEnum):
    """What the numbers of a column are."""

    LABEL = "label"
    COUNT = "count"
    PERSONS = "persons"
    TOTAL = "total"
    SUM = "sum"
    MEAN = "mean"
    SPREAD = "spread"
    MIN = "min"
    MAX = "max"
    PERCENTILE = "percentile"
    SHARE = "share"
    DEGREES = "dof"
    LARGEST = "largest"
    SECOND = "second"
    SURVIVAL = "survival"
    TIME = "time"
    STATISTIC = "statistic"
    IDENTIFIER = "identifier"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file's entry in a submission's manifest.

    Attributes:
        columns: Heading -> role.
        persons: Heading of the column that counts distinct persons, or ``cells`` if every count does; empty if not said.
        population: Distinct persons in the whole analysis; 0 if not said.
        smallest: Least number of persons behind any mark of a figure; 0 if not said.
        observations, parameters, dof: Of a model; 0 if not said (``dof`` -1).
        rounding: Heading -> scheme, such as ``midpoint-6``.
    """

    name: str = ""
    kind: Kind | None = None
    title: str = ""
    context: str = ""
    columns: dict[str, Role] = field(default_factory=dict)
    persons: str = ""
    population: int = 0
    smallest: int = 0
    observations: int = 0
    parameters: int = 0
    dof: int = -1
    rounding: dict[str, str] = field(default_factory=dict)


def parse(data: Plain) -> Manifest:
    """Return the manifest that untrusted ``data`` holds; ``persons`` may be a whole number, then it is ``population``.

    Raises:
        InvalidInputError: A field is unknown, of the wrong type or too large; ``fields`` names it.
    """
    if isinstance(data, dict) and type(data.get("persons")) is int:
        data = {**{key: value for key, value in data.items() if key != "persons"}, "population": data["persons"]}
    if isinstance(data, dict):  # what a client adds about the bytes is measured here instead
        data = {key: value for key, value in data.items() if key not in {"size", "sha256"}}
    manifest = typed(Manifest, data)
    problems = [
        (name, f"must lie between 0 and {MAX_PERSONS}")
        for name in ("population", "smallest", "observations", "parameters")
        if not 0 <= getattr(manifest, name) <= MAX_PERSONS
    ]
    if not -1 <= manifest.dof <= MAX_PERSONS:
        problems.append(("dof", f"must lie between 0 and {MAX_PERSONS}"))
    for name in ("columns", "rounding"):
        entries = getattr(manifest, name)
        if len(entries) > MAX_COLUMNS or any(len(key) > MAX_TEXT for key in entries):
            problems.append((name, f"at most {MAX_COLUMNS} columns with headings of {MAX_TEXT} characters"))
    for name, most in (("name", MAX_TEXT), ("title", MAX_TEXT), ("persons", MAX_TEXT), ("context", 4000)):
        if len(getattr(manifest, name)) > most:
            problems.append((name, f"at most {most} characters"))
    if problems:
        raise InvalidInputError("the manifest's entry for this file is wrong", fields=problems)
    return manifest
