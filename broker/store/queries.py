"""What pages, clocks and meters ask: queues, my things, access lists, what is overdue, and the ledger searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Select, func, or_, select

from broker.store import rows
from broker.store.tables import CHECKPOINTS, LEDGER, MOUNTS, NAMED, NOUNS, OUTBOX, PERMITS, TUNNELS
from broker.store.unit import Database
from sulku import applications, mounts, nouns, permits, releases, tunnels
from sulku.codec import stamp, unstamp
from sulku.errors import InvalidInputError
from sulku.records import Access, Found, Search

DONE: Final = 50  # closed records that a queue shows
MOST: Final = 500  # entries a page of a search may have


@dataclass(frozen=True, slots=True)
class Queue:
    """A steward's work on one noun: what needs them, what waits for others, and what closed last."""

    needs_me: tuple[Any, ...]
    waiting: tuple[Any, ...]
    done: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Mine:
    """Everything that names one person, newest first."""

    applications: tuple[applications.Application, ...]
    permits: tuple[permits.Permit, ...]
    tunnels: tuple[tunnels.Tunnel, ...]
    releases: tuple[releases.Release, ...]


class Queries:
    """Read models; who may see what they return is for the flow that asks."""

    def __init__(self, database: Database) -> None:
        """Read from ``database``."""
        self._database = database

    def application_queue(self, me: str) -> Queue:
        """Return the queue of applications for steward ``me``; those that ``me`` may not judge wait for others."""

        def mine(one: applications.Application) -> bool:
            named = {one.applicant, *one.form.people, *one.conflicts, *(judgement.by for judgement in one.judgements)}
            return me not in named

        states = applications.State
        return self._queue("app", states.SUBMITTED, [states.RETURNED, states.APPROVED, states.REFUSED, states.WITHDRAWN], mine)

    def release_queue(self, me: str) -> Queue:
        """Return the queue of releases for steward ``me``; verdicts in it are not blinded (``releases.blind``)."""

        def mine(one: releases.Release) -> bool:
            reviewed = me in {review.by for review in one.reviews}
            needed = reviewed is (one.phase is releases.Phase.CONSOLIDATING)
            return needed and me not in {one.author, *one.people}

        states = releases.State
        return self._queue(
            "rel", states.SUBMITTED, [states.RETURNED, states.APPROVED, states.RELEASED, states.WITHDRAWN], mine
        )

    def mine(self, person: str) -> Mine:
        """Return everything that names ``person``."""
        with self._database.read() as connection:
            find: Callable[..., Any] = lambda noun, **where: tuple(rows.fetch(connection, noun, rows.query(noun, where)))  # noqa: E731
            return Mine(
                find("app", person=person), find("per", person=person), find("tun", person=person), find("rel", person=person)
            )

    def due_tunnels(self, at: datetime) -> list[tunnels.Tunnel]:
        """Return live tunnels whose deadline has passed, the longest overdue first."""
        late = select(TUNNELS.c.id, TUNNELS.c.body).where(
            TUNNELS.c.state.in_([state.value for state in tunnels.LIVE]), TUNNELS.c.deadline <= stamp(at)
        )
        return self._fetch("tun", late.order_by(TUNNELS.c.deadline))

    def ended_permits(self, at: datetime) -> list[permits.Permit]:
        """Return permits past their end that do not say so yet, the longest overdue first."""
        open_ = [permits.State.ACTIVE.value, permits.State.SUSPENDED.value]
        late = select(PERMITS.c.id, PERMITS.c.body).where(PERMITS.c.state.in_(open_), PERMITS.c.ends <= stamp(at))
        return self._fetch("per", late.order_by(PERMITS.c.ends))

    def access(self, dataset: str) -> list[Access]:
        """Return who could read which version of ``dataset`` and when, newest first."""
        query = (
            select(MOUNTS.c.id, MOUNTS.c.body, MOUNTS.c.edition, MOUNTS.c.updated, TUNNELS.c.person, TUNNELS.c.permit, MOUNTS.c.tunnel)
            .join(TUNNELS, TUNNELS.c.id == MOUNTS.c.tunnel)
            .where(MOUNTS.c.dataset == dataset)
            .order_by(MOUNTS.c.created.desc(), MOUNTS.c.id.desc())
        )
        with self._database.read() as connection:
            found = connection.execute(query).all()
        return [_access(row) for row in found]

    def search(self, search: Search, *, before: int | None = None, most: int = 50) -> Found:
        """Return a page of the ledger, newest first.

        Args:
            search: What to show.
            before: Index that ended the page before.
            most: Entries on the page, 1 to 500.

        Raises:
            InvalidInputError: ``most`` is out of range, or there is no such noun.
        """
        if not 1 <= most <= MOST:
            raise InvalidInputError(f"a page has 1 to {MOST} entries", fields=[("most", "Out of range")])
        with self._database.read() as connection:
            query = _narrow(connection, search)
            if before is not None:
                query = query.where(LEDGER.c.seq < before)
            found = connection.execute(query.limit(most + 1)).all()
        page = tuple(orjson.loads(row.entry) for row in found[:most])
        return Found(page, found[most - 1].seq if len(found) > most else None)

    def counts(self) -> dict[str, int]:
        """Return what meters show: ``tunnels.open``, ``outbox.failed``, ``ledger.entries``, ``ledger.sealed`` and so on."""
        made: dict[str, int] = {}
        with self._database.read() as connection:
            for prefix, table in NOUNS.items():
                for state, count in connection.execute(select(table.c.state, func.count()).group_by(table.c.state)):
                    made[f"{nouns.TABLE[prefix].plural}.{state}"] = count
            for state, count in connection.execute(select(OUTBOX.c.state, func.count()).group_by(OUTBOX.c.state)):
                made[f"outbox.{state}"] = count
            made["ledger.entries"] = connection.execute(select(func.coalesce(func.max(LEDGER.c.seq) + 1, 0))).scalar_one()
            made["ledger.sealed"] = connection.execute(select(func.coalesce(func.max(CHECKPOINTS.c.size), 0))).scalar_one()
        return made

    def _queue(self, noun: str, open_: str, closed: list[Any], mine: Callable[[Any], bool]) -> Queue:
        with self._database.read() as connection:
            found = rows.fetch(connection, noun, rows.query(noun, {"state": open_}))
            table = NOUNS[noun]
            last = rows.query(noun, {"state": closed}).order_by(None).order_by(table.c.updated.desc(), table.c.id.desc())
            done = rows.fetch(connection, noun, last.limit(DONE))
        found.reverse()  # who has waited longest comes first
        return Queue(tuple(filter(mine, found)), tuple(one for one in found if not mine(one)), tuple(done))

    def _fetch(self, noun: str, query: Select[tuple[str, str]]) -> list[Any]:
        with self._database.read() as connection:
            return rows.fetch(connection, noun, query)


