"""Where running workspaces are, told by the part that started them to the parts that reach them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from broker.store.tables import PLACES
from broker.store.unit import Database
from sulku.codec import stamp

FEW: Final = 500  # more than these are looked for by reading all: a statement takes so many parameters and no more


class Places:
    """Rows that lead; that a tunnel is open is for its record alone to say."""

    def __init__(self, database: Database) -> None:
        """Use ``database``."""
        self._database = database

    def put(self, tunnel: str, address: str, at: datetime) -> None:
        """Keep where the workspace of ``tunnel`` is; the latest word counts.

        Raises:
            StoreUnavailableError: The database is away.
        """
        dialect = sqlite if self._database.dialect == "sqlite" else postgresql
        given = {"tunnel": tunnel, "address": address, "at": stamp(at)}
        statement = dialect.insert(PLACES).values(given)
        with self._database.write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["tunnel"], set_=given))

    def of(self, tunnels: Iterable[str]) -> dict[str, str]:
        """Return tunnel → address of those of ``tunnels`` that are somewhere.

        Raises:
            StoreUnavailableError: The database is away.
        """
        asked = set(tunnels)
        query = select(PLACES.c.tunnel, PLACES.c.address)
        if len(asked) < FEW:
            query = query.where(PLACES.c.tunnel.in_(sorted(asked)))
        with self._database.read() as connection:
            return {row.tunnel: row.address for row in connection.execute(query) if row.tunnel in asked}

    def drop(self, tunnel: str) -> None:
        """Forget where the workspace of ``tunnel`` was; may be repeated.

        Raises:
            StoreUnavailableError: The database is away.
        """
        with self._database.write() as connection:
            connection.execute(delete(PLACES).where(PLACES.c.tunnel == tunnel))
