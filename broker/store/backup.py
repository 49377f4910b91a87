"""Backup and restore of one machine: the database as it is at one moment, the files, and which keys belong to them.

Keys themselves are never in a backup: it lists their public halves, so that a restore can say which are missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from broker.store.unit import Database
from broker.store.verify import Verified, verify
from sulku.codec import Plain
from sulku.errors import ConfigurationError, IntegrityError, StoreUnavailableError

VERSION: Final = 1
DATABASE, BLOBS, MANIFEST = "broker.db", "blobs", "manifest.json"


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: the ledger as verified, how many files, and the keys (verifier keys) that it needs."""

    ledger: Verified
    blobs: int
    keys: tuple[str, ...]


def backup(database: Path, blobs: Path, archive: Path, *, keys: Sequence[str], about: Mapping[str, Plain] | None = None) -> None:
    """Write a backup into the new folder ``archive`` while the broker runs.

    The database first: whatever file it names was written before, and is then in the copy of the files.

    Args:
        database: The SQLite file.
        blobs: Folder of ``FileBlobs``.
        archive: Must not exist.
        keys: Verifier keys (``name+hash+base64``) of the keys in use.
        about: Further plain facts for whoever restores, such as the version.

    Raises:
        ConfigurationError: ``archive`` exists, or there is no such database.
        IntegrityError: The copy does not verify; the backup is not complete and has no manifest.
        StoreUnavailableError: The disk is full.
    """
    if not database.exists():
        raise ConfigurationError(f"there is no database at {database}")
    try:
        archive.mkdir(mode=0o700)
    except FileExistsError:
        raise ConfigurationError(f"{archive} exists; a backup is never written over another") from None
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(archive / DATABASE)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        found = _verified(archive / DATABASE)
        manifest = {
            "v": VERSION,
            "database": _digest(archive / DATABASE),
            "entries": found.entries,
            "root": found.root.hex(),
            "blobs": _copy_blobs(blobs, archive / BLOBS),
            "keys": sorted(keys),
            "about": dict(about or {}),
        }
        _write(archive / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        _sync_tree(archive)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(f"the backup could not be written: {error}") from error


def restore(archive: Path, database: Path, blobs: Path) -> Restored:
    """Bring a backup back into places where there is nothing yet, and verify all of it.

    Raises:
        ConfigurationError: Something is there already, or ``archive`` is no backup.
        IntegrityError: A file of the backup was changed.
        LedgerBrokenError: The ledger in it does not verify.
    """
    manifest = _manifest(archive)
    if database.exists() or (blobs.exists() and any(blobs.iterdir())):
        raise ConfigurationError(f"there is something at {database} or {blobs}; restore into an empty place")
    if _digest(archive / DATABASE) != manifest["database"]:
        raise IntegrityError("the backup's database was changed after it was written")
    if (names := _copy_blobs(archive / BLOBS, blobs)) != manifest["blobs"]:
        raise IntegrityError(f"the backup has {len(names)} of {len(manifest['blobs'])} files, or others")
    shutil.copyfile(archive / DATABASE, database)
    database.chmod(0o600)
    found = _verified(database)
    if (found.entries, found.root.hex()) != (manifest["entries"], manifest["root"]):
        raise IntegrityError("the ledger in the backup is not the one in its manifest")
    return Restored(found, len(names), tuple(manifest["keys"]))


def _manifest(archive: Path) -> dict[str, Any]:
    try:
        found = orjson.loads((archive / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        raise ConfigurationError(f"{archive} is no complete backup: it has no {MANIFEST}") from None
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise ConfigurationError(f"{archive} was written by another version")
    return found


def _verified(path: Path) -> Verified:
    database = Database(f"sqlite:///{path}")
    try:
        return verify(database)
    finally:
        database.close()


def _copy_blobs(source: Path, target: Path) -> list[str]:
    """Copy every file, each checked against its name, and return the names."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = []
    for path in sorted(source.glob("??/*")):
        if path.name.startswith("."):
            continue  # one that is being written; nothing names it yet
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.name:
            raise IntegrityError(f"the file {path.name} was changed on the disk")
        (target / path.name[:2]).mkdir(mode=0o700, exist_ok=True)
        _write(target / path.name[:2] / path.name, data)
        names.append(path.name)
    return names


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise IntegrityError(f"{path.name} cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_tree(folder: Path) -> None:
    paths: Iterable[Path] = (folder, folder / DATABASE, *folder.glob(BLOBS), *folder.glob(f"{BLOBS}/*"))
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
