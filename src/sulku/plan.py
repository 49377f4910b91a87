"""A permit compiled into a local workspace: what it may use, as data, and the bubblewrap options that grant it."""

# ruff: noqa: S108 -- these paths are inside the workspace, each on a file system of its own
from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Final

from sulku import ids
from sulku.closure import ClosureReport
from sulku.codec import plain, stamp
from sulku.errors import InvalidInputError, UnsafeNameError

__all__ = [
    "COMMAND", "GIB", "HOME", "MIB", "PROGRAMS", "STAGE", "UID", "Alive", "ClosureReport", "EndRecord", "Fd", "Limits",
    "MountProof", "Volume", "WorkspacePlan", "bwrap_arguments", "environment", "host_uid", "notice",
]  # fmt: skip

HOME: Final = "/home/researcher"
STAGE: Final = "/mnt"  # in the supervisor's private mount namespace: sources under names that say nothing of the host
PROGRAMS: Final = "/opt/sulku"
COMMAND: Final = ("/opt/workspace/bin/python", "-I", f"{PROGRAMS}/wsboot.py")  # first program, before anybody's code
UID: Final = 1000  # inside; Jupyter refuses 0
MIB: Final = 1 << 20
GIB: Final = 1 << 30
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST_UIDS: Final = 0x7000_0000  # unused by distributions, containers and directory services


class Fd(IntEnum):
    """The descriptors that bubblewrap inherits; only the first two reach the workspace."""

    LISTEN = 3
    CONTROL = 4
    SECCOMP = 5
    ARGUMENTS = 6
    INFO = 7
    TUNNEL = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What a workspace may use; bytes unless said otherwise.

    Attributes:
        memory: Resident, all processes together (control group, where the host has one).
        address_space: Virtual, each process.
        processes: Processes and threads, all together.
        open_files: Descriptors, each process.
        file: Largest file.
        home: What persists, all files together.
        scratch: ``/tmp``.
        shared: ``/dev/shm``.
    """

    memory: int = 4 * GIB
    address_space: int = 32 * GIB
    processes: int = 512
    open_files: int = 4096
    file: int = 1 * GIB
    home: int = 1 * GIB
    scratch: int = 256 * MIB
    shared: int = 128 * MIB


@dataclass(frozen=True, slots=True)
class WorkspacePlan:
    """Everything that the sandbox needs to know about one tunnel.

    Attributes:
        tunnel: Its id.
        person: Who works in it.
        permit: Under what.
        title: The permit's title, shown inside.
        deadline: When it ends, whatever happens.
        datasets: Names under ``/data``; empty folders until the closure is proved.
        home: Absolute path, on the host, of the folder that keeps this person's work under this permit.
        token: What the gateway shows to the workspace; at least 128 bits.

    Raises:
        InvalidInputError: A field is malformed.
        UnsafeNameError: A dataset's name is not a plain file name.
    """

    tunnel: str
    person: str
    permit: str
    title: str
    deadline: datetime
    datasets: tuple[str, ...]
    home: str
    token: str = field(repr=False)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Refuse what could change the meaning of an argument list."""
        for value, prefix in ((self.tunnel, "tun"), (self.person, "usr"), (self.permit, "per")):
            ids.parse(value, prefix)
        for name in self.datasets:
            if not _NAME.fullmatch(name):
                raise UnsafeNameError(f"a dataset cannot be mounted as {name[:40]!r}", fields=[("datasets", name[:40])])
        if len({name.casefold() for name in self.datasets}) != len(self.datasets):
            raise InvalidInputError("two datasets of one name", fields=[("datasets", "names must differ")])
        if not self.home.startswith("/") or "\0" in self.home or ".." in self.home.split("/"):
            raise InvalidInputError("the home is not an absolute path", fields=[("home", "must be absolute")])
        if not re.fullmatch(r"[A-Za-z0-9_-]{22,128}", self.token):
            raise InvalidInputError("the token is too short or not URL-safe", fields=[("token", "too short")])
        stamp(self.deadline)


