"""The counts of a table as cells with a key for each dimension, whether the table is written wide or long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sulku.disclosure.columns import COUNTS
from sulku.disclosure.manifest import Role
from sulku.disclosure.names import names_count, names_total
from sulku.disclosure.tables import CellKind, Table

TOTAL: Final = "Σ"  # stands in a key where the table says "total", "All", "yhteensä" …


@dataclass(frozen=True, slots=True)
class Count:
    """One counted cell: ``key`` has a label for each dimension; ``value`` is ``None`` if it is hidden or missing."""

    key: tuple[str, ...]
    value: Decimal | None
    row: int
    column: int

    @property
    def total(self) -> bool:
        """Whether the cell sums over some dimension."""
        return TOTAL in self.key


@dataclass(frozen=True, slots=True)
class Grid:
    """Counts of one kind that add up along each dimension.

    Attributes:
        parts: Whether the columns are the categories of a variable (a crosstab); they add up too.
    """

    cells: tuple[Count, ...]
    parts: bool

    @property
    def dimensions(self) -> int:
        """How many labels a key has."""
        return len(self.cells[0].key) if self.cells else 0

    def groups(self, axis: int) -> Iterator[tuple[Sequence[Count], Count | None]]:
        """Yield, for each combination of the other dimensions, the cells along ``axis`` and their total, if printed."""
        lines: dict[tuple[str, ...], list[Count]] = {}
        for cell in self.cells:
            lines.setdefault(cell.key[:axis] + cell.key[axis + 1 :], []).append(cell)
        for line in lines.values():
            members = [cell for cell in line if cell.key[axis] != TOTAL]
            yield members, next((cell for cell in line if cell.key[axis] == TOTAL), None)


def grids(table: Table, roles: Sequence[Role]) -> tuple[Grid, ...]:
    """Return the grids of ``table``: one for its crosstab, if it has one, and one for every other column of counts."""
    counted = [index for index, role in enumerate(roles) if role in COUNTS]
    parts = [i for i in counted if roles[i] is not Role.TOTAL and not names_count(table.header[i])]
    totals: set[int] = set()
    if len(parts) < 2:
        parts = []
    else:
        totals = _total_columns(table, parts, [index for index in counted if index not in parts])
        parts = [index for index in parts if index not in totals]
    labels = [index for index, role in enumerate(roles) if role in {Role.LABEL, Role.TIME}]
    keys = _row_keys(table, labels, parts or counted)
    made = []
    if parts:
        columns = [(index, TOTAL if index in totals else table.header[index]) for index in (*parts, *sorted(totals))]
        made.append(Grid(tuple(_cells(table, keys, columns)), parts=True))
    alone = [index for index in counted if index not in parts and index not in totals]
    return (*made, *(Grid(tuple(_cells(table, keys, [(index, None)])), parts=False) for index in alone))


def _cells(table: Table, keys: Sequence[tuple[str, ...]], columns: Sequence[tuple[int, str | None]]) -> Iterator[Count]:
    for number, row in enumerate(table.rows):
        for index, label in columns:
            key = keys[number] if label is None else (*keys[number], label)
            yield Count(key, row[index].number if row[index].kind is not CellKind.TEXT else None, number, index)


def _total_columns(table: Table, parts: Sequence[int], others: Sequence[int]) -> set[int]:
    """Find columns that are the sum of ``parts``: by their heading, or because the numbers say so."""
    totals = {index for index in others if names_total(table.header[index])}
    totals |= {index for index in others if index not in totals and _adds_up(table, parts, index, clean_rows=0)}
    if not totals and len(parts) > 2:  # an unnamed total among the parts themselves
        for candidate in (parts[-1], parts[0]):
            if _adds_up(table, [index for index in parts if index != candidate], candidate, clean_rows=2):
                return {candidate}
    return totals


def _adds_up(table: Table, parts: Sequence[int], candidate: int, *, clean_rows: int) -> bool:
    clean = 0
    for row in table.rows:
        values = [row[index].number for index in parts]
        known = sum((value for value in values if value is not None), Decimal(0))
        total = row[candidate].number
        if total is None:
            continue
        if total < known or (None not in values and total != known):
            return False
        clean += None not in values and total > 0
    return clean >= clean_rows


def _row_keys(table: Table, labels: Sequence[int], counted: Sequence[int]) -> list[tuple[str, ...]]:
    """Return the labels of each row, with totals marked; rows that cannot be told apart are numbered instead."""
    keys = []
    for row in table.rows:
        texts = [row[index].text for index in labels]
        marked = any(names_total(text) for text in texts)
        keys.append(tuple(TOTAL if names_total(text) or (marked and not text) else text for text in texts))
    if len(set(keys)) < len(keys) or not labels:
        return [(f"row {number + 1}",) for number in range(len(table.rows))]
    if len(labels) == 1 and len(keys) > 2 and not any(TOTAL in key for key in keys) and _last_adds_up(table, counted):
        keys[-1] = (TOTAL,)
    return keys


def _last_adds_up(table: Table, counted: Sequence[int]) -> bool:
    clean = 0
    for index in counted:
        *values, total = (cell.number for cell in table.column(index))
        known = sum((value for value in values if value is not None), Decimal(0))
        if total is None or total < known or (None not in values and total != known):
            return False
        clean += None not in values and total > 0
    return clean > 0