def _access(row: Any) -> Access:
    body = orjson.loads(row.body)
    until = unstamp(row.updated) if body["state"] == mounts.State.DETACHED else None
    return Access(row.person, row.permit, row.tunnel, row.id, row.edition, unstamp(body["at"]), until)


def _narrow(connection: Connection, search: Search) -> Select[Any]:
    query = select(LEDGER.c.seq, LEDGER.c.entry).order_by(LEDGER.c.seq.desc())
    if search.person:
        about = select(NAMED.c.record).where(NAMED.c.part == "person", NAMED.c.value == search.person)
        who = (LEDGER.c.actor == search.person, LEDGER.c.person == search.person, LEDGER.c.record.in_(about))
        query = query.where(or_(*who))
    if search.noun:
        if search.noun not in nouns.TABLE:
            raise InvalidInputError(f"there is no noun {search.noun!r}")
        query = query.where(LEDGER.c.record >= f"{search.noun}_", LEDGER.c.record < f"{search.noun}`")  # "`" follows "_"
    if search.type:
        family = (LEDGER.c.type >= f"{search.type}.", LEDGER.c.type < f"{search.type}/")  # "/" follows "."
        query = query.where(LEDGER.c.type == search.type if "." in search.type else family[0] & family[1])
    if search.dataset:
        names = select(NAMED.c.record).where(NAMED.c.part == "dataset", NAMED.c.value == search.dataset)
        query = query.where(or_(LEDGER.c.record == search.dataset, LEDGER.c.record.in_(names), LEDGER.c.permit.in_(names)))
    if search.record:
        query = query.where(LEDGER.c.record == search.record)
    if search.outcome:
        query = query.where(LEDGER.c.kind == search.outcome)
    if search.since:
        query = query.where(LEDGER.c.seq >= _first_at(connection, search.since))
    if search.until:
        query = query.where(LEDGER.c.seq < _first_at(connection, search.until))
    return query


def _first_at(connection: Connection, at: datetime) -> int:
    """Return the index of the first entry that is not before ``at``: by bisection, as times never fall."""
    low, high = 0, connection.execute(select(func.coalesce(func.max(LEDGER.c.seq) + 1, 0))).scalar_one()
    while low < high:
        middle = (low + high) // 2
        if connection.execute(select(LEDGER.c.at).where(LEDGER.c.seq == middle)).scalar_one() < stamp(at):
            low = middle + 1
        else:
            high = middle
    return int(low)
