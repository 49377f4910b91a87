"""Memory and process limits for a workspace as a whole: control groups, version 2 or 1, where root may make them."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
FAMILY: Final = "sulku"


def _groups(root: Path, name: str) -> list[tuple[Path, dict[str, str]]]:
    """Return each group to make with the files of its limits: ``{memory}`` and ``{processes}`` are filled in later."""
    if (root / "cgroup.controllers").exists():
        limits = {"memory.max": "{memory}", "memory.swap.max": "0", "pids.max": "{processes}"}
        return [(root / FAMILY / name, limits)]
    memory = {"memory.limit_in_bytes": "{memory}"}
    return [(root / "memory" / FAMILY / name, memory), (root / "pids" / FAMILY / name, {"pids.max": "{processes}"})]


def make(name: str, memory: int, processes: int, root: Path = ROOT) -> tuple[Path, ...]:
    """Make the groups of workspace ``name`` and return them; empty where the host allows none.

    Args:
        memory: Bytes, all processes together.
        processes: Processes and threads, all together.
    """
    made = []
    for group, limits in _groups(root, name):
        try:
            group.mkdir(parents=True, exist_ok=True)
            if (root / "cgroup.controllers").exists():
                for parent in (root, group.parent):
                    (parent / "cgroup.subtree_control").write_text("+memory +pids")
            for file, value in limits.items():
                if file != "memory.swap.max" or (group / file).exists():
                    (group / file).write_text(value.format(memory=memory, processes=processes))
        except OSError:
            remove((group,))
            continue
        made.append(group)
    return tuple(made)


def join(groups: tuple[Path, ...]) -> None:
    """Move the calling process into ``groups``; its children are born there. OSError if refused."""
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def members(groups: tuple[Path, ...]) -> set[int]:
    """Return the processes in ``groups``: a proof of its own that a workspace is dead, or is not."""
    found_in: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            found_in |= {int(line) for line in (group / "cgroup.procs").read_text().split()}
    return found_in


def remove(groups: tuple[Path, ...], seconds: float = 1.0) -> None:
    """Remove ``groups`` as soon as the kernel has let go of the dead in them; one that lives, stays and can be seen."""
    until = time.monotonic() + seconds
    for group in groups:
        while group.is_dir():
            try:
                group.rmdir()
            except OSError:
                if members((group,)) or time.monotonic() > until:
                    break
                time.sleep(0.01)


def found(name: str, root: Path = ROOT) -> tuple[Path, ...]:
    """Return the groups that exist for workspace ``name``."""
    return tuple(group for group, _ in _groups(root, name) if group.is_dir())
