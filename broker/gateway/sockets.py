"""What is open in each tunnel now, so that all of it can be cut at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Closer = Callable[[str], Awaitable[None]]


class Sockets:
    """The open websockets and requests of every tunnel."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[str, set[Closer]] = defaultdict(set)
        self.none = asyncio.Event()  # set while nothing is open
        self.none.set()

    @contextmanager
    def hold(self, tunnel: str, closer: Closer) -> Iterator[None]:
        """Have ``closer(reason)`` called if ``tunnel`` is cut inside the ``with`` block."""
        self._open[tunnel].add(closer)
        self.none.clear()
        try:
            yield
        finally:
            self._open[tunnel].discard(closer)
            if not self._open[tunnel]:
                del self._open[tunnel]
            if not self._open:
                self.none.set()

    def count(self, tunnel: str | None = None) -> int:
        """Return how many are open, in one tunnel or in all."""
        return len(self._open.get(tunnel, ())) if tunnel else sum(map(len, self._open.values()))

    async def cut(self, tunnel: str, reason: str) -> int:
        """Close everything that is open in ``tunnel`` and return how many there were."""
        closers = list(self._open.get(tunnel, ()))
        await asyncio.gather(*(closer(reason) for closer in closers), return_exceptions=True)
        return len(closers)
