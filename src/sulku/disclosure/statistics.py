"""Checks of what is not a count: extremes, percentiles, sums, spreads, survival curves, models, and rows of persons."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from sulku.disclosure.columns import COUNTS, row_roles
from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.disclosure.identifiers import identity_codes
from sulku.disclosure.manifest import Kind, Manifest, Role
from sulku.disclosure.profiles import Profile
from sulku.disclosure.tables import CellKind, Table

MIN_ROWS: Final = 15  # fewer rows are not taken for records of persons
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}.*|\d{1,2}[./]\d{1,2}[./]\d{4}.*")
_SHARE: Final = re.compile(r"(\d{1,2}(?:\.\d)?) ?%|.*p(\d{1,2})")
_EVENTS: Final = re.compile(r".*(?:event|death|observed|kuolem).*")


def check_statistics(table: Table, roles: Sequence[Role], manifest: Manifest, profile: Profile) -> list[Finding]:
    """Find single persons' values, dominated sums, models without freedom, and rows that look like persons."""
    across = row_roles(table)
    findings = [
        *_extremes(table, roles, profile),
        *(_described(table, across, profile) if across else ()),
        *_dominance(table, roles, profile),
        *_survival(table, roles, manifest, profile),
        *_degrees(table, roles, across, manifest, profile),
        *_microdata(table, roles, manifest, profile),
    ]
    needing = {Role.MEAN, Role.SUM, Role.SPREAD, Role.PERCENTILE, Role.MIN, Role.MAX}
    if (needing & set(roles) and not COUNTS & set(roles)) or (across and not COUNTS & set(across) and needing & set(across)):
        findings.append(found(Code.COUNTS_MISSING, Severity.REVIEW, "the number of persons behind the statistics is not shown."))
    if table.trimmed:
        message = f"{table.trimmed} numbers had more than {profile.digits} significant digits and leave rounded."
        findings.append(found(Code.PRECISION, Severity.NOTE, message))
    return findings


def _tail(heading: str) -> Decimal:
    """Return the smaller share of people beyond the percentile that ``heading`` names; an unknown one counts as 5 %."""
    name = heading.casefold()
    if "median" in name or "mediaani" in name or name == "q2":
        return Decimal("0.5")
    if name in {"q1", "q3"} or "quartile" in name or "iqr" in name:
        return Decimal("0.25")
    match = _SHARE.fullmatch(name)
    percent = Decimal((match[1] or match[2]) if match else 5)
    return min(percent, 100 - percent) / 100


def _extreme(role: Role, name: str, persons: Decimal | None, profile: Profile) -> tuple[Code, Severity, str] | None:
    if role in {Role.MIN, Role.MAX}:
        return Code.EXTREME_VALUE, Severity.REVIEW, "a smallest or largest value is that of one person."
    beyond = None if persons is None else persons * _tail(name)
    if beyond is not None and beyond >= profile.threshold:
        return None
    known = "an unknown number of people lie" if beyond is None else f"only {beyond.normalize():f} people lie"
    return Code.PERCENTILE, Severity.REVIEW, f"{known} beyond this percentile; the limit is {profile.threshold}."


def _extremes(table: Table, roles: Sequence[Role], profile: Profile) -> list[Finding]:
    findings = []
    counted = [index for index, role in enumerate(roles) if role in COUNTS]
    for index, role in enumerate(roles):
        values = [cell.number for cell in table.column(index) if cell.number is not None]
        if role is Role.SPREAD and any(value == 0 for value in values):
            rows = [number for number, cell in enumerate(table.column(index)) if cell.number == 0]
            findings += [_no_spread(table, number, index) for number in rows]
        if role not in {Role.MIN, Role.MAX, Role.PERCENTILE} or not values:
            continue
        shown = [row for row in table.rows if row[index].number is not None]
        sizes = [min((row[i].number or Decimal(0) for i in counted), default=None) for row in shown]
        least = None if None in sizes else min(size for size in sizes if size is not None)
        if problem := _extreme(role, table.header[index], least, profile):
            findings.append(found(*problem, table.where(column=index)))
    return findings


def _no_spread(table: Table, row: int, column: int) -> Finding:
    message = "the spread is 0: everybody in the group has the same value."
    return found(Code.NO_SPREAD, Severity.REVIEW, message, table.where(row, column))