@dataclass(frozen=True, slots=True)
class Volume:
    """One dataset version on the host: a folder of ordinary files, to appear as ``/data/<name>``."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class MountProof:
    """What a mount is, from inside the workspace and from its mount table.

    Attributes:
        options: The mount's own flags, as in ``/proc/<pid>/mountinfo``.
        files: Ordinary files in it, as counted before it was let in.
        refused: What the kernel answered to a write from inside (``EROFS``).
    """

    name: str
    options: str
    files: int
    refused: str


@dataclass(frozen=True, slots=True)
class Alive:
    """A running sandbox.

    Attributes:
        phase: ``busy`` (starting, or letting data in: the rest is unknown), ``proved`` (no data yet) or ``released``.
        left: Milliseconds until its own clock ends it.
        processes: Processes inside, the workspace's init included.
    """

    tunnel: str
    phase: str
    left: int
    processes: int


@dataclass(frozen=True, slots=True)
class EndRecord:
    """What was found after a sandbox ended.

    Attributes:
        cause: ``deadline``, ``stopped``, ``crashed`` or ``closure-failed``.
        at: When, by the boot clock counted from the opening: a wall clock that jumps does not move it.
        processes_left: Found alive in its namespaces afterwards; 0 or an operator must look.
        mounts_left: Found afterwards: its datasets, its home, its loop device.
        home_kept: The home's image is there.
        detail: For operators; never holds what the workspace printed after data came in.
    """

    tunnel: str
    cause: str
    at: datetime
    processes_left: int
    mounts_left: int
    home_kept: bool
    detail: str = ""


def host_uid(home: str) -> int:
    """Return the user id, outside, of the workspaces that use ``home``: one that nothing else on the host has.

    Process limits are counted by this id and the home's files belong to it, so it is a function of the home.
    """
    return _HOST_UIDS + int.from_bytes(hashlib.sha256(home.encode()).digest()[:3], "big") % (1 << 20)


def notice(plan: WorkspacePlan) -> bytes:
    """Return ``/run/sulku/tunnel.json``: what the person inside may know of the tunnel (JSON, UTF-8)."""
    told = {"tunnel": plan.tunnel, "permit": plan.permit, "title": plan.title, "deadline": plan.deadline}
    paths = {name: f"/data/{name}" for name in plan.datasets}
    return json.dumps(plain({**told, "datasets": paths, "limits": plan.limits}), indent=1).encode()


def environment(plan: WorkspacePlan) -> dict[str, str]:
    """Return all the environment there is inside; nothing secret, nothing of the host."""
    return {
        "HOME": HOME,
        "USER": "researcher",
        "LOGNAME": "researcher",
        "PATH": f"{PROGRAMS}/bin:/opt/workspace/bin:/usr/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PWD": HOME,
        "PYTHONPATH": PROGRAMS,
        "PYTHONNOUSERSITE": "1",  # the home outlives tunnels; nothing in it runs before the closure is proved
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",
        "JUPYTERLAB_SETTINGS_DIR": f"{HOME}/.lab/settings",
        "JUPYTERLAB_WORKSPACES_DIR": f"{HOME}/.lab/workspaces",
        "SULKU_TUNNEL": plan.tunnel,
    }


def bwrap_arguments(plan: WorkspacePlan) -> tuple[str, ...]:
    """Return bubblewrap's options for ``plan`` (0.8 on; passed by descriptor, as its argv can be read inside).

    Descriptors are those of ``Fd``, sources lie under ``STAGE``; the datasets' folders are made here and stay empty.
    """
    out = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(UID), "--gid", str(UID)]
    out += ["--hostname", "workspace", "--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"]
    out += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        out += ["--symlink", f"usr/{name}", f"/{name}"]
    out += ["--ro-bind", f"{STAGE}/image/etc", "/etc"]
    out += ["--ro-bind", f"{STAGE}/venv", "/opt/workspace", "--ro-bind", f"{STAGE}/image", PROGRAMS]
    out += ["--proc", "/proc", "--dev", "/dev"]
    out += ["--perms", "1777", "--size", str(plan.limits.shared), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    out += ["--perms", "1777", "--size", str(plan.limits.scratch), "--tmpfs", "/tmp"]
    out += ["--perms", "0755", "--dir", "/home", "--bind", f"{STAGE}/home/{HOME.rpartition('/')[2]}", HOME]
    for folder in ("/data", *(f"/data/{name}" for name in plan.datasets), "/run", "/run/sulku"):
        out += ["--perms", "0555", "--dir", folder]
    out += ["--perms", "0444", "--ro-bind-data", str(int(Fd.TUNNEL)), "/run/sulku/tunnel.json", "--remount-ro", "/"]
    for name, value in environment(plan).items():
        out += ["--setenv", name, value]
    out += ["--seccomp", str(int(Fd.SECCOMP)), "--info-fd", str(int(Fd.INFO)), "--chdir", HOME]
    return tuple(out)
