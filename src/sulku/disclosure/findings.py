"""What a check has found: a stable code, how grave it is, where exactly, in the researcher's words, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sulku.codec import Plain, plain

MAX_SHOWN: Final = 60  # characters of a label in a message; the locator keeps its row and column numbers
MAX_PER_CODE: Final = 40  # findings of one code in one file that are listed one by one


class Severity(StrEnum):
    """How grave a finding is; ``block`` forbids release, ``review`` needs a person's answer, ``note`` informs."""

    BLOCK = "block"
    REVIEW = "review"
    NOTE = "note"


class Code(StrEnum):
    """Every kind of finding. A code never changes its meaning: the ledger, the pages and the receipts all show it."""

    # statistics
    SMALL_COUNT = "small-count"
    SMALL_COMPLEMENT = "small-complement"
    ZERO_COUNT = "zero-count"
    CLASS_DISCLOSURE = "class-disclosure"
    GROUP_DISCLOSURE = "group-disclosure"
    DOMINANCE = "dominance"
    DOMINANCE_UNKNOWN = "dominance-unknown"
    LOW_DEGREES = "low-degrees-of-freedom"
    DEGREES_UNKNOWN = "degrees-of-freedom-unknown"
    EXTREME_VALUE = "extreme-value"
    PERCENTILE = "percentile"
    NO_SPREAD = "no-spread"
    COUNTS_MISSING = "counts-missing"
    PERSONS_UNKNOWN = "persons-unknown"
    SURVIVAL_STEPS = "survival-steps"
    RECOVERABLE = "recoverable"
    NARROW_INTERVAL = "narrow-interval"
    UNPROVEN = "suppression-unproven"
    DIFFERENCING = "differencing"
    ROW_LEVEL = "row-level-data"
    MANY_ROWS = "many-rows"
    IDENTIFIER = "identifier"
    ROUNDED = "rounded-counts"
    DECLARED_OTHERWISE = "declared-otherwise"
    # files
    NAME = "unsafe-name"
    KIND = "kind-not-accepted"
    TYPE_LIE = "not-what-its-name-says"
    TOO_LARGE = "too-large"
    ENCODING = "encoding"
    CHARACTER = "forbidden-character"
    FORMULA = "formula"
    SHAPE = "shape"
    MIXED_COLUMN = "mixed-column"
    PRECISION = "precision"
    ENCODED_BLOB = "encoded-text"
    TABLE_IN_TEXT = "table-in-text"
    HIDDEN_DATA = "hidden-data"
    PICTURE = "picture"
    UNREADABLE = "unreadable"
    MANIFEST = "manifest"


