"""Tables of tests of which a run takes some rows: drawn by the seed that it prints (`Using --randomly-seed`), all with `SULKU_EVERY=1`."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import pytest

T = TypeVar("T")
EVERY: Final = bool(os.environ.get("SULKU_EVERY"))


def some(config: pytest.Config, table: str, rows: Sequence[T], most: int) -> list[T]:
    """Return the rows of a table that this run takes, in their order: at most so many, or all of them if all are wanted."""
    if EVERY or len(rows) <= most:
        return list(rows)
    seed = config.getoption("randomly_seed", 0)
    return [rows[place] for place in sorted(random.Random(f"{seed} {table}").sample(range(len(rows)), most))]


def draw(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave of each table, ``@pytest.mark.draw(most, table)``, what this run takes of it; what was named on the command line stays.

    Items that name the same table are its rows; where none is named, those of one test function are.
    """
    tables: dict[str, list[pytest.Item]] = defaultdict(list)
    most: dict[str, int] = {}
    for item in sorted(items, key=lambda one: one.nodeid):
        mark = item.get_closest_marker("draw")
        if mark is not None and not _named(config, item):
            table = _table(item, *mark.args[1:])
            tables[table].append(item)
            most[table] = mark.args[0]
    left_out = {item for table, rows in tables.items() for item in set(rows) - set(some(config, table, rows, most[table]))}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _table(item: Any, name: str = "") -> str:
    return name or f"{item.path.name}::{item.originalname}"


def _named(config: pytest.Config, item: pytest.Item) -> bool:
    return any("::" in word and item.nodeid.startswith(word) for word in config.args)
