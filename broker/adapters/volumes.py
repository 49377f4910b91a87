"""Let a dataset into a workspace that already runs: a private, read-only, checked copy of the mount, moved in whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from broker.adapters import linux
from sulku.errors import SandboxError, SulkuError, UnsafeFileError
from sulku.plan import Volume


def in_child(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a forked child, as it changes namespaces, and return its result (plain JSON values).

    Raises:
        UnsafeFileError: The child raised it.
        SandboxError: The child failed in any other way.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer: dict[str, Any] = {"ok": work()}
        except SulkuError as error:
            answer = {"code": error.code, "message": str(error)}
        except BaseException as error:  # noqa: BLE001 a forked child must never return into its parent's code
            answer = {"code": "fault", "message": f"{type(error).__name__}: {error}"}
        try:
            os.write(writer, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    answer = json.loads(text or b'{"code": "fault", "message": "the child died"}')
    if "ok" in answer:
        return answer["ok"]
    if answer["code"] == UnsafeFileError.code:
        raise UnsafeFileError(answer["message"])
    raise SandboxError(answer["message"])


def survey(tree: int) -> int:
    """Return how many files the detached mount ``tree`` holds, when they are all ordinary files in ordinary folders.

    Raises:
        UnsafeFileError: A link, a device, a socket, a pipe, or a name that hides something.
    """
    count = 0
    for place, folders, files, here in os.fwalk(".", dir_fd=tree, follow_symlinks=False):
        for name in (*folders, *files):
            mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
            if any(unicodedata.category(one) in {"Cc", "Cf", "Cs"} for one in name):
                raise UnsafeFileError(f"a name with control or direction marks in {place!a}: {name!a}")
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UnsafeFileError(f"not an ordinary file in {place!a}: {name!a}")
            count += stat.S_ISREG(mode)
    return count


def _owner_map(owner: int, group: int, uid: int) -> int:
    """Return a user namespace in which ``owner`` and ``group`` are ``uid``, for an id-mapped mount."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(go[1])
        linux.unshare(linux.CLONE_NEWUSER)
        os.write(ready[1], b"1")
        os.read(go[0], 1)  # EOF: our parent has what it wants, or is dead
        os._exit(0)
    os.close(ready[1])
    os.read(ready[0], 1)
    try:
        for kind, inside in (("uid", owner), ("gid", group)):
            Path(f"/proc/{child}/{kind}_map").write_text(f"{inside} {uid} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for descriptor in (ready[0], *go):
            os.close(descriptor)


def _detached(volume: Volume, uid: int) -> tuple[int, int]:
    """Return a locked, detached mount of ``volume`` and its number of files."""
    try:
        folder = linux.open_strict(volume.source)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise UnsafeFileError(f"{volume.name}: its folder is a link, lies behind one, or is no folder") from None
        raise
    about = os.fstat(folder)
    tree = linux.clone_tree(folder)
    try:
        linux.lock_tree(tree, _owner_map(about.st_uid, about.st_gid, uid))
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EPERM}:
            raise
        linux.lock_tree(tree)  # a file system that cannot map ids: its files must be readable as they are
    return tree, survey(tree)


def admit(volumes: Sequence[Volume], *, host: int, workspace: int, uid: int) -> dict[str, int]:
    """Move every volume to ``/data/<name>`` in the workspace's mount namespace, all or none, and return file counts.

    Args:
        host: Descriptor of the mount namespace that the sources are in.
        workspace: Descriptor of the workspace's mount namespace.
        uid: The workspace's user, outside; the volumes' owner is shown as that user.

    Raises:
        UnsafeFileError: A path that climbs, a link, a device: nothing was mounted.
        SandboxError: The kernel refused.
    """
    for volume in volumes:
        parts = volume.source.split("/")
        if parts[0] or ".." in parts or "." in parts or "\0" in volume.source:
            raise UnsafeFileError(f"{volume.name}: its path climbs or is not absolute")

    def work() -> dict[str, int]:
        linux.setns(host, linux.CLONE_NEWNS)
        ready = [(volume.name, *_detached(volume, uid)) for volume in volumes]
        linux.setns(workspace, linux.CLONE_NEWNS)
        for name, tree, _ in ready:
            linux.attach_tree(tree, f"/data/{name}")
        return {name: count for name, _, count in ready}

    counts: dict[str, int] = in_child(work)
    return counts
