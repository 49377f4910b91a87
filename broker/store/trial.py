"""Can the ledger be written? A change of the real tables that is undone before it counts."""

from __future__ import annotations

from sqlalchemy import func, insert, select, update

from broker.store.migrate import require_current
from broker.store.tables import HEAD, LEDGER
from broker.store.unit import Database
from sulku.ledger.tree import hash_leaf


class _UndoneError(Exception):
    """Leaves a change in the way that undoes it."""


def require_writable(database: Database) -> str:
    """Add an entry to the ledger, move its head, and undo both; return what was tried.

    Raises:
        ConfigurationError: The database has another schema, or none.
        StoreUnavailableError: It is away, full, or may not be written.
    """
    require_current(database)
    entry = b"trial"
    row = dict.fromkeys(("type", "record", "actor", "person", "permit", "kind", "decision", "at"), "")
    try:
        with database.write() as connection:
            connection.execute(select(HEAD.c.at).where(HEAD.c.id == 1).with_for_update()).one()  # nobody else appends meanwhile
            end = connection.execute(select(func.coalesce(func.max(LEDGER.c.seq) + 1, 0))).scalar_one()
            connection.execute(insert(LEDGER), {"seq": end, "leaf": hash_leaf(entry), "entry": entry, **row})
            connection.execute(update(HEAD).where(HEAD.c.id == 1).values(at=HEAD.c.at))
            raise _UndoneError
    except _UndoneError:
        return f"an entry was added and undone ({database.dialect})"
