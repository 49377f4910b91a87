"""The database and its transactions; the only place that commits, and where a driver's errors become ours."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import IntegrityError as ConstraintError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from broker.store.turns import Turns
from sulku.errors import ConfigurationError, IntegrityError, InvalidInputError, StaleError, StoreUnavailableError

TIMEOUT: Final = 5.0  # seconds that a change waits for another before it gives up
POOL: Final = 40  # as many as the web server has threads: fewer would deadlock under load
LOST_RACE: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock: PostgreSQL undid the later one
DAMAGED: Final = ("malformed", "not a database")  # how SQLite says that the file itself is broken


class Database:
    """One database, SQLite or PostgreSQL, and its connections.

    Attributes:
        engine: For migrations and tests; everything else goes through ``read`` and ``write``.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Prepare; connects when first used.

        Args:
            url: ``sqlite:////path/to/file`` or ``postgresql+psycopg://…``.
            timeout: Seconds to wait for a lock; statements on PostgreSQL get three times as long.

        Raises:
            ConfigurationError: There can be no file at that path.
        """
        self.timeout = timeout
        self.engine = _sqlite(url, timeout) if make_url(url).get_backend_name() == "sqlite" else _postgres(url, timeout)
        # SQLite has one writer; waiting in line here is fair and wakes at once, its own waiting polls
        self._turn = Turns() if self.dialect == "sqlite" else None
        self._mine = threading.local()

    @property
    def dialect(self) -> str:
        """Return ``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open one consistent view; inside a change of the same thread, the view of that change.

        Raises:
            StoreUnavailableError: The database is away.
        """
        mine: Connection | None = getattr(self._mine, "connection", None)
        if mine is not None:
            yield mine
            return
        one_view = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with _translated(), self.engine.connect() as connection:
            yield connection.execution_options(**one_view) if self.dialect == "postgresql" else connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a change; committed on leaving, rolled back on any error.

        PostgreSQL runs it as READ COMMITTED: with REPEATABLE READ each change that waited for the ledger's head would
        fail, as the head moved meanwhile. Row locks and versions give what isolation would.

        Raises:
            StoreUnavailableError: The database is away, busy for too long, or its disk is full; nothing was changed
                (if it went away while committing, that is not known: the idempotency key tells).
            StaleError: Another change won the race.
        """
        if getattr(self._mine, "connection", None) is not None:
            raise RuntimeError("a thread has one change at a time")
        with _translated(), self._in_turn(), self.engine.connect() as connection:
            connection.execution_options(sulku_write=True).begin()
            self._mine.connection = connection
            try:
                yield connection
                _commit(connection)
            finally:
                self._mine.connection = None

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(self.timeout):
            raise StoreUnavailableError("other changes took too long")
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except BaseException:
        connection.invalidate()  # nobody knows whether its transaction is still open; the next change gets another one
        raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreUnavailableError("all connections are busy") from error
    except DBAPIError as error:
        raise _ours(error) from error


def _ours(error: DBAPIError) -> Exception:
    said = str(error.orig)
    if isinstance(error, ConstraintError) or getattr(error.orig, "sqlstate", None) in LOST_RACE:
        return StaleError("another change came first")
    if any(word in said for word in DAMAGED):
        return IntegrityError(f"the database file is damaged: {said}")
    if isinstance(error, (OperationalError, InterfaceError, InternalError)) or error.connection_invalidated:
        return StoreUnavailableError(f"the database did not answer: {said.splitlines()[0] if said else 'gone'}")
    if isinstance(error, DataError):
        return InvalidInputError("a text holds what the database cannot keep")
    return error


def _sqlite(url: str, timeout: float) -> Engine:
    path = make_url(url).database
    if path:
        try:
            os.close(os.open(Path(path), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))  # for this user only
        except OSError as error:
            raise ConfigurationError(f"there can be no database at {path}: {error.strerror}") from error
    waits = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": timeout, "connect_args": {"timeout": timeout}}
    engine = create_engine(url, paramstyle="named", **waits)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver must not begin by itself: BEGIN below says how
        # secure_delete: what is erased is overwritten in the file too
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "recursive_triggers = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("sulku_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgres(url: str, timeout: float) -> Engine:
    limits = {
        "lock_timeout": timeout,
        "statement_timeout": 3 * timeout,
        "idle_in_transaction_session_timeout": 6 * timeout,
    }
    options = " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in limits.items())
    return create_engine(
        url,
        pool_size=POOL,
        max_overflow=0,
        pool_timeout=timeout,
        pool_pre_ping=True,
        connect_args={"options": options, "connect_timeout": max(2, int(timeout))},
    )
