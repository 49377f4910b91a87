"""Whose turn it is on the cluster: tests run beside each other, and one that disturbs the whole cluster runs alone.

Between processes, by locks on two files. Whoever comes goes through the door one at a time; whoever wants to be alone
stands in the door until the room is empty, so that those who come later wait and nobody waits for ever.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import programs


@contextmanager
def turn(*, alone: bool = False, folder: Path = programs.CACHE.parent) -> Iterator[None]:
    """Hold a turn, beside others or alone."""
    with (folder / "cluster.door").open("w") as door, (folder / "cluster.room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(door, fcntl.LOCK_UN)
        yield
