"""A home that persists: an ext4 image per person and permit, its size kept by the kernel, in one tunnel at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from sulku.errors import HomeInUseError, SandboxError

IMAGE: Final = "home.ext4"
FILES: Final = "files"
_TOOLS: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_LOOPS: Final = Path("/sys/block")
_LETS_GO: Final = 5  # seconds that a tunnel which was killed a moment ago may still hold its home


def loops(image: Path) -> list[str]:
    """Return the loop devices that ``image`` is attached to, such as ``loop0``."""
    found = []
    for device in _LOOPS.glob("loop*/loop/backing_file"):
        try:
            if device.read_text().rstrip("\n") == str(image):
                found.append(device.parts[3])
        except OSError:  # detached while we looked
            continue
    return found


def take(home: Path, size: int, uid: int) -> int:
    """Lock ``home``, make its image on first use, and return the descriptor that holds the lock.

    The space is reserved at once: a full host then fails the opening, not somebody's file system months later.

    Args:
        size: Bytes; an image that exists keeps its size.
        uid: Owner, on the host, of the files in it.

    Raises:
        HomeInUseError: Another tunnel has it.
        SandboxError: It cannot be made; no half image stays.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    image = home / IMAGE
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        until = time.monotonic() + _LETS_GO
        while loops(image) and time.monotonic() < until:
            time.sleep(0.02)
        if loops(image):
            raise BlockingIOError
        if not image.exists():
            _make(image, size, uid)
    except BlockingIOError:
        os.close(lock)
        raise HomeInUseError("this home is in another tunnel") from None
    return lock


def _make(image: Path, size: int, uid: int) -> None:
    draft = image.with_suffix(".new")  # a half-made image never carries the name
    options = f"nodiscard,root_owner={uid}:{uid}"
    try:
        with draft.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", options, str(draft)]
            subprocess.run(command, check=True, capture_output=True, env=_TOOLS, timeout=60)  # noqa: S603
            os.fsync(file.fileno())
        draft.rename(image)
    except (OSError, subprocess.SubprocessError) as error:
        draft.unlink(missing_ok=True)
        raise SandboxError(f"the home cannot be made: {error}") from error


def folder(home: Path, uid: int) -> Path:
    """Return the folder that is the home itself, made on first use: where a cluster mounts it, and its storage keeps its size.

    It lies in ``home`` beside our lock, so that nothing made inside can stand in the lock's place.
    """
    target = home / FILES
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(target, uid, uid, follow_symlinks=False)
    return target


def attach(image: Path, target: str, uid: int) -> None:
    """Mount ``image`` at ``target`` in the caller's mount namespace; the folder ``researcher`` in it is the home.

    Raises:
        SandboxError: The kernel refuses it.
    """
    command = ["mount", "-n", "-t", "ext4", "-o", "loop,nosuid,nodev,noatime", str(image), target]
    done = subprocess.run(command, capture_output=True, text=True, env=_TOOLS, timeout=60, check=False)  # noqa: S603
    if done.returncode:
        raise SandboxError(f"the home cannot be mounted: {done.stderr.strip()[:200]}")
    folder = Path(target) / "researcher"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, uid, uid, follow_symlinks=False)


def wipe(folder: Path) -> None:
    """Destroy every home below ``folder``, and it; nothing if it is not there, so that it may be repeated.

    What is deleted can be read from the disk until it is written over: homes belong on an encrypted file system.

    Raises:
        SandboxError: A tunnel still has one, or the disk refuses; the others are gone.
    """
    held = [home.name for home in sorted(folder.glob("*")) if not _destroyed(home)]
    if held:
        raise SandboxError(f"homes that could not be destroyed: {', '.join(held)}")
    if folder.exists():
        folder.rmdir()


def _destroyed(home: Path) -> bool:
    """Return whether ``home`` is gone now; not while anybody has it."""
    until = time.monotonic() + _LETS_GO
    try:
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while not _free(lock, home / IMAGE):
                if time.monotonic() >= until:
                    return False
                time.sleep(0.02)
            _unlocked(home)
            shutil.rmtree(home)
        finally:
            os.close(lock)
    except OSError:
        return False
    return True


def _unlocked(folder: Path) -> None:
    """Open every folder to its owner, from the outside in: people may have closed some to themselves."""
    for here, names, _ in os.walk(folder):
        for name in names:
            inner = Path(here, name)
            if not inner.is_symlink():
                inner.chmod(0o700)


def _free(lock: int, image: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not loops(image)
