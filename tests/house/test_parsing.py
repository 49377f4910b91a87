"""Threads of a test may parse at once, which Python 3.11 alone does not bear (CPython issue 106905)."""

from __future__ import annotations

import ast
import gc
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SOURCE = Path(__file__).read_text()


@pytest.fixture
def swapping() -> Iterator[None]:
    """Have threads change places in the middle of making a tree, as they do now and then: a collection's callback lets another one run."""
    usual, threshold = sys.getswitchinterval(), gc.get_threshold()

    def let_another(_: str, __: object) -> None:
        time.sleep(0)

    gc.callbacks.append(let_another)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)
    gc.set_threshold(*threshold)
    gc.callbacks.remove(let_another)


def test_threads_that_parse_at_once_all_get_their_tree(swapping: None) -> None:
    """At different depths: where all are equally deep, the count is right by accident."""
    start = threading.Barrier(4)

    def deeper(by: int) -> int:
        if by:
            return deeper(by - 1)
        return sum(isinstance(ast.parse(SOURCE), ast.Module) for _ in range(20))

    def parse(by: int) -> int:
        start.wait(30)
        return deeper(by)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(parse, (0, 20, 40, 60))) == [20] * 4