def _described(table: Table, across: Sequence[Role | None], profile: Profile) -> list[Finding]:
    """Check a table whose rows are statistics and whose columns are variables."""
    findings = []
    counts = [row for row, role in zip(table.rows, across, strict=True) if role in COUNTS]
    for number, role in enumerate(across):
        row = table.rows[number]
        if role in {Role.MIN, Role.MAX, Role.PERCENTILE}:
            sizes = [line[index].number for line in counts for index in range(1, len(row))]
            least = None if not sizes or None in sizes else min(size for size in sizes if size is not None)
            if problem := _extreme(role, row[0].text, least, profile):
                findings.append(found(*problem, table.where(row=number)))
        for index, cell in enumerate(row[1:], start=1):
            if role in COUNTS and cell.number is not None and 0 < cell.number < profile.threshold:
                message = f"a count of {cell.number}; the limit is {profile.threshold}."
                findings.append(found(Code.SMALL_COUNT, Severity.BLOCK, message, table.where(number, index)))
            if role is Role.SPREAD and cell.number == 0:
                findings.append(_no_spread(table, number, index))
    return findings


def _dominance(table: Table, roles: Sequence[Role], profile: Profile) -> list[Finding]:
    """Apply the p% rule, ``X - x1 - x2 < p x1``, and the (1, k) rule, ``x1 > k X``, where contributions are given."""
    columns = {role: [i for i, had in enumerate(roles) if had is role] for role in (Role.SUM, Role.LARGEST, Role.SECOND)}
    findings: list[Finding] = []
    for index in columns[Role.SUM]:
        largest = _paired(table, index, columns[Role.LARGEST])
        second = _paired(table, index, columns[Role.SECOND])
        if largest is None:
            message = "it holds sums; whether one person makes up most of one cannot be seen."
            findings.append(found(Code.DOMINANCE_UNKNOWN, Severity.REVIEW, message, table.where(column=index)))
            continue
        for number, row in enumerate(table.rows):
            total, first = row[index].number, row[largest].number
            next_one = row[second].number if second is not None else Decimal(0)
            if total is not None and first is not None:
                findings += _dominated(table, number, index, (total, first, next_one or Decimal(0)), profile)
    for index in columns[Role.LARGEST] + columns[Role.SECOND]:
        message = "single contributions are one person's values: they are for the check and may not leave."
        findings.append(found(Code.EXTREME_VALUE, Severity.REVIEW, message, table.where(column=index)))
    return findings


def _dominated(table: Table, row: int, column: int, sizes: tuple[Decimal, Decimal, Decimal], profile: Profile) -> list[Finding]:
    total, first, second = sizes
    where = table.where(row, column)
    if min(sizes) < 0:
        message = "contributions are negative; whether one person dominates has to be judged by eye."
        return [found(Code.DOMINANCE_UNKNOWN, Severity.REVIEW, message, where)]
    if first and (total - first - second) * 100 < profile.p_percent * first:
        message = f"the largest contribution, {first} of {total}, can be estimated to within {profile.p_percent} %."
        return [found(Code.DOMINANCE, Severity.BLOCK, message, where)]
    if first * 100 > profile.largest_percent * total:
        message = f"one person makes up {first} of {total}; the limit is {profile.largest_percent} %."
        return [found(Code.DOMINANCE, Severity.REVIEW, message, where)]
    return []


