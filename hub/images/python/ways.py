"""What every way out needs: the register of ways, and the helpers that more than one of them uses."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

Told = dict[str, Any]  # what the supervisor says of its canaries and of the host
Way = Callable[[Told], object]
WAYS: dict[str, Way] = {}
LOOKS: set[str] = set()  # ways that look at what there is: one that cannot look, has not found it closed
libc = ctypes.CDLL(None, use_errno=True)


def way(name: str, *, looks: bool = False) -> Callable[[Way], Way]:
    """Register a way out under its stable name; one that only ``looks`` may not fail."""

    def register(function: Way) -> Way:
        WAYS[name] = function
        if looks:
            LOOKS.add(name)
        return function

    return register


def works(function: Callable[..., object], *arguments: object) -> bool:
    """Return whether ``function`` succeeds; OSError counts as no."""
    try:
        function(*arguments)
    except OSError:
        return False
    return True


def in_child(work: Callable[[], object]) -> bool:
    """Return whether ``work`` succeeds in a child of ours, which it may spoil."""
    child = os.fork()
    if not child:
        try:
            os._exit(0 if works(work) else 1)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0
