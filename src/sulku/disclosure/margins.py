"""What an attacker can work out about hidden cells from the totals that are printed beside them.

Each line of a table with a printed total is a linear equation in its hidden cells, which are whole numbers from 0 up.
Elimination finds every cell that the equations alone fix; narrowing of intervals then finds what the sign adds. Both are
sound: what they report is true. They are not complete: exact bounds, and bounds over several tables and earlier
releases, need linear programming, for which ``equations`` and ``bounds`` are the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from sulku.disclosure.cells import TOTAL, Count, Grid
from sulku.disclosure.findings import Code, Finding, Severity, Where, found
from sulku.disclosure.profiles import Profile

MAX_HIDDEN: Final = 150  # hidden cells in one table that are solved for exactly
MAX_ROUNDS: Final = 50

Cell = tuple[str, ...]  # the key of a hidden cell
Place = Callable[[Count], Where]


@dataclass(frozen=True, slots=True)
class Equation:
    """``sum(factor * hidden) == value``; ``words`` is how the value came about, in figures."""

    factors: dict[Cell, Fraction]
    value: Fraction
    words: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """All that is known of a hidden cell: at least ``low``, at most ``high`` (``None``: no limit)."""

    low: Fraction
    high: Fraction | None

    @property
    def exact(self) -> bool:
        """Whether only one value is possible."""
        return self.low == self.high


def equations(grid: Grid) -> list[Equation]:
    """Return one equation for every line of the grid that has a printed or hidden total and a hidden cell."""
    made = []
    for axis in range(grid.dimensions):
        for members, total in grid.groups(axis):
            if total is None or not members:
                continue
            factors = {cell.key: Fraction(1) for cell in members if cell.value is None}
            known = [cell.value for cell in members if cell.value is not None]
            value = Fraction(total.value or 0) - sum(map(Fraction, known), Fraction(0))
            if total.value is None:
                factors[total.key] = Fraction(-1)
            if factors:
                words = f"the total {total.value} less the other cells {sum(known)}" if total.value is not None else ""
                made.append(Equation(factors, value, words))
    return made


def bounds(system: Sequence[Equation]) -> dict[Cell, Bounds]:
    """Return what the equations and the sign say about each hidden cell in them."""
    reduced = _eliminate(system)
    lows: dict[Cell, Fraction] = {key: Fraction(0) for equation in system for key in equation.factors}
    highs: dict[Cell, Fraction | None] = dict.fromkeys(lows)
    for _ in range(MAX_ROUNDS):
        before = (dict(lows), dict(highs))
        for equation in (*system, *reduced):
            _narrow(equation, lows, highs)
        if before == (lows, highs):
            break
    return {key: Bounds(low, highs[key]) for key, low in lows.items()}


def _eliminate(system: Iterable[Equation]) -> list[Equation]:
    """Return the reduced row echelon form (Gauss and Jordan), in exact fractions."""
    done: list[tuple[Cell, dict[Cell, Fraction], Fraction]] = []
    for equation in system:
        factors, value = dict(equation.factors), equation.value
        for pivot, row, constant in done:
            if times := factors.get(pivot):
                factors, value = _subtract(factors, row, times), value - times * constant
        if not factors:
            continue
        pivot = next(iter(factors))
        scale = factors[pivot]
        row, constant = {key: factor / scale for key, factor in factors.items()}, value / scale
        done = [
            (old, _subtract(had, row, had[pivot]), was - had[pivot] * constant) if pivot in had else (old, had, was)
            for old, had, was in done
        ]
        done.append((pivot, row, constant))
    return [Equation(row, constant) for _, row, constant in done]


def _subtract(row: dict[Cell, Fraction], other: dict[Cell, Fraction], times: Fraction) -> dict[Cell, Fraction]:
    result = dict(row)
    for key, factor in other.items():
        left = result.get(key, Fraction(0)) - times * factor
        if left:
            result[key] = left
        else:
            result.pop(key, None)
    return result


def _narrow(equation: Equation, lows: dict[Cell, Fraction], highs: dict[Cell, Fraction | None]) -> None:
    """Tighten each cell's interval by what the others in the equation can make up for at most."""
    for key, factor in equation.factors.items():
        least, most = Fraction(0), Fraction(0)  # of the sum of the other terms
        open_below = open_above = False
        for other, weight in equation.factors.items():
            if other == key:
                continue
            high = highs[other]
            if high is None:
                open_above, open_below = open_above or weight > 0, open_below or weight < 0
                high = lows[other]
            ends = (weight * lows[other], weight * high)
            least, most = least + min(ends), most + max(ends)
        top, bottom = (equation.value - least) / factor, (equation.value - most) / factor
        no_top, no_bottom = open_below, open_above
        if factor < 0:
            top, bottom, no_top, no_bottom = bottom, top, no_bottom, no_top
        high = highs[key]
        if not no_top and (high is None or top < high):
            highs[key] = top
        if not no_bottom and bottom > lows[key]:
            lows[key] = bottom


def check_margins(grid: Grid, place: Place, profile: Profile, *, extra: Sequence[Equation] = ()) -> list[Finding]:
    """Find hidden cells whose value follows from the totals, or nearly so.

    ``extra`` holds equations from elsewhere (another table; later, an earlier release) over the same keys.
    """
    hidden = {cell.key: cell for cell in grid.cells if cell.value is None}
    if not hidden:
        return []
    system = [*equations(grid), *extra]
    unknown = {key for equation in system for key in equation.factors}
    if len(unknown) > MAX_HIDDEN:
        message = f"{len(unknown)} cells are hidden beside totals; only up to {MAX_HIDDEN} can be proved safe."
        return [found(Code.UNPROVEN, Severity.REVIEW, message)]
    solved = bounds(system)
    if any(limits.high is not None and limits.high < limits.low for limits in solved.values()):
        message = "the totals do not add up (were they rounded on their own?), so the hidden cells cannot be proved safe."
        return [found(Code.UNPROVEN, Severity.REVIEW, message)]
    findings = []
    for key, cell in hidden.items():
        if (limits := solved.get(key)) is None:
            continue
        where = place(cell)
        if limits.exact:
            findings.append(_recovered(key, limits.low, system, where, profile))
        elif limits.high is not None and limits.high - limits.low < profile.threshold:
            message = f"the hidden value lies between {limits.low} and {limits.high}, as the totals show."
            findings.append(found(Code.NARROW_INTERVAL, Severity.REVIEW, message, where))
    return findings


def _recovered(key: Cell, value: Fraction, system: Sequence[Equation], where: Where, profile: Profile) -> Finding:
    direct = next((line for line in system if set(line.factors) == {key} and line.words), None)
    reason = f"{direct.words} is {value}" if direct else "it follows from the totals of several rows and columns"
    severity = Severity.BLOCK if 0 < value < profile.threshold else Severity.REVIEW
    noun = "hidden total" if TOTAL in key else "hidden value"
    return found(Code.RECOVERABLE, severity, f"the {noun} is {value}: {reason}.", where)
