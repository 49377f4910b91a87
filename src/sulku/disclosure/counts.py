"""Checks of counts: the threshold, empty cells, groups in which everybody is the same, and complements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from sulku.disclosure.cells import Count, Grid
from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.disclosure.manifest import Kind, Manifest, Role
from sulku.disclosure.profiles import Profile
from sulku.disclosure.tables import Table

MIN_ROUNDED: Final = 4  # non-zero cells that must fit a rounding scheme before it is believed
_PART: Final = re.compile(r".*(?:event|death|case|observed|censor|kuolem|tapau).*")


def check_counts(table: Table, roles: Sequence[Role], grids: Sequence[Grid], manifest: Manifest, profile: Profile) -> list[Finding]:
    """Find cells with too few people, and groups whose members' value follows from their group."""
    findings: list[Finding] = []
    frequency = manifest.kind in {None, Kind.FREQUENCY}
    for grid in grids:
        rounded = _is_rounded(table, grid, manifest, profile)
        if rounded:
            findings.append(found(Code.ROUNDED, Severity.NOTE, "counts are rounded to midpoints of six, as declared."))
        else:
            people = grid.parts or manifest.persons == "cells"
            findings += _small(table, roles, grid, profile, people=people)
        if frequency or grid.parts:
            findings += _shares(table, grid, profile)
    findings += _zeros(table, grids, {finding.where for finding in findings}, profile)
    findings += _complements(table, roles, profile)
    known = manifest.persons or Role.PERSONS in roles
    if grids and not known:
        message = "nothing says whether the counts are of distinct persons or of records."
        findings.append(found(Code.PERSONS_UNKNOWN, Severity.NOTE, message))
    return findings


def _small(table: Table, roles: Sequence[Role], grid: Grid, profile: Profile, *, people: bool) -> list[Finding]:
    findings = []
    for cell in grid.cells:
        if cell.value is not None and 0 < abs(cell.value) < profile.threshold:
            persons = people or roles[cell.column] is Role.PERSONS
            what = f"{_people(cell.value)}" if persons else f"a count of {cell.value}"
            message = f"{what}; the limit is {profile.threshold}."
            findings.append(found(Code.SMALL_COUNT, Severity.BLOCK, message, table.where(cell.row, cell.column)))
    return findings


def _people(number: Decimal) -> str:
    return "1 person" if number == 1 else f"{number} people"


def _shares(table: Table, grid: Grid, profile: Profile) -> list[Finding]:
    """Find cells that hold nearly all of a row or column (the 90 % rule); all of it is class disclosure."""
    worst: dict[Count, tuple[Decimal, Decimal]] = {}
    for axis in range(grid.dimensions):
        for members, total in grid.groups(axis):
            held = sum((cell.value or Decimal(0) for cell in members), Decimal(0))
            whole = total.value if total is not None and total.value else held
            if len(members) < 2 or (total is None and any(cell.value is None for cell in members)):
                continue  # with a hidden cell and no total, nobody knows the whole
            for cell in members:
                value = cell.value or Decimal(0)
                had = worst.get(cell, (Decimal(0), Decimal(1)))
                if value * 100 > profile.share_percent * whole and value * had[1] > had[0] * whole:
                    worst[cell] = (value, whole)
    findings = []
    severity = Severity.BLOCK if profile.zeros_block else Severity.REVIEW
    for cell, (value, whole) in worst.items():
        where = table.where(cell.row, cell.column)
        if value >= whole:
            message = f"all {whole} of its group are in this one cell, so each one's value is known."
            findings.append(found(Code.CLASS_DISCLOSURE, severity, message, where))
        else:
            message = f"{value} of {whole} in its group are in this one cell; the limit is {profile.share_percent} %."
            findings.append(found(Code.GROUP_DISCLOSURE, Severity.REVIEW, message, where))
    return findings


def _zeros(table: Table, grids: Sequence[Grid], told: set[object], profile: Profile) -> list[Finding]:
    severity = Severity.BLOCK if profile.zeros_block else Severity.REVIEW
    return [
        found(Code.ZERO_COUNT, severity, "nobody is in this cell; that says something of everybody else.", where)
        for grid in grids
        for cell in grid.cells
        if cell.value == 0 and (where := table.where(cell.row, cell.column)) not in told
    ]


def _complements(table: Table, roles: Sequence[Role], profile: Profile) -> list[Finding]:
    """Find rows in which few are left when one count is a part of another, as events are of persons at risk."""
    counted = [index for index, role in enumerate(roles) if role in {Role.COUNT, Role.PERSONS}]
    parts = [index for index in counted if _PART.fullmatch(table.header[index].casefold())]
    wholes = [index for index in counted if index not in parts]
    findings = []
    for number, row in enumerate(table.rows):
        for part in parts:
            for whole in wholes:
                inner, outer = row[part].number, row[whole].number
                if inner is not None and outer is not None and 0 < outer - inner < profile.threshold:
                    message = f"{outer} less {table.header[part]} {inner} leaves {_people(outer - inner)}."
                    findings.append(found(Code.SMALL_COMPLEMENT, Severity.REVIEW, message, table.where(number, whole)))
    return findings


def _is_rounded(table: Table, grid: Grid, manifest: Manifest, profile: Profile) -> bool:
    """Say whether all counts fit midpoint-6 rounding (0, 3, 9, 15 …) and are declared, or headed, so."""
    scheme = "midpoint-6"
    if scheme not in profile.rounding or not grid.cells:
        return False
    headings = {table.header[cell.column] for cell in grid.cells}
    declared = all(
        heading.casefold().endswith("_midpoint6") or manifest.rounding.get(heading, manifest.rounding.get("*")) == scheme
        for heading in headings
    )
    values = [(cell.value, cell.total) for cell in grid.cells if cell.value]
    fits = all(value % 3 == 0 if total else value % 6 == 3 for value, total in values)
    return declared and fits and len(values) >= MIN_ROUNDED
