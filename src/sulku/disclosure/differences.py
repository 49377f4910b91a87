"""What two tables of one submission give away together: small differences, and totals that open a hidden cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Final

from sulku.disclosure.cells import Count, Grid
from sulku.disclosure.findings import Code, Finding, Severity, Where, found, limited, shown
from sulku.disclosure.margins import Equation, check_margins
from sulku.disclosure.profiles import Profile
from sulku.disclosure.tables import Table

MAX_PAIRS: Final = 2000


@dataclass(frozen=True, slots=True)
class Counted:
    """One file of a submission, with its table and the counts in it."""

    name: str
    table: Table
    grids: tuple[Grid, ...]

    def place(self, cell: Count) -> Where:
        """Return where ``cell`` is, with the file's name."""
        at = self.table.where(cell.row, cell.column)
        return Where(at.row, at.column, at.row_name, at.column_name, file=self.name)


def check_differences(files: Sequence[Counted], profile: Profile) -> list[Finding]:
    """Find pairs of cells that differ by a small number, and hidden cells that another file's totals give away."""
    grids = [(counted, grid) for counted in files for grid in counted.grids]
    pairs = list(combinations(grids, 2))
    findings: list[Finding] = []
    if len(pairs) > MAX_PAIRS:
        message = f"there are too many tables to compare each with each: {len(grids)}."
        findings.append(found(Code.UNPROVEN, Severity.REVIEW, message))
    for (first, one), (second, other) in pairs[:MAX_PAIRS]:
        if first.name == second.name:
            continue
        findings += _nested(first, one, second, other, profile)
        findings += _linked(first, one, other, second.name, profile)
        findings += _linked(second, other, one, first.name, profile)
    return limited(findings)


def _nested(first: Counted, one: Grid, second: Counted, other: Grid, profile: Profile) -> list[Finding]:
    """Compare cells with the same labels, if one table could count a part of the people in the other."""
    mine = {_folded(cell.key): cell for cell in one.cells if cell.value is not None}
    theirs = {_folded(cell.key): cell for cell in other.cells if cell.value is not None}
    gaps = [(key, _value(cell) - _value(theirs[key])) for key, cell in mine.items() if key in theirs]
    if not gaps or (any(gap < 0 for _, gap in gaps) and any(gap > 0 for _, gap in gaps)):
        return []
    return [
        found(
            Code.DIFFERENCING,
            Severity.REVIEW,
            f"{mine[key].value} here and {theirs[key].value} in {shown(second.name)}: "
            f"if one counts a part of the other, the difference is {abs(gap)} people.",
            first.place(mine[key]),
        )
        for key, gap in gaps
        if 0 < abs(gap) < profile.threshold
    ]


def _linked(counted: Counted, grid: Grid, totals: Grid, source: str, profile: Profile) -> list[Finding]:
    """Read ``totals``, which has one dimension less, as totals of ``grid``, and see what that opens."""
    if totals.dimensions != grid.dimensions - 1 or all(cell.value is not None for cell in grid.cells):
        return []
    printed = {_folded(cell.key): cell.value for cell in totals.cells if cell.value is not None}
    for axis in range(grid.dimensions):
        lines = [(members, total) for members, total in grid.groups(axis) if members]
        keys = [_folded(members[0].key[:axis] + members[0].key[axis + 1 :]) for members, _ in lines]
        if not printed or len(set(keys) & set(printed)) < min(2, len(keys)):
            continue
        extra = []
        for key, (members, _) in zip(keys, lines, strict=True):
            hidden = {cell.key: Fraction(1) for cell in members if cell.value is None}
            known = sum(map(_value, members), Decimal(0))
            if hidden and key in printed and printed[key] >= known:
                words = f"{printed[key]} in {shown(source)} less the other cells {known}"
                extra.append(Equation(hidden, Fraction(printed[key]) - Fraction(known), words))
        if extra:
            alone = {finding.where for finding in check_margins(grid, counted.place, profile)}
            together = check_margins(grid, counted.place, profile, extra=extra)
            return [finding for finding in together if finding.where not in alone]
    return []


def _value(cell: Count) -> Decimal:
    return cell.value if cell.value is not None else Decimal(0)


def _folded(key: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label.casefold() for label in key)
