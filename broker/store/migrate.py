"""Bring a database to the schema of this version, by Alembic, without its command line or any file of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from broker.store.unit import Database
from sulku.errors import ConfigurationError

SCRIPTS: Final = Path(__file__).parent / "migrations"


def upgrade(database: Database, to: str = "head") -> None:
    """Run the migrations that are missing; each in a transaction of its own.

    Raises:
        StoreUnavailableError: The database is away.
    """
    command.upgrade(_config(database), to)


def downgrade(database: Database, to: str) -> None:
    """Undo migrations down to revision ``to`` (``base``: all). The ledger goes with them: for tests only."""
    command.downgrade(_config(database), to)


def require_current(database: Database) -> None:
    """Require that the database has the schema of this version.

    Raises:
        ConfigurationError: It has another, or none.
        StoreUnavailableError: The database is away.
    """
    with database.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    wanted = ScriptDirectory.from_config(_config(database)).get_current_head()
    if found != wanted:
        raise ConfigurationError(f"the database has schema {found or 'none'}, this version needs {wanted}; run the migrations")


def _config(database: Database) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["database"] = database
    return config
