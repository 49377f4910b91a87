"""What people are told: one row a person and happening, made by the worker, read on their pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.store.tables import NOTICES
from broker.store.unit import Database
from sulku.codec import stamp, unstamp
from sulku.records import Notice


class Notices:
    """Rows that tell; deleting them would lose nothing but courtesy."""

    def __init__(self, database: Database) -> None:
        """Use ``database``."""
        self._database = database

    def put(self, name: str, persons: Iterable[str], what: str, about: str, at: datetime) -> None:
        """Tell ``persons``; ``name`` (the effect's) tells each of them once."""
        given = {"name": name, "what": what, "about": about, "at": stamp(at)}
        if told := [{**given, "person": person} for person in sorted(set(persons))]:
            dialect = sqlite if self._database.dialect == "sqlite" else postgresql
            statement = dialect.insert(NOTICES).on_conflict_do_nothing(index_elements=["name", "person"])
            with self._database.write() as connection:
                connection.execute(statement, told)

    def given(self, name: str) -> bool:
        """Return whether anybody was told ``name``."""
        with self._database.read() as connection:
            return connection.execute(select(NOTICES.c.id).where(NOTICES.c.name == name).limit(1)).first() is not None

    def of(self, person: str, most: int = 100) -> list[Notice]:
        """Return what ``person`` was told, newest first."""
        query = select(NOTICES).where(NOTICES.c.person == person).order_by(NOTICES.c.id.desc()).limit(most)
        with self._database.read() as connection:
            found = connection.execute(query).all()
        return [
            Notice(row.id, row.person, row.what, row.about, unstamp(row.at), unstamp(row.seen) if row.seen else None)
            for row in found
        ]

    def unread(self, person: str) -> int:
        """Return how many notices ``person`` has not read."""
        query = select(func.count()).where(NOTICES.c.person == person, NOTICES.c.seen == "")
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def read(self, person: str, last: int, at: datetime) -> None:
        """Note that ``person`` has read up to and with notice ``last``."""
        mine = (NOTICES.c.person == person, NOTICES.c.id <= last, NOTICES.c.seen == "")
        with self._database.write() as connection:
            connection.execute(update(NOTICES).where(*mine).values(seen=stamp(at)))
