"""Backup while the broker works, restore into an empty place, and notice whatever was done to it in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from broker.adapters.blobs import FileBlobs
from broker.store.backup import backup, restore
from broker.store.store import SqlStore
from broker.store.verify import verify
from sulku.errors import ConfigurationError, IntegrityError, LedgerBrokenError
from tests.store import deeds


@dataclass
class Place:
    """A working broker's folder, and where its backup goes."""

    store: SqlStore
    database: Path
    blobs: Path
    archive: Path


@pytest.fixture
def place(sqlite_url: str, tmp_path: Path) -> Place:
    store = SqlStore(sqlite_url, tmp_path / "spool")
    blobs = FileBlobs(tmp_path / "blobs")
    for n in range(3):
        blobs.put(b"output %d" % n)
        deeds.tunnel(store)
    deeds.person(store, deeds.AINO.id)
    return Place(store, tmp_path / "broker.db", tmp_path / "blobs", tmp_path / "archive")


def back_up(place: Place) -> None:
    backup(place.database, place.blobs, place.archive, keys=["b+key", "a+key"], about={"version": "1"})


def test_what_was_backed_up_comes_back(place: Place, tmp_path: Path) -> None:
    before = deeds.everything(place.store)
    back_up(place)
    deeds.tunnel(place.store)
    place.store.close()
    found = restore(place.archive, tmp_path / "new.db", tmp_path / "new")
    assert (found.ledger.entries, found.ledger.records, found.blobs, found.keys) == (4, 4, 3, ("a+key", "b+key"))
    again = SqlStore(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "spool")
    assert deeds.everything(again) == before
    deeds.tunnel(again)
    assert verify(again.database).entries == 5
    assert FileBlobs(tmp_path / "new").digests() == FileBlobs(place.blobs).digests()
    again.close()


def test_a_backup_of_a_busy_broker_is_one_moment(place: Place, tmp_path: Path) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            deeds.tunnel(place.store)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        back_up(place)
    finally:
        stop.set()
        thread.join()
    assert restore(place.archive, tmp_path / "new.db", tmp_path / "new").ledger.entries >= 4
    place.store.close()


def test_nothing_is_written_over_anything(place: Place, tmp_path: Path) -> None:
    back_up(place)
    with pytest.raises(ConfigurationError, match="exists"):
        back_up(place)
    for database, blobs in ((place.database, tmp_path / "new"), (tmp_path / "new.db", place.blobs)):
        with pytest.raises(ConfigurationError, match="empty place"):
            restore(place.archive, database, blobs)
    with pytest.raises(ConfigurationError, match="no database"):
        backup(tmp_path / "missing.db", place.blobs, tmp_path / "other", keys=[])
    place.store.close()


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o600)
    path.write_bytes(change(path.read_bytes()))


def test_a_backup_that_was_touched_is_refused(place: Place, tmp_path: Path) -> None:
    back_up(place)
    place.store.close()
    first = min((place.archive / "blobs").glob("??/*"))
    manifest = place.archive / "manifest.json"
    touched: list[tuple[Path, Callable[[bytes], bytes], str]] = [
        (place.archive / "broker.db", lambda data: data + b"x", "database was changed"),
        (first, lambda data: data + b"x", "was changed on the disk"),
        (manifest, lambda data: data.replace(b'"entries": 4', b'"entries": 5'), "not the one in its manifest"),
        (manifest, lambda data: orjson.dumps({**orjson.loads(data), "blobs": []}), "files, or others"),
    ]
    for path, change, said in touched:
        kept = path.read_bytes()
        rewrite(path, change)
        with pytest.raises(IntegrityError, match=said):
            restore(place.archive, tmp_path / f"{len(list(tmp_path.iterdir()))}.db", tmp_path / f"b{len(list(tmp_path.iterdir()))}")
        rewrite(path, lambda _, kept=kept: kept)  # type: ignore[misc]
    manifest.unlink()
    with pytest.raises(ConfigurationError, match="no complete backup"):
        restore(place.archive, tmp_path / "x.db", tmp_path / "x")


def test_a_broken_ledger_is_not_backed_up_as_if_it_were_whole(place: Place) -> None:
    with place.store.database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER ledger_entries_no_delete")
        connection.exec_driver_sql("DELETE FROM ledger_private")
        connection.exec_driver_sql("DELETE FROM ledger_entries WHERE seq = 1")
    with pytest.raises(LedgerBrokenError):
        back_up(place)
    assert not (place.archive / "manifest.json").exists()
    place.store.close()
