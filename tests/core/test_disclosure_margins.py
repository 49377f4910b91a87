"""Hidden cells against an attacker with the totals: checked by trying every possible table."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku.disclosure.cells import Count, Grid
from sulku.disclosure.findings import Severity
from sulku.disclosure.margins import Equation, bounds, equations
from tests.core.disclosed import PEOPLE, at, check, serious

HIDDEN = "town,F,M,All\nKemi,*,20,23\nOulu,40,50,90\nAll,43,70,113\n"


def test_one_hidden_cell_beside_totals_is_no_secret() -> None:
    (finding,) = [one for one in check(HIDDEN, **PEOPLE) if one.code == "recoverable"]
    assert (finding.where.row_name, finding.where.column_name) == ("Kemi", "F")
    assert "the hidden value is 3" in finding.message
    assert finding.severity is Severity.BLOCK


@pytest.mark.parametrize("mark", ["*", "[REDACTED]", "<10", "< 5", "≤7", "x", "..", "", "NA", "-", "suppressed"])
def test_however_it_is_marked(mark: str) -> None:
    assert at(check(HIDDEN.replace("*", mark), **PEOPLE), "recoverable") == [("Kemi", "F")]


@pytest.mark.parametrize(
    "text",
    [
        "town,F,M\nKemi,*,20\nOulu,40,50\nyhteensä,43,70\n",
        "town,F,M,n\nKemi,*,20,23\nOulu,40,50,90\n",
        "town,F,M,Kaikki\nKemi,*,20,23\nOulu,40,50,90\n",
        "town,F,M,X\nKemi,*,20,23\nOulu,40,50,90\nSalo,30,35,65\nTurku,44,41,85\n",
        "town,F,M\nKemi,*,20\nOulu,40,50\nboth,43,70\n",
        "town,F,M\nKemi,*,20\nOulu,40,50\nno name,43,70\n",
        "town,sex,n\nKemi,F,*\nKemi,M,20\nKemi,All,23\nOulu,F,40\nOulu,M,50\nOulu,All,90\n",
    ],
    ids=["column-total", "n-column", "finnish", "unnamed-total-column", "both", "unnamed-total-row", "long"],
)
def test_totals_are_known_by_name_or_because_they_add_up(text: str) -> None:
    assert [row for row, _ in at(check(text, **PEOPLE), "recoverable")] == ["Kemi"]


def test_without_totals_a_hidden_cell_stays_hidden() -> None:
    assert serious(check("town,F,M\nKemi,*,20\nOulu,40,50\n", **PEOPLE)) == []


def test_a_second_hidden_cell_in_row_and_column_protects() -> None:
    text = "town,F,M,X,All\nKemi,*,*,55,120\nOulu,*,*,60,160\nSalo,30,35,40,105\nAll,110,120,155,385\n"
    assert serious(check(text, **PEOPLE)) == []


def test_two_hidden_cells_that_hold_few_together_are_not_protected() -> None:
    text = "town,F,M,X,All\nKemi,*,*,55,60\nOulu,*,*,60,160\nSalo,30,35,40,105\nAll,85,85,155,325\n"
    assert at(check(text, **PEOPLE), "narrow-interval") == [("Kemi", "F"), ("Kemi", "M"), ("Oulu", "F"), ("Oulu", "M")]


def test_two_in_every_line_can_still_be_exact() -> None:
    # Two squares of hidden cells, joined by one cell: elimination finds the joint though no line has fewer than two.
    text = "town,a,b,c,d,All\np,*,*,*,20,107\nq,*,*,25,30,115\nr,15,20,*,*,95\ns,25,30,*,*,115\nAll,100,110,117,105,432\n"
    found = at(check(text, **PEOPLE), "recoverable")
    assert found == [("p", "c")]


def test_totals_that_do_not_add_up_prove_nothing() -> None:
    text = "town,F,M,All\nKemi,*,20,15\nOulu,*,50,90\nAll,43,70,113\n"
    assert "suppression-unproven" in serious(check(text, **PEOPLE))


def test_too_many_hidden_cells_need_a_person() -> None:
    rows = "".join(f"g{n},*,*,500\n" for n in range(80))
    assert "suppression-unproven" in serious(check(f"group,F,M,All\n{rows}", **PEOPLE))


def line(value: int, **factors: int) -> Equation:
    """Return an equation over cells with one-letter names."""
    return Equation({(name,): Fraction(factor) for name, factor in factors.items()}, Fraction(value))


def test_the_sign_narrows_intervals_from_both_sides() -> None:
    solved = bounds([line(6, x=1, y=1), line(5, y=1, z=1)])
    assert (solved["x",].low, solved["x",].high) == (1, 6)
    assert (solved["y",].low, solved["y",].high) == (0, 5)


def test_a_hidden_total_has_no_upper_end() -> None:
    solved = bounds([line(-20, x=1, t=-1)])
    assert (solved["t",].low, solved["t",].high) == (20, None)
    assert (solved["x",].low, solved["x",].high) == (0, None)


def test_a_hidden_total_of_open_cells_is_no_secret() -> None:
    found = [one for one in check("town,F,M,All\nKemi,20,30,*\nOulu,40,50,90\n", **PEOPLE) if one.code == "recoverable"]
    assert [(one.where.column_name, one.severity) for one in found] == [("All", Severity.REVIEW)]
    assert "the hidden total is 50" in found[0].message


def grid_of(values: list[list[int]], hidden: set[tuple[int, int]]) -> Grid:
    """A table with its totals, some inner cells hidden."""
    size = len(values)
    cells = []
    for row, column in product(range(size + 1), repeat=2):
        value = sum(values[i][j] for i in (range(size) if row == size else [row]) for j in (range(size) if column == size else [column]))
        key = ("Σ" if row == size else f"r{row}", "Σ" if column == size else f"c{column}")
        cells.append(Count(key, None if (row, column) in hidden else Decimal(value), row, column))
    return Grid(tuple(cells), parts=True)


def possible(values: list[list[int]], hidden: list[tuple[int, int]]) -> dict[tuple[int, int], set[int]]:
    """Every value that each hidden cell can have in some table with the same totals and open cells: by trying them all."""
    size = range(len(values))
    rows = [sum(values[i][j] for j in size if (i, j) in hidden) for i in size]
    columns = [sum(values[i][j] for i in size if (i, j) in hidden) for j in size]
    seen: dict[tuple[int, int], set[int]] = {place: set() for place in hidden}
    for guess in product(*(range(min(rows[i], columns[j]) + 1) for i, j in hidden)):
        at_place = dict(zip(hidden, guess, strict=True))
        if all(sum(v for (i, _), v in at_place.items() if i == row) == rows[row] for row in size) and all(
            sum(v for (_, j), v in at_place.items() if j == column) == columns[column] for column in size
        ):
            for place, value in at_place.items():
                seen[place].add(value)
    return seen


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=3, max_size=3),
    st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6),
)
def test_what_is_said_of_a_hidden_cell_is_true(values: list[list[int]], hidden: set[tuple[int, int]]) -> None:
    solved = bounds(equations(grid_of(values, hidden)))
    for (row, column), options in possible(values, sorted(hidden)).items():
        limits = solved[f"r{row}", f"c{column}"]
        assert limits.high is not None
        assert limits.low <= min(options)
        assert max(options) <= limits.high
        if limits.exact:
            assert options == {values[row][column]}


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3), st.integers(0, 2), st.integers(0, 2))
def test_a_single_hidden_cell_is_always_worked_out(values: list[list[int]], row: int, column: int) -> None:
    solved = bounds(equations(grid_of(values, {(row, column)})))
    assert solved[f"r{row}", f"c{column}"].exact
    assert solved[f"r{row}", f"c{column}"].low == values[row][column]
