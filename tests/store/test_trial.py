"""Whether the ledger can be written is found out by writing, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select, text

from broker.store import migrate
from broker.store.tables import HEAD, LEDGER
from broker.store.trial import require_writable
from broker.store.unit import Database
from sulku.errors import ConfigurationError, StoreUnavailableError


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url, timeout=1.0)
    yield made
    made.close()


def entries(database: Database) -> tuple[int, str]:
    with database.read() as connection:
        count = connection.execute(select(func.count()).select_from(LEDGER)).scalar_one()
        return count, str(connection.execute(select(HEAD.c.frontier, HEAD.c.at)).one())


def test_a_ledger_that_can_be_written_is_as_it_was_afterwards(database: Database) -> None:
    before = entries(database)
    assert database.dialect in require_writable(database)
    assert entries(database) == before


def test_a_ledger_that_somebody_else_holds_cannot_be_written(database: Database, url: str) -> None:
    other = Database(url)
    with other.write() as connection:
        connection.execute(text("UPDATE ledger_head SET at = at"))
        with pytest.raises(StoreUnavailableError):
            require_writable(database)
    other.close()
    require_writable(database)


def test_a_database_of_another_version_is_named(database: Database) -> None:
    migrate.downgrade(database, "base")
    with pytest.raises(ConfigurationError):
        require_writable(database)
