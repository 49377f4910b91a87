"""What the columns of a table hold: as declared, else by their headings, else by their cells; in doubt, counts."""

from __future__ import annotations

from typing import Final

from sulku.disclosure.characters import clean
from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.disclosure.manifest import Kind, Manifest, Role
from sulku.disclosure.names import guess, names_count, names_label, names_persons, names_total
from sulku.disclosure.profiles import Profile
from sulku.disclosure.tables import Cell, CellKind, Table

COUNTS: Final = frozenset({Role.COUNT, Role.PERSONS, Role.TOTAL})
_GROUPS: Final = frozenset({Role.LABEL, Role.TIME})
_UNCHECKED: Final = frozenset({Role.LABEL, Role.TIME, Role.STATISTIC, Role.SHARE, Role.SURVIVAL, Role.SECOND, Role.LARGEST})
_NUMERIC: Final = frozenset({CellKind.INTEGER, CellKind.DECIMAL, CellKind.WITH_SHARE, CellKind.SUPPRESSED})


def roles(table: Table, manifest: Manifest) -> tuple[Role, ...]:
    """Return the role of each column; whole numbers in a frequency table are counts unless something says otherwise."""
    if row_roles(table):  # statistics stand in rows, as ``describe()`` writes them
        return (Role.LABEL, *(Role.STATISTIC for _ in table.header[1:]))
    declared = {clean(name).casefold(): role for name, role in manifest.columns.items()}
    if manifest.persons and manifest.persons != "cells":
        declared[clean(manifest.persons).casefold()] = Role.PERSONS
    several = sum(_is_numeric(table.column(index)) for index in range(len(table.header))) > 1
    return tuple(
        declared.get(name.casefold()) or _inferred(table, index, manifest.kind, several=several) for index, name in enumerate(table.header)
    )


def row_roles(table: Table) -> tuple[Role | None, ...]:
    """Return the role of each row where the first column names statistics (count, mean, std, min …), else ``()``."""
    guesses = tuple(guess(row[0].text) for row in table.rows)
    statistics = {Role.MIN, Role.MAX, Role.PERCENTILE, Role.MEAN, Role.SPREAD, Role.DEGREES}
    kinds = {role for role in guesses if role}
    alone = len(table.header) == 2 and Role.DEGREES in kinds
    return guesses if len(table.header) > 1 and (alone or len(kinds & statistics) >= 2) else ()


def _inferred(table: Table, index: int, kind: Kind | None, *, several: bool) -> Role:
    name, cells = table.header[index], table.column(index)
    suggested = guess(name)
    if not _is_numeric(cells):
        return suggested if suggested is Role.IDENTIFIER else Role.LABEL
    if any(cell.kind is CellKind.WITH_SHARE for cell in cells):
        return Role.PERSONS if names_persons(name) else Role.COUNT
    if names_total(name) and kind in {None, Kind.FREQUENCY}:
        return Role.TOTAL
    if suggested:
        return suggested
    first = index == 0 and several and len({cell.text for cell in cells}) == len(cells)
    if names_label(name) or first:
        return Role.LABEL
    if any(cell.text.endswith("%") for cell in cells):
        return Role.SHARE
    if kind in {None, Kind.FREQUENCY} and all(cell.kind is not CellKind.DECIMAL for cell in cells):
        return Role.COUNT
    return Role.STATISTIC


def _is_numeric(cells: tuple[Cell, ...]) -> bool:
    return any(cell.kind in _NUMERIC for cell in cells)


def check_roles(table: Table, found_roles: tuple[Role, ...], manifest: Manifest, profile: Profile) -> list[Finding]:
    """Find columns that look like counts but would escape the threshold, and text where numbers belong."""
    findings = []
    known = {name.casefold() for name in table.header}
    for name in (*manifest.columns, *((manifest.persons,) if manifest.persons not in {"", "cells"} else ())):
        if clean(name).casefold() not in known:
            message = f"the manifest speaks of a column {name[:60]!r} that the table does not have."
            findings.append(found(Code.DECLARED_OTHERWISE, Severity.REVIEW, message))
    leading = True
    for index, (name, role) in enumerate(zip(table.header, found_roles, strict=True)):
        cells, where = table.column(index), table.where(column=index)
        leading = leading and role in _GROUPS
        if role in COUNTS or role not in _UNCHECKED:
            findings += _mixed(table, index)
        elif role in _UNCHECKED and names_count(name):
            message = f"its heading says count, but it is declared as {role}."
            findings.append(found(Code.DECLARED_OTHERWISE, Severity.REVIEW, message, where))
        elif not leading and not row_roles(table) and _small_whole(cells, profile.threshold):
            message = f"it holds whole numbers under {profile.threshold} but is not checked as counts."
            findings.append(found(Code.DECLARED_OTHERWISE, Severity.REVIEW, message, where))
        elif _is_numeric(cells) and not leading:
            findings += _mixed(table, index)
    return findings


def _small_whole(cells: tuple[Cell, ...], threshold: int) -> bool:
    whole = [cell.number for cell in cells if cell.kind is CellKind.INTEGER and cell.number is not None]
    return len(whole) == sum(cell.number is not None for cell in cells) and any(0 < number < threshold for number in whole)


def _mixed(table: Table, index: int) -> list[Finding]:
    return [
        found(Code.MIXED_COLUMN, Severity.BLOCK, f"“{cell.text}” is not a number.", table.where(number, index))
        for number, cell in enumerate(table.column(index))
        if cell.kind is CellKind.TEXT
    ]