ADVICE: Final[dict[Code, str]] = {
    Code.SMALL_COUNT: "Suppress it, or merge it with a neighbouring row or column, then submit again.",
    Code.SMALL_COMPLEMENT: "Merge groups, or leave one of the two columns out.",
    Code.ZERO_COUNT: "Say why it cannot be otherwise (for example by definition), or merge the group with a neighbour.",
    Code.CLASS_DISCLOSURE: "Merge the categories or the groups, so that nobody's value follows from their group.",
    Code.GROUP_DISCLOSURE: "Merge the categories or the groups, or explain why this share is no secret.",
    Code.DOMINANCE: "Merge the group with another, or suppress the value.",
    Code.DOMINANCE_UNKNOWN: "Add the largest and second largest person's contribution to each group (roles largest, second).",
    Code.LOW_DEGREES: "Fit a smaller model, or use more observations.",
    Code.DEGREES_UNKNOWN: "Declare observations and parameters (or dof) for this file in the manifest.",
    Code.EXTREME_VALUE: "Leave it out: it is one person's value. Use the 5th or 95th percentile of a large group.",
    Code.PERCENTILE: "Give the number of persons beside it, or round it to a coarser step.",
    Code.NO_SPREAD: "Suppress mean and spread of this group: everybody in it has the same value.",
    Code.COUNTS_MISSING: "Add a column with the number of persons behind each row.",
    Code.PERSONS_UNKNOWN: "Say in the manifest which column counts distinct persons (persons).",
    Code.SURVIVAL_STEPS: "Use longer steps of time, and give the persons at risk and the events of each step.",
    Code.RECOVERABLE: "Suppress a second cell in the same row and column, or leave the totals out.",
    Code.NARROW_INTERVAL: "Suppress a larger cell beside it, or merge rows or columns.",
    Code.UNPROVEN: "Split the table, or merge rows and columns until fewer cells need to be hidden.",
    Code.DIFFERENCING: "Use the same population in both tables, merge the group, or publish only one of the two.",
    Code.ROW_LEVEL: "Aggregate: a result describes groups, never single persons.",
    Code.MANY_ROWS: "Keep what the paper needs, and say why so many rows are needed.",
    Code.IDENTIFIER: "Remove every identity code.",
    Code.ROUNDED: "Keep all derived numbers computed from the rounded counts.",
    Code.DECLARED_OTHERWISE: "Correct the manifest, or explain in the context what this column holds.",
    Code.NAME: "Use letters, digits, spaces, dots, hyphens and underscores.",
    Code.KIND: "Export tables as CSV, figures as PNG or JPEG, and text as plain text.",
    Code.TYPE_LIE: "Give the file the ending that fits what is in it.",
    Code.TOO_LARGE: "Split or shorten it.",
    Code.ENCODING: "Save it as UTF-8.",
    Code.CHARACTER: "Remove the character; copying as plain text usually helps.",
    Code.FORMULA: "Begin the cell with a letter or a digit: spreadsheets run cells that begin with = + - or @.",
    Code.SHAPE: "Write one header row, and one cell under each heading in every row.",
    Code.MIXED_COLUMN: "Put only plain numbers (no thousands separators) or [suppressed] in a column of numbers.",
    Code.PRECISION: "Nothing to do: fewer digits leave than you sent.",
    Code.ENCODED_BLOB: "Remove it, or submit what it encodes as a file of its own.",
    Code.TABLE_IN_TEXT: "Submit the table as CSV, so that it can be checked.",
    Code.HIDDEN_DATA: "Nothing to do if you did not put it there: it does not leave.",
    Code.PICTURE: "Declare smallest: the least number of persons behind any point, bar or bin of the figure.",
    Code.MANIFEST: "Correct the manifest and submit again.",
    Code.UNREADABLE: "Save it again with a common program; make it smaller if it is large.",
}


@dataclass(frozen=True, slots=True)
class Where:
    """Where in a file; rows and columns are counted from 0, rows below the header, lines and pages from 1."""

    row: int | None = None
    column: int | None = None
    row_name: str = ""
    column_name: str = ""
    line: int | None = None
    file: str = ""

    def words(self) -> str:
        """Say the place as a reader of the table would: ``Row Kemi, column 65–74``; empty if it is the whole file."""
        parts = []
        if self.row is not None:
            parts.append(f"row {shown(self.row_name) or self.row + 1}")
        if self.column is not None:
            parts.append(f"column {shown(self.column_name) or self.column + 1}")
        if self.line is not None:
            parts.append(f"line {self.line}")
        text = ", ".join(parts)
        return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check has found. ``message`` says what, ``advice`` what the researcher can do about it.

    ``document`` turns it to plain JSON values, ``sulku.codec.typed`` back.
    """

    code: Code
    severity: Severity
    message: str
    where: Where = Where()
    advice: str = ""

    def document(self) -> dict[str, Plain]:
        """Return the finding as plain JSON values, as the ledger and the pages keep it."""
        return plain(self)  # type: ignore[no-any-return]


def found(code: Code, severity: Severity, message: str, where: Where | None = None) -> Finding:
    """Return the finding, with the place before the message and the advice that belongs to the code."""
    where = where or Where()
    place = where.words()
    text = f"{place}: {message}" if place else message[:1].upper() + message[1:]
    return Finding(code, severity, text, where, ADVICE[code])


def limited(findings: list[Finding]) -> list[Finding]:
    """Return ``findings`` with at most ``MAX_PER_CODE`` of each code and severity; the last one says how many more."""
    kept: list[Finding] = []
    seen: dict[tuple[Code, Severity], int] = {}
    last: dict[tuple[Code, Severity], int] = {}
    for finding in findings:
        key = (finding.code, finding.severity)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= MAX_PER_CODE:
            last[key] = len(kept)
            kept.append(finding)
    for key, count in seen.items():
        if count > MAX_PER_CODE:
            final = kept[last[key]]
            more = count - MAX_PER_CODE
            kept[last[key]] = replace(final, message=f"{final.message} And {more} more like this in the file.")
    return kept


def shown(label: str) -> str:
    """Return ``label``, shortened to what a message has room for."""
    return label if len(label) <= MAX_SHOWN else f"{label[: MAX_SHOWN - 1]}…"
