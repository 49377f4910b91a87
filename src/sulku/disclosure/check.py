"""All checks of one table, and of the tables of one submission together."""

from __future__ import annotations

from collections.abc import Sequence

from sulku.disclosure.cells import grids
from sulku.disclosure.columns import check_roles, roles
from sulku.disclosure.counts import check_counts
from sulku.disclosure.differences import Counted, check_differences
from sulku.disclosure.findings import Finding, Severity, limited
from sulku.disclosure.manifest import Manifest
from sulku.disclosure.margins import check_margins
from sulku.disclosure.profiles import Profile
from sulku.disclosure.statistics import check_statistics
from sulku.disclosure.tables import Table

_ORDER = tuple(Severity)


def check_table(table: Table, manifest: Manifest, profile: Profile) -> tuple[Finding, ...]:
    """Return everything that the checks find in ``table``, gravest first."""
    had = roles(table, manifest)
    counted = grids(table, had)
    findings = [
        *check_roles(table, had, manifest, profile),
        *check_counts(table, had, counted, manifest, profile),
        *check_statistics(table, had, manifest, profile),
    ]
    for grid in counted:
        findings += check_margins(grid, lambda cell: table.where(cell.row, cell.column), profile)
    return ordered(findings)


def check_together(files: Sequence[tuple[str, Table, Manifest]], profile: Profile) -> tuple[Finding, ...]:
    """Return what the tables of one submission (name, table, manifest) give away together."""
    counted = [Counted(name, table, grids(table, roles(table, manifest))) for name, table, manifest in files]
    return ordered(check_differences(counted, profile))


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings without repetition, gravest first, each code at most as often as a reader needs."""
    unique = list(dict.fromkeys(findings))
    return tuple(sorted(limited(unique), key=lambda finding: _ORDER.index(finding.severity)))
