"""Hostile CSV in, a strict table of typed cells or a refusal; and the one canonical form in which a table leaves."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Final

from sulku.disclosure.characters import clean, named, offence
from sulku.disclosure.findings import Code, Finding, Severity, Where, found
from sulku.disclosure.names import names_count, names_label
from sulku.errors import UnreadableTableError

MAX_BYTES: Final = 2 * 2**20
MAX_ROWS: Final = 5000
MAX_COLUMNS: Final = 200
MAX_CELL: Final = 200  # characters
MAX_PROBLEMS: Final = 20  # reported at once
DIGITS: Final = 6
SUPPRESSED: Final = "[suppressed]"
# Whole numbers above this many digits are not counts of people; they leave rounded like any other number.
WHOLE_DIGITS: Final = 15

_NUMBER: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?) ?(%?)", re.ASCII)
_COMMA: Final = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d{1,3})?", re.ASCII)
_LEADING_ZERO: Final = re.compile(r"[+-]?0\d", re.ASCII)
_WITH_SHARE: Final = re.compile(r"(\d{1,15}) ?\((<? ?\d+(?:\.\d+)?) ?%?\)", re.ASCII)
_INNER: Final = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])", re.ASCII)
_EXACT_MARKERS: Final = frozenset({SUPPRESSED, "[redacted]"})
_MARKERS: Final = frozenset({*_EXACT_MARKERS, "suppressed", "redacted", "*", "**", "***", "x", "c", "..", "...", "…", "-", "–", "—"})
_BELOW: Final = re.compile(r"(?:n ?)?(?:<|≤|<=) ?\d{1,3}", re.ASCII)
_MISSING: Final = frozenset({"", "na", "n/a", "nan", "none", "null", "."})


class CellKind(StrEnum):
    """What a cell holds. ``WITH_SHARE`` is a count with a percentage, ``12 (3.4%)``, as clinical tables write it."""

    EMPTY = "empty"
    SUPPRESSED = "suppressed"
    INTEGER = "integer"
    DECIMAL = "decimal"
    WITH_SHARE = "with-share"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: ``text`` is its canonical form, ``number`` its value (of ``WITH_SHARE``, the count)."""

    kind: CellKind
    text: str
    number: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A rectangle of cells under unique headings; ``trimmed`` cells lost digits on the way in."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    trimmed: int = field(default=0, compare=False)

    def column(self, index: int) -> tuple[Cell, ...]:
        """Return the cells of one column, from the top."""
        return tuple(row[index] for row in self.rows)

    def where(self, row: int | None = None, column: int | None = None) -> Where:
        """Return the place of a cell, a row or a column, with their names; a row is called by its first cell."""
        return Where(
            row=row,
            column=column,
            row_name="" if row is None else self.rows[row][0].text,
            column_name="" if column is None else self.header[column],
        )


def canonical(number: Decimal, digits: int = DIGITS) -> str:
    """Return ``number`` with at most ``digits`` significant digits (whole digits are kept up to 15), in one spelling.

    Trailing zeros, plus signs, negative zero and spare digits could each carry a message, so none is kept.
    """
    if not number:
        return "0"
    places = number.adjusted()
    keep = max(digits, places + 1) if places < WHOLE_DIGITS else digits
    rounded = Context(prec=keep, rounding=ROUND_HALF_EVEN, Emax=9999, Emin=-9999).plus(number).normalize()
    if -6 <= rounded.adjusted() < WHOLE_DIGITS:
        return f"{rounded:f}"
    return f"{rounded:E}"


def parse(data: bytes, digits: int = DIGITS) -> Table:
    """Return the table that ``data`` holds: UTF-8, one header row, separated by commas, semicolons or tabs.

    With semicolons or tabs, decimal commas are read too. What is returned is already in canonical form:
    ``parse(rebuild(table)) == table``.

    Raises:
        UnreadableTableError: It is not such a table; ``findings`` names each problem and its place.
    """
    if len(data) > MAX_BYTES:
        raise _refusal(Code.TOO_LARGE, f"the table is larger than {MAX_BYTES // 2**20} MiB.")
    try:
        text = data.decode("utf-8-sig", "strict").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _refusal(Code.ENCODING, f"byte {error.start} is not UTF-8.") from None
    lines = text.removesuffix("\n").split("\n")
    delimiter = _delimiter(lines[0])
    _require_visible(lines, delimiter)
    raw = _split(lines, delimiter)
    header, body = [clean(name) for name in raw[0]], [[clean(cell) for cell in row] for row in raw[1:]]
    problems = [*_header_problems(header), *_body_problems(header, body, decimal_comma=delimiter != ",")]
    if problems:
        raise UnreadableTableError("the table cannot be read as it is", findings=problems[:MAX_PROBLEMS])
    return _typed(header, body, digits, decimal_comma=delimiter != ",")


