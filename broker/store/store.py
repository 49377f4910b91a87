"""The store: every port of ``sulku.ports.Store`` on one database, and what the rest of the broker needs of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from broker.store import rows
from broker.store.ledger import Ledger
from broker.store.notices import Notices
from broker.store.outbox import Outbox
from broker.store.places import Places
from broker.store.queries import Queries
from broker.store.record import EffectsOf, Recording, check
from broker.store.spool import Late, Spool
from broker.store.tables import KEYS, LEDGER, SESSIONS_ENDED
from broker.store.unit import TIMEOUT, Database
from sulku.clearance import Authority, Clearance, Mandate, Refusal, require_fresh
from sulku.codec import Plain, stamp
from sulku.errors import RepeatedKeyError, RuleError, StaleError, StoreUnavailableError
from sulku.events import Happened, Refused
from sulku.ports import Facts, Receipt, Unit


class SqlStore:
    """Implements ``sulku.ports.Store``.

    Attributes:
        ledger: Checkpoints, entries, proofs and bundles.
        outbox: What the worker does.
        notices: What people are told.
        places: Where workspaces are that another part started.
        queries: What pages and clocks ask.
        database: Connections, for migrations, verification and backup.
    """

    def __init__(self, url: str, spool: Path, *, timeout: float = TIMEOUT) -> None:
        """Prepare; the schema must be there (``broker.store.migrate.upgrade``).

        Args:
            url: As for ``Database``.
            spool: File for what must not be lost while the database is away; best on another disk.
            timeout: Seconds that a change waits for another.
        """
        self.database = Database(url, timeout=timeout)
        self.ledger = Ledger(self.database)
        self.outbox = Outbox(self.database)
        self.notices = Notices(self.database)
        self.places = Places(self.database)
        self.queries = Queries(self.database)
        self._spool = Spool(spool)

    def peek(self, identifiers: Iterable[str]) -> dict[str, Any]:
        """Return records without locking them; a record that does not exist has version 0.

        Raises:
            StoreUnavailableError: The database is away.
        """
        with self.database.read() as connection:
            return rows.load(connection, identifiers)

    def find(self, noun: str, **where: Plain) -> list[Any]:
        """Return snapshots of ``noun`` (a prefix such as ``tun``) whose facts match, newest first.

        A list of values matches any of them. Inside a change of the same thread it sees what that change sees, so that
        counting after ``lock`` counts what no other change can add to.

        Raises:
            InvalidInputError: There is no such noun or fact.
            StoreUnavailableError: The database is away.
        """
        with self.database.read() as connection:
            return rows.fetch(connection, noun, rows.query(noun, where))

    def repeated(self, key: str, digest: str) -> Receipt | None:
        """Return the receipt of the request that used idempotency ``key`` before, or ``None``.

        Raises:
            RepeatedKeyError: The key was used for another request.
        """
        with self.database.read() as connection:
            row = connection.execute(select(KEYS).where(KEYS.c.key == key)).one_or_none()
            if row is None:
                return None
            if row.digest != digest:
                raise RepeatedKeyError("this key was used for another request")
            facts = rows.load(connection, orjson.loads(row.records))
        return Receipt(facts, tuple(orjson.loads(row.entries)), repeated=True)

    def latest_checkpoint(self) -> str:
        """Return the newest signed checkpoint (a signed note, text); empty before the first."""
        return self.ledger.latest_checkpoint().decode()

    def end_session(self, session: str, until: datetime, at: datetime) -> None:
        """Remember, for every process and after a restart, that ``session`` is over, until it would have ended anyway.

        Forgets those whose time has come by ``at``, so that the table holds what people signed out of within hours.

        Raises:
            StoreUnavailableError: The database is away.
        """
        dialect = sqlite if self.database.dialect == "sqlite" else postgresql
        once = dialect.insert(SESSIONS_ENDED).on_conflict_do_nothing(index_elements=["session"])
        with self.database.write() as connection:
            connection.execute(delete(SESSIONS_ENDED).where(SESSIONS_ENDED.c.until <= stamp(at)))
            connection.execute(once, {"session": session, "until": stamp(until)})

    def session_ended(self, session: str) -> bool:
        """Tell whether ``session`` was ended: one look into an index.

        Raises:
            StoreUnavailableError: The database is away.
        """
        with self.database.read() as connection:
            return connection.execute(select(SESSIONS_ENDED.c.session).where(SESSIONS_ENDED.c.session == session)).first() is not None

    def begin(self, authority: Authority, *, at: datetime, key: str | None = None) -> AbstractContextManager[Unit]:
        """Open a transaction under ``authority``; commits on leaving, rolls back on any error.

        A refusal is recorded at once, and spooled if the database is away.

        Raises:
            RuleError: A clearance is too old.
            StaleError: A record, or the same request, was changed meanwhile.
            StoreUnavailableError: The database is away or full; an ending must then be given to ``spool``.
        """
        if isinstance(authority, Refusal):
            return self._refusing(authority, at)
        if isinstance(authority, Clearance):
            require_fresh(authority, at)
        return self._unit(authority, at, key)

    def spool(self, mandate: Mandate, happened: Sequence[Happened], at: datetime) -> None:
        """Keep an ending that has happened while the database was away; ``replay`` records it.

        Raises:
            RuleError: It is not an ending.
            StoreUnavailableError: The spool cannot be written either.
        """
        check(mandate, happened)
        self._spool.append(mandate, happened, at)

    def replay(self, at: datetime, effects: EffectsOf | None = None) -> int:
        """Record what was spooled, in order, each once; return how many there were. Cheap when there is nothing.

        Raises:
            StoreUnavailableError: The database is still away.
        """
        return self._spool.replay(lambda late: self._replay(late, at, effects))

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    @contextmanager
    def _unit(self, authority: Authority, at: datetime, key: str | None, spooled: str = "") -> Iterator[Recording]:
        with self.database.write() as connection:
            unit = Recording(connection, authority, at, key, spooled)
            yield unit
        if unit.queued:
            self.outbox.woken.set()

    @contextmanager
    def _refusing(self, refusal: Refusal, at: datetime) -> Iterator[Unit]:
        yield _Refusing(self, refusal, at)

    def record_refusal(self, refusal: Refusal, happened: Sequence[Happened], at: datetime) -> Receipt:
        """Record a refusal, or spool it.

        Raises:
            RuleError: It carries more than its one entry.
            StoreUnavailableError: Neither can be written.
        """
        check(refusal, happened)
        try:
            with self._unit(refusal, at, None) as unit:
                return unit.record(happened)
        except StoreUnavailableError:
            self._spool.append(refusal, happened, at)
            return Receipt({}, ())

    def _replay(self, late: Late, at: datetime, effects: EffectsOf | None) -> None:
        with self.database.read() as connection:
            if connection.execute(select(KEYS.c.key).where(KEYS.c.key == late.name)).first():
                return
            happened = [one for one in late.happened if not _known(connection, late.authority, one)]
        authority = late.authority
        if happened and isinstance(authority, Mandate) and authority.target not in {one.noun for one in happened}:
            authority = replace(authority, target=happened[0].noun)  # its target has ended; what is left ends by the same right
        if happened:
            with self._unit(authority, at, late.name, spooled=stamp(late.at)) as unit, self.database.read() as connection:
                if isinstance(authority, Mandate):
                    unit.lock({one.noun for one in happened})
                    if any(_known(connection, authority, one) for one in happened):
                        raise StaleError("another broker recorded this end meanwhile")  # the next replay looks again
                unit.record(happened, effects)


class _Refusing:
    """A unit that carries one refusal and nothing else."""

    def __init__(self, store: SqlStore, refusal: Refusal, at: datetime) -> None:
        self._store, self._refusal, self._at = store, refusal, at
        self._used = False

    def lock(self, identifiers: Iterable[str]) -> Facts:
        raise RuleError("refused", f"a refusal locks nothing ({', '.join(identifiers)})")

    def record(self, happened: Sequence[Happened], effects: EffectsOf | None = None) -> Receipt:
        if self._used or effects is not None:
            raise RuleError("refused", "a refusal carries one entry and no effect")
        receipt = self._store.record_refusal(self._refusal, happened, self._at)
        self._used = True
        return receipt

    def spend_ticket(self, digest: str, nonce: str, at: datetime) -> Plain:
        del digest, nonce, at
        raise RuleError("refused", "a refusal spends nothing")

    def note_reports(self, tunnel: str, run: str, number: int) -> int:
        del tunnel, run, number
        raise RuleError("refused", "a refusal notes nothing")


def _known(connection: Connection, authority: Refusal | Mandate, one: Happened) -> bool:
    """Tell whether a spooled event is in the ledger already: an ending happens once, a decision is refused once.

    The commit may have succeeded just when the connection was lost, or another clock may have recorded the same end.
    """
    same = select(LEDGER.c.seq).where(LEDGER.c.record == one.noun, LEDGER.c.type == one.event.TYPE)
    if isinstance(one.event, Refused):
        if not isinstance(authority, Refusal) or authority.basis is None:
            return False
        same = same.where(LEDGER.c.decision == authority.basis.decision)
    return connection.execute(same.limit(1)).first() is not None
