"""The gateway's only clocks: it runs outside the broker's process and keeps its own time for deadlines."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sulku.codec import stamp


def boot() -> float:
    """Return seconds since the machine started, counting sleep; no change of the wall clock moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(moment: datetime) -> float:
    """Return the seconds from now to ``moment`` by the wall clock; read once for each deadline that arrives."""
    return (moment - datetime.now(UTC)).total_seconds()


def now() -> str:
    """Return the wall clock's time as records print it."""
    return stamp(datetime.now(UTC))
