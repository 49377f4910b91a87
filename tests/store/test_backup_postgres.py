"""PostgreSQL is backed up by its own tools; what they bring back verifies, goes on, and is guarded as before."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from broker.store.store import SqlStore
from broker.store.verify import verify
from sulku import ids
from sulku.errors import LedgerBrokenError
from tests.servers import postgres
from tests.store import deeds


def run(cluster: postgres.Cluster, program: str, *words: str) -> None:
    command = [postgres.find(program), "-h", str(cluster.folder), "-U", postgres.USER, *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture
def fresh(cluster: postgres.Cluster) -> Iterator[str]:
    """Give the name of an empty database."""
    name = ids.new("led")
    run(cluster, "createdb", "--template=template0", name)
    yield name
    run(cluster, "dropdb", "--force", name)


@pytest.fixture
def dumped(cluster: postgres.Cluster, postgres_url: str, tmp_path: Path) -> Iterator[tuple[SqlStore, Path]]:
    """Give a store with records, and a dump of it as the documentation says; the store went on meanwhile."""
    store = SqlStore(postgres_url, tmp_path / "spool")
    deeds.person(store, deeds.AINO.id)
    deeds.tunnel(store)
    dump = tmp_path / "sulku.dump"
    run(cluster, "pg_dump", "--format=custom", f"--file={dump}", postgres_url.split("@/")[1].split("?", maxsplit=1)[0])
    yield store, dump
    store.close()


def test_what_was_dumped_comes_back_verifies_and_goes_on(
    cluster: postgres.Cluster, dumped: tuple[SqlStore, Path], fresh: str, tmp_path: Path
) -> None:
    store, dump = dumped
    before = deeds.everything(store)
    deeds.tunnel(store)
    run(cluster, "pg_restore", "--exit-on-error", f"--dbname={fresh}", str(dump))
    again = SqlStore(cluster.url(fresh), tmp_path / "spool-again")
    assert deeds.everything(again) == before
    assert verify(again.database).entries == 2
    deeds.tunnel(again)
    assert verify(again.database).entries == 3
    again.close()


def test_what_came_back_can_neither_be_changed_nor_has_it_been(
    cluster: postgres.Cluster, dumped: tuple[SqlStore, Path], fresh: str, tmp_path: Path
) -> None:
    run(cluster, "pg_restore", "--exit-on-error", f"--dbname={fresh}", str(dumped[1]))
    again = SqlStore(cluster.url(fresh), tmp_path / "spool-again")
    with pytest.raises(DBAPIError, match="append-only"), again.database.engine.begin() as connection:
        connection.execute(text("UPDATE ledger_entries SET actor = 'nobody'"))
    with again.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ledger_entries DISABLE TRIGGER ALL"))
        connection.execute(text("DELETE FROM ledger_entries WHERE seq = 1"))
    with pytest.raises(LedgerBrokenError):
        verify(again.database)
    again.close()