def _paired(table: Table, index: int, candidates: Sequence[int]) -> int | None:
    """Return the column that belongs to the sum in ``index``: the only one, or the one headed alike (sum_x, largest_x)."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    stem = re.sub(r"(?i)sum|total|[_ .]", "", table.header[index])
    return next((i for i in candidates if re.sub(r"[_ .]", "", table.header[i]).endswith(stem)), None)


def _survival(table: Table, roles: Sequence[Role], manifest: Manifest, profile: Profile) -> list[Finding]:
    """Estimate the events of each step of a curve from its drop, where they are not shown: ``n_i (1 - S_i / S_(i-1))``."""
    if Role.SURVIVAL not in roles:
        return []
    counted = [table.header[index].casefold() for index, role in enumerate(roles) if role in COUNTS]
    if any(_EVENTS.fullmatch(name) for name in counted) and len(counted) > 1:
        return []  # both are shown, and the threshold is applied to each step
    index = roles.index(Role.SURVIVAL)
    if not manifest.population:
        message = "a survival curve without persons at risk and events at each step."
        return [found(Code.SURVIVAL_STEPS, Severity.REVIEW, message, table.where(column=index))]
    findings = []
    groups = [i for i, role in enumerate(roles) if role is Role.LABEL]
    level, group = Decimal(1), None
    for number, row in enumerate(table.rows):
        value, mine = row[index].number, tuple(row[i].text for i in groups)
        level = level if mine == group else Decimal(1)
        if value is not None and 0 <= value < level:
            events = manifest.population * (1 - value / level)
            if events < profile.threshold:
                message = f"at most {int(events) + 1} events in this step; the limit is {profile.threshold}."
                findings.append(found(Code.SURVIVAL_STEPS, Severity.BLOCK, message, table.where(number, index)))
        level, group = (level if value is None else value), mine
    return findings


def _degrees(table: Table, roles: Sequence[Role], across: Sequence[Role | None], manifest: Manifest, profile: Profile) -> list[Finding]:
    places = [(number, index) for index, role in enumerate(roles) if role is Role.DEGREES for number in range(len(table.rows))]
    places += [(number, 1) for number, role in enumerate(across) if role is Role.DEGREES]
    findings, seen = [], False
    for number, index in places:
        value = table.rows[number][index].number
        seen = seen or value is not None
        if value is not None and value < profile.degrees:
            findings.append(low_degrees(int(value), profile, table.where(number, index)))
    return findings + ([] if seen else check_model(manifest, profile, terms=len(table.rows)))


def low_degrees(value: int, profile: Profile, where: object = None) -> Finding:
    """Return the finding that a model has ``value`` residual degrees of freedom."""
    message = f"{value} residual degrees of freedom; the limit is {profile.degrees}."
    return found(Code.LOW_DEGREES, Severity.BLOCK, message, where)  # type: ignore[arg-type]


def check_model(manifest: Manifest, profile: Profile, *, terms: int = 0) -> list[Finding]:
    """Check the residual degrees of freedom that the manifest declares; a model without any needs a reviewer."""
    if manifest.dof >= 0:
        value = manifest.dof
    elif manifest.observations:
        value = manifest.observations - (manifest.parameters or terms)
    else:
        message = "the residual degrees of freedom of the model are not shown."
        return [found(Code.DEGREES_UNKNOWN, Severity.REVIEW, message)] if manifest.kind is Kind.MODEL else []
    return [low_degrees(value, profile)] if value < profile.degrees else []


def _microdata(table: Table, roles: Sequence[Role], manifest: Manifest, profile: Profile) -> list[Finding]:
    """Find tables whose rows look like persons: identity codes, day-exact dates, nothing counted, as many rows as people."""
    findings, size = [], len(table.rows)
    for number, row in enumerate(table.rows):
        if identity_codes(" ".join(cell.text for cell in row)):
            message = "it holds a personal identity code."
            findings.append(found(Code.IDENTIFIER, Severity.BLOCK, message, table.where(row=number)))
    columns = [table.column(index) for index in range(len(roles))]
    distinct = [len({cell.text for cell in cells if cell.text}) for cells in columns]
    reasons = []
    for index, role in enumerate(roles):
        if role is Role.IDENTIFIER and distinct[index] * 10 >= size * 8 and size >= 5:
            reasons.append((f"the column {table.header[index]} names each row apart", index))
        days = sum(bool(_DAY.fullmatch(cell.text)) for cell in columns[index])
        if size >= MIN_ROWS and days * 10 >= size * 8 and distinct[index] * 2 >= size and not COUNTS & set(roles):
            reasons.append((f"the column {table.header[index]} holds exact days, and nothing is counted", index))
    uncounted = not COUNTS & set(roles) and manifest.kind is not Kind.MODEL and Role.SURVIVAL not in roles
    various = sum(distinct[i] * 10 >= size * 8 for i, cells in enumerate(columns) if any(c.kind is CellKind.DECIMAL for c in cells))
    if size >= MIN_ROWS and uncounted and various >= 2:
        reasons.append(("almost every row has values of its own, and nothing is counted", 0))
    if manifest.population and size * 2 >= manifest.population and size >= MIN_ROWS:
        reasons.append((f"there are {size} rows for {manifest.population} persons", 0))
    for reason, index in reasons:
        message = f"each row looks like one person: {reason}."
        findings.append(found(Code.ROW_LEVEL, Severity.BLOCK, message, table.where(column=index)))
    if size > profile.rows:
        findings.append(found(Code.MANY_ROWS, Severity.REVIEW, f"the table has {size} rows; usual are up to {profile.rows}."))
    return findings
