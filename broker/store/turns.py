"""A lock that is had in the order in which it was asked for: `threading.Lock` gives it to whoever comes at the right moment."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """Who asks first is first; nobody waits longer than everybody before them takes together."""

    def __init__(self) -> None:
        """Be free."""
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()  # each locked until it is its owner's turn

    def acquire(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for one's turn and return whether it came; who had it must ``release`` it."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=timeout):
            return True
        with self._guard:
            if mine not in self._waiting:  # it came while we gave up
                return True
            self._waiting.remove(mine)
            return False

    def release(self) -> None:
        """Hand on to whoever has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
