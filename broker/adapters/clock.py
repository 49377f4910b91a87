"""The only place that reads the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """The machine's clock, in UTC, cut to milliseconds."""

    def now(self) -> datetime:
        """Return the present moment, aware."""
        at = datetime.now(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)


def monotonic() -> float:
    """Return seconds on a clock that never jumps and also counts sleep, for deadlines within this process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
