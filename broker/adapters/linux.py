"""The few Linux calls that Python's library lacks, by number: namespaces and the mount interface of kernel 5.12 on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from collections.abc import Iterator
from typing import Final

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x4_0000
MNT_DETACH: Final = 2
_ATTR_LOCKED: Final = 0x1 | 0x2 | 0x4 | 0x8  # MOUNT_ATTR_ RDONLY, NOSUID, NODEV, NOEXEC
_ATTR_IDMAP: Final = 0x10_0000
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442  # one number on every architecture since 5.0
_EMPTY_PATH, _RECURSIVE, _CLOEXEC, _CLONE = 0x1000, 0x8000, 0o2000000, 1
_RESOLVE: Final = 0x02 | 0x04  # RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
_PDEATHSIG, _SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _call(what: str, number: int, *arguments: object) -> int:
    return _check(int(_libc.syscall(ctypes.c_long(number), *arguments)), what)


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` name for fresh ones; OSError if refused."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespace behind ``descriptor``; OSError if refused."""
    _check(_libc.setns(descriptor, flags), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Attach ``source`` at ``target``, as the system call of that name; OSError if refused."""
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(done, f"mount {target}")


def umount(target: str, flags: int = 0) -> None:
    """Unmount, as umount2(2); OSError if refused, such as EBUSY."""
    _check(_libc.umount2(target.encode(), flags), f"umount {target}")


@contextlib.contextmanager
def children_in_new(flag: int) -> Iterator[None]:
    """Have the first child that is forked in the block begin a new namespace (``CLONE_NEWPID``); OSError if refused."""
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    before = os.getpid()
    unshare(flag)
    try:
        yield
    finally:
        if os.getpid() == before:  # in the child there is nothing to go back to
            setns(ours, flag)
        os.close(ours)


def die_with_parent(signal: int, pipe: int) -> None:
    """Have the kernel send us ``signal`` when our parent's main thread dies; exit if it is dead now.

    Args:
        pipe: The writing end of a pipe that nobody but the parent reads: a parent outside our namespace has no number.
    """
    _check(_libc.prctl(_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "prctl")
    watch = select.poll()
    watch.register(pipe, 0)
    if watch.poll(0):  # POLLERR: no reader is left
        os._exit(127)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that each can be waited for."""
    _check(_libc.prctl(_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "prctl")


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def open_strict(path: str) -> int:
    """Open the folder ``path`` (O_PATH) if no component is a symbolic link; OSError (ELOOP, ENOTDIR) if one is."""
    how = _How(os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _RESOLVE)
    arguments = (ctypes.c_int(-100), path.encode(), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    return _call(f"open {path}", _OPENAT2, *arguments)


def clone_tree(folder: int) -> int:
    """Return a detached copy of the mount at ``folder``, attached nowhere; it lives as long as the descriptor."""
    flags = ctypes.c_uint(_CLONE | _CLOEXEC | _EMPTY_PATH)
    return _call("open_tree", _OPEN_TREE, ctypes.c_int(folder), b"", flags)


def lock_tree(tree: int, userns: int | None = None) -> None:
    """Make a detached mount read-only, nosuid, nodev, noexec, in one step and before anybody can reach it.

    Args:
        userns: A user namespace whose id map the mount shall show its owners through; None shows them as they are.

    Raises:
        OSError: Refused; EINVAL where the file system cannot map ids.
    """
    wanted = _Attributes(_ATTR_LOCKED | (_ATTR_IDMAP if userns is not None else 0), 0, 0, userns or 0)
    flags, size = ctypes.c_uint(_EMPTY_PATH), ctypes.c_size_t(ctypes.sizeof(wanted))
    _call("mount_setattr", _MOUNT_SETATTR, ctypes.c_int(tree), b"", flags, ctypes.byref(wanted), size)


def attach_tree(tree: int, target: str) -> None:
    """Attach a detached mount at ``target``, a folder in the mount namespace that the caller is in."""
    flags = ctypes.c_uint(4)  # MOVE_MOUNT_F_EMPTY_PATH
    _call(f"move_mount {target}", _MOVE_MOUNT, ctypes.c_int(tree), b"", ctypes.c_int(-100), target.encode(), flags)