def rebuild(table: Table) -> bytes:
    """Return the table as canonical CSV: UTF-8, commas, LF, quotes only where a reader needs them."""
    return write(texts(table))


def texts(table: Table) -> tuple[tuple[str, ...], ...]:
    """Return the canonical text of every cell, the headings first: what a reviewer is shown and what leaves."""
    return (table.header, *(tuple(cell.text for cell in row) for row in table.rows))


def rows_of(value: object) -> tuple[tuple[str, ...], ...]:
    """Return ``value`` (decoded JSON, not trusted) as rows of text.

    Raises:
        UnreadableTableError: It is not a list of lists of text.
    """
    if not isinstance(value, list) or not all(isinstance(row, list) and all(isinstance(t, str) for t in row) for row in value):
        raise _refusal(Code.SHAPE, "the rows are not a table.")
    return tuple(tuple(row) for row in value)


def write(rows: Sequence[Sequence[str]]) -> bytes:
    """Return ``rows`` as canonical CSV, whoever made them.

    Raises:
        UnreadableTableError: They are not a rectangle of allowed size, or a cell may not leave.
    """
    width = len(rows[0]) if rows else 0
    if not 1 <= width <= MAX_COLUMNS or not 2 <= len(rows) <= MAX_ROWS + 1 or any(len(row) != width for row in rows):
        raise _refusal(Code.SHAPE, "the rows are not a table.")
    for row in rows:
        for text in row:
            if problems := _unfit(text):
                raise UnreadableTableError("a cell may not leave", findings=problems)
    return "".join(",".join(_quoted(text, width) for text in row) + "\n" for row in rows).encode()


def _unfit(text: str) -> list[Finding]:
    if clean(text) != text:
        return [found(Code.CHARACTER, Severity.BLOCK, "a cell is not in its one form.")]
    fits = _number(text, decimal_comma=False) is not None or text in _MARKERS
    return [] if fits else _text_problems(text, Where())


def _quoted(text: str, width: int) -> str:
    # The other delimiters are quoted too, so that nobody's reader splits the row in another place.
    if set(text) & set(',;"\t') or (not text and width == 1):
        return '"' + text.replace('"', '""') + '"'
    return text


def _refusal(code: Code, message: str, where: Where | None = None) -> UnreadableTableError:
    return UnreadableTableError(message, findings=[found(code, Severity.BLOCK, message, where)])


def _delimiter(first: str) -> str:
    bare = re.sub(r'"[^"]*"', "", first)
    if "\t" in bare:
        return "\t"
    return ";" if ";" in bare and "," not in bare else ","


