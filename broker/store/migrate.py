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
        ConfigurationError: A later version has made the schema; nothing was changed.
        StoreUnavailableError: The database is away.
    """
    config = _config(database)
    _require_known(config, schema(database))
    command.upgrade(config, to)


def downgrade(database: Database, to: str) -> None:
    """Undo migrations down to revision ``to`` (``base``: all). The ledger goes with them: for tests only."""
    command.downgrade(_config(database), to)


def schema(database: Database) -> str:
    """Return the revision of the schema that the database has; empty if it has none."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def require_current(database: Database) -> None:
    """Require that the database has the schema of this version.

    Raises:
        ConfigurationError: It has another, or none.
        StoreUnavailableError: The database is away.
    """
    config, found = _config(database), schema(database)
    _require_known(config, found)
    wanted = ScriptDirectory.from_config(config).get_current_head()
    if found != wanted:
        raise ConfigurationError(f"the database has schema {found or 'none'}, this version needs {wanted}; run the migrations")


def _require_known(config: Config, found: str) -> None:
    scripts = ScriptDirectory.from_config(config)
    if found and found not in {one.revision for one in scripts.walk_revisions()}:
        raise ConfigurationError(
            f"the database has schema {found}, which this version does not know (it needs {scripts.get_current_head()}): a later version made it; "
            "run that one, or restore a backup of before"
        )


def _config(database: Database) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["database"] = database
    return config
