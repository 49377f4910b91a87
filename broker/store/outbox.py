"""What must still happen outside the database: claimed under a lease, repeated until done, never lost and never forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Connection, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.store.tables import OUTBOX
from broker.store.unit import Database
from sulku.codec import plain, stamp, unstamp
from sulku.errors import NotFoundError
from sulku.ports import Effect

LEASE: Final = timedelta(minutes=2)  # how long an effect may take, and may wait at Redis, before another worker tries
HOLD: Final = timedelta(seconds=30)  # how long it is kept for who is at work on it and says so; longer than a database is away in passing
TRIES: Final = 5  # of an effect that is refused; one that fails for another reason is tried for ever
SLOWEST: Final = timedelta(minutes=1)  # between two tries
_URGENT: Final = ("close-tunnel", "end-permit", "end-person", "end-sessions")  # endings never queue behind openings


@dataclass(frozen=True, slots=True)
class Claimed:
    """An effect that one worker holds until ``until``; ``attempt`` is its fence: an older one can settle nothing."""

    effect: Effect
    attempt: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """An effect that does not succeed; ``failed`` if it is no longer tried."""

    effect: Effect
    attempts: int
    error: str
    failed: bool


def put(connection: Connection, effects: Sequence[Effect], seq: int, at: datetime) -> None:
    """Queue effects that follow entry ``seq``; a name that was ever queued is not queued again."""
    rows = [
        {
            "name": effect.name,
            "seq": seq,
            "kind": effect.kind,
            "target": effect.target,
            "epoch": effect.epoch,
            "body": orjson.dumps(plain(effect.body)).decode(),
            "state": "waiting",
            "due": stamp(effect.due or at),
            "created": stamp(at),
        }
        for effect in effects
    ]
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(OUTBOX).on_conflict_do_nothing(index_elements=["name"]), rows)


class Outbox:
    """The queue of effects.

    Attributes:
        woken: Set whenever something was queued by this process; whoever waits for work clears it.
    """

    def __init__(self, database: Database) -> None:
        """Use ``database``."""
        self._database = database
        self.woken = threading.Event()

    def claim(self, at: datetime, *, most: int = 1, lease: timedelta = LEASE) -> list[Claimed]:
        """Take effects that are due; nobody else gets them until the lease ends. Endings first, then the oldest.

        Raises:
            StoreUnavailableError: The database is away.
        """
        if not self._anything(at):
            return []  # without this look, an idle worker would take SQLite's write lock again and again
        until = at + lease
        urgent = case((OUTBOX.c.kind.in_(_URGENT), 0), else_=1)
        due = select(OUTBOX).where(OUTBOX.c.state == "waiting", OUTBOX.c.due <= stamp(at))
        due = due.order_by(urgent, OUTBOX.c.due, OUTBOX.c.seq, OUTBOX.c.name).limit(most)
        with self._database.write() as connection:
            rows = connection.execute(due.with_for_update(skip_locked=True)).all()
            mine = update(OUTBOX).where(OUTBOX.c.name.in_([row.name for row in rows]))
            connection.execute(mine.values(attempts=OUTBOX.c.attempts + 1, due=stamp(until)))
        return [Claimed(_effect(row), row.attempts + 1, until) for row in rows]

    def load(self, name: str, attempt: int, at: datetime) -> Claimed | None:
        """Return a claimed effect by name, or ``None`` if it is settled, was claimed anew, or its lease is over."""
        with self._database.read() as connection:
            row = connection.execute(select(OUTBOX).where(OUTBOX.c.name == name)).one_or_none()
        if row is None or row.state != "waiting" or row.attempts != attempt or row.due <= stamp(at):
            return None
        return Claimed(_effect(row), attempt, unstamp(row.due))

    def keep(self, claimed: Claimed, at: datetime) -> None:
        """Hold an effect for ``HOLD`` from now, as somebody is at work on it; does nothing if another worker has it by now."""
        self._settle(claimed, due=stamp(at + HOLD))

    def done(self, claimed: Claimed, at: datetime) -> None:
        """Settle an effect; does nothing if another worker has it by now."""
        self._settle(claimed, state="done", ended=stamp(at), error="")

    def failed(self, claimed: Claimed, reason: str, at: datetime, *, refused: bool = False) -> None:
        """Say that a try failed. It is tried again after 1, 2, 4 … seconds, at most a minute.

        Args:
            refused: Somebody said no, and will say it again: given up after ``TRIES`` tries.
        """
        error = reason[:2000]
        if refused and claimed.attempt >= TRIES:
            self._settle(claimed, state="failed", ended=stamp(at), error=error)
            return
        pause = min(SLOWEST, timedelta(seconds=2 ** min(claimed.attempt - 1, 10)))
        self._settle(claimed, due=stamp(at + pause), error=error)

    def retry(self, name: str, at: datetime) -> None:
        """Try an effect once more, now.

        Raises:
            NotFoundError: There is none of that name that waits or failed.
        """
        again = update(OUTBOX).where(OUTBOX.c.name == name, OUTBOX.c.state != "done")
        with self._database.write() as connection:
            if not connection.execute(again.values(state="waiting", due=stamp(at), ended="")).rowcount:
                raise NotFoundError(f"no effect {name} waits or has failed")
        self.woken.set()

    def troubles(self) -> list[Trouble]:
        """Return what failed, or failed at least once and waits, oldest first."""
        bad = select(OUTBOX).where(OUTBOX.c.state != "done", OUTBOX.c.error != "").order_by(OUTBOX.c.seq, OUTBOX.c.name)
        with self._database.read() as connection:
            rows = connection.execute(bad).all()
        return [Trouble(_effect(row), row.attempts, row.error, row.state == "failed") for row in rows]

    def waiting(self) -> tuple[int, datetime | None]:
        """Return how many effects are not settled and since when the oldest waits."""
        query = select(func.count(), func.min(OUTBOX.c.created)).where(OUTBOX.c.state == "waiting")
        with self._database.read() as connection:
            count, oldest = connection.execute(query).one()
        return count, unstamp(oldest) if oldest else None

    def _anything(self, at: datetime) -> bool:
        query = select(OUTBOX.c.name).where(OUTBOX.c.state == "waiting", OUTBOX.c.due <= stamp(at)).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def _settle(self, claimed: Claimed, **values: str) -> None:
        name, attempt = claimed.effect.name, claimed.attempt
        held = (OUTBOX.c.name == name, OUTBOX.c.attempts == attempt, OUTBOX.c.state == "waiting")
        with self._database.write() as connection:
            connection.execute(update(OUTBOX).where(*held).values(values))


def _effect(row: Any) -> Effect:
    return Effect(row.name, row.kind, row.target, row.epoch, orjson.loads(row.body), unstamp(row.due))
