"""Of a table a run draws rows by its seed: the same for the same seed, others for another, all when all are wanted, and what is named stays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster import draws


class Config:
    """As much of pytest's as is asked."""

    def __init__(self, seed: int, *args: str) -> None:
        self.args, self._seed = list(args), seed
        self.left_out: list[Any] = []
        self.hook = SimpleNamespace(pytest_deselected=lambda items: self.left_out.extend(items))

    def getoption(self, name: str, default: object) -> object:
        assert (name, default) == ("randomly_seed", 0)
        return self._seed


class Item:
    """A test with a mark, or without."""

    path = Path("tests/test_a.py")

    def __init__(self, name: str, *mark: object) -> None:
        self.nodeid, self.originalname = f"{self.path}::{name}", name.partition("[")[0]
        self._mark = SimpleNamespace(args=mark) if mark else None

    def get_closest_marker(self, name: str) -> object:
        assert name == "draw"
        return self._mark


def left(config: Any, items: list[Any]) -> list[str]:
    given = list(items)
    draws.draw(config, given)
    assert len(given) + len(config.left_out) == len(items)
    return [one.nodeid.rpartition("::")[2] for one in given]


@pytest.fixture(autouse=True)
def some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw, also in a run that takes every row."""
    monkeypatch.setattr(draws, "EVERY", False)


TABLE = [Item("other"), *(Item(f"one[{number}]", 2) for number in range(20)), *(Item(f"two[{number}]", 3, "both") for number in range(5))]


def test_so_many_rows_of_each_table_are_drawn_and_what_is_in_none_stays() -> None:
    found = left(Config(1), TABLE)
    assert "other" in found
    assert (sum(one.startswith("one") for one in found), sum(one.startswith("two") for one in found)) == (2, 3)


def test_the_same_seed_draws_the_same_in_whatever_order_and_another_draws_others() -> None:
    assert set(left(Config(1), TABLE)) == set(left(Config(1), TABLE[::-1]))
    assert len({tuple(left(Config(seed), TABLE)) for seed in range(20)}) > 10
    assert {one for seed in range(200) for one in left(Config(seed), TABLE)} == {one.nodeid.rpartition("::")[2] for one in TABLE}


def test_all_are_taken_when_all_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "EVERY", True)
    assert len(left(Config(1), TABLE)) == len(TABLE)
    assert draws.some(Config(1), "t", range(9), 2) == list(range(9))  # type: ignore[arg-type]


def test_what_is_named_on_the_command_line_is_run() -> None:
    assert len(left(Config(1, "tests/test_a.py::one"), TABLE)) == 1 + 20 + 3
    assert "one[7]" in left(Config(1, "tests/test_a.py::one[7]"), TABLE)
    assert len(left(Config(1, "tests/test_a.py"), TABLE)) == 1 + 2 + 3