def _require_visible(lines: Iterable[str], delimiter: str) -> None:
    for number, line in enumerate(lines, start=1):
        bare = line.replace("\t", "") if delimiter == "\t" else line
        for character in bare:
            if character < " " or character == "\x7f":
                raise _refusal(Code.CHARACTER, f"it holds the character {named(character)}.", Where(line=number))


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    if len(lines) - 1 > MAX_ROWS:
        raise _refusal(Code.TOO_LARGE, f"the table has {len(lines) - 1} rows; the most is {MAX_ROWS}.")
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise _refusal(Code.SHAPE, f"it is not well-formed CSV: {error}.") from None
    if len(rows) != len(lines):
        raise _refusal(Code.SHAPE, "a cell holds a line break.")
    if len(rows) < 2:
        raise _refusal(Code.SHAPE, "the table has no rows below its header.")
    if len(rows[0]) > MAX_COLUMNS:
        raise _refusal(Code.TOO_LARGE, f"the table has {len(rows[0])} columns; the most is {MAX_COLUMNS}.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            message = f"it has {len(row)} cells, but there are {len(rows[0])} headings."
            raise _refusal(Code.SHAPE, message, Where(line=number))
    return rows


def _header_problems(header: Sequence[str]) -> list[Finding]:
    problems = []
    seen: set[str] = set()
    for index, name in enumerate(header):
        where = Where(column=index, column_name=name)
        problems += _text_problems(name, where)
        if not name and index:  # pandas writes an index without a name as an empty first heading
            problems.append(found(Code.SHAPE, Severity.BLOCK, "it has no heading.", where))
        if name.casefold() in seen:
            problems.append(found(Code.SHAPE, Severity.BLOCK, "another column has the same heading.", where))
        seen.add(name.casefold())
    return problems


def _body_problems(header: Sequence[str], body: Sequence[Sequence[str]], *, decimal_comma: bool) -> list[Finding]:
    problems: list[Finding] = []
    for number, row in enumerate(body):
        for index, text in enumerate(row):
            if not _number(text, decimal_comma=decimal_comma) and text.casefold() not in _MARKERS:
                where = Where(number, index, "" if offence(row[0]) else row[0], header[index])
                problems += _text_problems(text, where)
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems


def _text_problems(text: str, where: Where) -> list[Finding]:
    problems = []
    if len(text) > MAX_CELL:
        message = f"the cell has {len(text)} characters; the most is {MAX_CELL}."
        problems.append(found(Code.TOO_LARGE, Severity.BLOCK, message, where))
    if wrong := offence(text):
        place = Where(where.row, where.column)  # its names may hold the very character
        problems.append(found(Code.CHARACTER, Severity.BLOCK, f"{wrong}.", place))
    elif text[:1] and text[0] in "=+-@＝＋－＠":
        problems.append(found(Code.FORMULA, Severity.BLOCK, f"the cell begins with {text[0]} and is no number.", where))
    return problems


def _number(text: str, *, decimal_comma: bool) -> Decimal | None:
    match = _NUMBER.fullmatch(text)
    if not match and decimal_comma and _COMMA.fullmatch(text):
        match = _NUMBER.fullmatch(text.replace(",", "."))
    if not match or _LEADING_ZERO.match(text):  # 091 is a municipality, not ninety-one
        return None
    return Decimal(match[1])


def _typed(header: Sequence[str], body: Sequence[Sequence[str]], digits: int, *, decimal_comma: bool) -> Table:
    columns = [_column(name, index, [row[index] for row in body], digits, decimal_comma=decimal_comma) for index, name in enumerate(header)]
    trimmed = sum(lost for _, lost in columns)
    return Table(tuple(header), tuple(zip(*(cells for cells, _ in columns), strict=True)), trimmed)


def _column(name: str, index: int, texts: list[str], digits: int, *, decimal_comma: bool) -> tuple[list[Cell], int]:
    cells, lost = [], 0
    markers = _may_be_suppressed(name, index, texts, decimal_comma=decimal_comma)
    for text in texts:
        cell = _cell(text, digits, decimal_comma=decimal_comma, markers=markers)
        cells.append(cell)
        value = _number(text, decimal_comma=decimal_comma)
        lost += Decimal(cell.text.rstrip("%")) != value if value is not None else len(cell.text) < len(text)
    return cells, lost


def _may_be_suppressed(name: str, index: int, texts: list[str], *, decimal_comma: bool) -> bool:
    """Say whether marks such as ``*`` or ``<10`` stand for hidden numbers here; in a column of labels, they are labels."""
    if names_label(name) or (index == 0 and not names_count(name)):
        return False
    return all(
        _number(text, decimal_comma=decimal_comma) is not None
        or text.casefold() in _MARKERS | _MISSING
        or _BELOW.fullmatch(text.casefold())
        or _WITH_SHARE.fullmatch(text)
        for text in texts
    )


def _cell(text: str, digits: int, *, decimal_comma: bool, markers: bool) -> Cell:
    number = _number(text, decimal_comma=decimal_comma)
    if number is not None:
        written = canonical(number, digits) + ("%" if text.endswith("%") else "")
        whole = written.removeprefix("-").isdecimal()
        return Cell(CellKind.INTEGER if whole else CellKind.DECIMAL, written, Decimal(written.rstrip("%")))
    if not text or (markers and text.casefold() in _MISSING):
        return Cell(CellKind.EMPTY, "")
    if markers and (text.casefold() in _MARKERS or _BELOW.fullmatch(text.casefold())):
        return Cell(CellKind.SUPPRESSED, SUPPRESSED)
    short = _INNER.sub(lambda match: canonical(Decimal(match[0]), digits) if _spare(match[0], digits) else match[0], text)
    if match := _WITH_SHARE.fullmatch(short):
        return Cell(CellKind.WITH_SHARE, short, Decimal(match[1]))
    return Cell(CellKind.TEXT, short)


def _spare(text: str, digits: int) -> bool:
    return len(Decimal(text).as_tuple().digits) > digits
