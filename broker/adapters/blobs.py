"""Immutable bytes as files named by their SHA-256: written whole or not at all, and never believed when read."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from sulku.errors import IntegrityError, NotFoundError, StoreUnavailableError

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    """Implements ``sulku.ports.Blobs`` in one folder; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``; it is made, for this user only, if it is not there."""
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep ``data`` durably and return its digest; a damaged copy of the same bytes is replaced.

        Raises:
            StoreUnavailableError: The disk is full or gone; nothing was kept.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            if path.exists() and path.read_bytes() == data:
                return digest
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _write(path, data)
            _sync(path.parent)
            _sync(self._folder)
        except OSError as error:
            raise StoreUnavailableError(f"a file cannot be kept: {error.strerror}") from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes.

        Raises:
            IntegrityError: They are not what their digest says.
            NotFoundError: There are none.
            StoreUnavailableError: They cannot be read.
        """
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"no file with the digest {digest}") from None
        except OSError as error:
            raise StoreUnavailableError(f"a file cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(f"the file {digest} was changed on the disk")
        return data

    def digests(self) -> list[str]:
        """Return the digest of every file, sorted; for backups."""
        return sorted(path.name for path in self._folder.glob("??/*") if _DIGEST.fullmatch(path.name))

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise NotFoundError("not a digest")
        return self._folder / digest[:2] / digest


def _write(path: Path, data: bytes) -> None:
    """Write beside ``path`` and rename, so that nobody ever sees half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
