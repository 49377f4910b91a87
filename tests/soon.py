"""Waiting in tests until something holds. For long: the machine may be everybody's, and how fast things are is for benchmarks to say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

PAUSE: Final = 0.03  # seconds between two looks
PATIENCE: Final = 120.0  # seconds: only a test that fails is slower for it
SECONDS: Final = 5.0  # that an end may be late which people are promised at once


def soon(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Return whether ``condition`` comes true in time."""
    return bool(_first(condition, seconds))


def eventually(check: Callable[[], Any], *, within: float = PATIENCE) -> Any:
    """Return the first true result of ``check``; fail when there is none ``within`` seconds."""
    found = _first(check, within)
    assert found, f"not within {within:g} s"
    return found


def _first(check: Callable[[], Any], seconds: float) -> Any:
    ends = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < ends:
        time.sleep(PAUSE)
    return found
