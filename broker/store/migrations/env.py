"""Where Alembic begins; it is given the database by ``broker.store.migrate`` and has no settings of its own."""

from __future__ import annotations

from alembic import context

from broker.store.tables import METADATA

database = context.config.attributes["database"]
with database.write() as connection:
    context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
    context.run_migrations()
