"""The schema: migrations lead exactly to the tables that the code uses, there and back, and an old one is noticed."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from broker.store import migrate
from broker.store.store import SqlStore
from broker.store.tables import METADATA, NOUNS
from broker.store.unit import Database
from sulku import nouns
from sulku.errors import ConfigurationError
from tests.store import deeds


def test_migrations_lead_to_the_tables_of_the_code(store: SqlStore) -> None:
    with store.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_checks_that_alembic_does_not_compare_are_the_same_too(store: SqlStore) -> None:
    found = inspect(store.database.engine)
    for table in METADATA.sorted_tables:
        wanted = {str(each.name) for each in table.constraints if each.name and str(each.name).startswith("ck_")}
        assert {each["name"] for each in found.get_check_constraints(table.name)} == wanted


def test_migrating_again_changes_nothing_and_back_leaves_nothing(store: SqlStore) -> None:
    deeds.tunnel(store)
    before = deeds.everything(store)
    migrate.upgrade(store.database)
    migrate.require_current(store.database)
    assert deeds.everything(store) == before
    migrate.downgrade(store.database, "base")
    assert inspect(store.database.engine).get_table_names() == ["alembic_version"]
    with pytest.raises(ConfigurationError):
        migrate.require_current(store.database)
    migrate.upgrade(store.database)
    deeds.tunnel(store)


def test_a_schema_of_another_version_is_noticed(store: SqlStore) -> None:
    with store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="9999"):
        migrate.require_current(store.database)


def test_a_schema_of_a_later_version_is_left_alone_and_it_is_said_what_to_do(store: SqlStore) -> None:
    with store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="a later version made it; run that one, or restore a backup of before"):
        migrate.upgrade(store.database)
    assert migrate.schema(store.database) == "9999"


def test_every_noun_has_its_table_by_its_name() -> None:
    assert {prefix: table.name for prefix, table in NOUNS.items()} == {
        prefix: noun.plural for prefix, noun in nouns.TABLE.items() if prefix != "led"
    }


def test_where_there_can_be_no_database_it_is_said() -> None:
    with pytest.raises(ConfigurationError):
        Database("sqlite:////proc/nowhere/broker.db")
