"""What stands beside the ledger: the texts behind its commitments and what policy was asked. Read, and lawfully erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, delete, select

from broker.store.ledger import reveal
from broker.store.tables import DECISIONS, LEDGER, PRIVATE
from broker.store.unit import Database
from sulku import erasure
from sulku.crypto import seal
from sulku.errors import CommitmentError, LedgerBrokenError, NotFoundError, StaleError
from sulku.events import REGISTRY, Erased, Event, Happened, from_plain
from sulku.records import Beside, Held, Opened

KIND: Final = Erased.TYPE


def history(database: Database, record: str) -> Iterator[Event]:
    """Yield what happened to ``record``, oldest first, without what only the ledger holds; erased texts are empty.

    Raises:
        CommitmentError: A text is not the one that was committed to.
        LedgerBrokenError: An entry is of no type that this version knows.
    """
    with database.read() as connection:
        texts = _openings(connection, LEDGER.c.record == record)
        found = connection.execute(select(LEDGER.c.seq, LEDGER.c.entry).where(LEDGER.c.record == record).order_by(LEDGER.c.seq)).all()
    for row in found:
        entry = orjson.loads(row.entry)
        kind = REGISTRY.get((entry["type"], entry["schema"]))
        if kind is None:
            raise LedgerBrokenError(f"no event is called {entry['type']} v{entry['schema']}", index=row.seq, record=record)
        if not kind.STATELESS:
            openings = texts.get(row.seq, {})
            body = reveal(entry["body"], openings)
            yield from_plain(entry["type"], entry["schema"], {**body, **erasure.blank(kind, kind.PRIVATE - openings.keys())})


def _openings(connection: Connection, which: ColumnElement[bool]) -> dict[int, dict[str, tuple[bytes, str]]]:
    query = select(PRIVATE).join(LEDGER, LEDGER.c.seq == PRIVATE.c.seq).where(which).order_by(PRIVATE.c.seq, PRIVATE.c.field)
    made: dict[int, dict[str, tuple[bytes, str]]] = {}
    for row in connection.execute(query):
        made.setdefault(row.seq, {})[row.field] = bytes(row.salt), row.text
    return made


def opened(database: Database, index: int, *, texts: bool) -> Opened:
    """Return what stands beside entry ``index``, with the ``texts`` or without.

    Raises:
        NotFoundError: There is no such entry.
    """
    with database.read() as connection:
        row = connection.execute(
            select(LEDGER.c.entry, LEDGER.c.record, LEDGER.c.kind, LEDGER.c.decision).where(LEDGER.c.seq == index)
        ).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no record {index}")
        openings = _openings(connection, LEDGER.c.seq == index).get(index, {})
        later = (LEDGER.c.record == row.record, LEDGER.c.type == KIND, LEDGER.c.seq > index)
        erased = connection.execute(select(LEDGER.c.entry).where(*later).order_by(LEDGER.c.seq).limit(1)).scalar()
        rests = row.kind != "mandate" and row.decision
        asked = connection.execute(select(DECISIONS.c.id).where(DECISIONS.c.id == row.decision)).first() is not None if rests else None
    entry = orjson.loads(row.entry)
    concealed = REGISTRY[entry["type"], entry["schema"]].PRIVATE | openings.keys()
    found = tuple(_beside(name, entry["body"], openings.get(name), texts=texts) for name in entry["body"] if name in concealed)
    gone = erased is not None and any(one.fits is None for one in found)
    return Opened(found, orjson.loads(erased) if gone and erased else None, asked)


def _beside(name: str, body: dict[str, Any], opening: tuple[bytes, str] | None, *, texts: bool) -> Beside:
    if opening is None:
        return Beside(name, None, None)
    salt, text = opening
    try:
        seal.open_commitment(str(body.get(name)), salt, text)
    except CommitmentError:
        return Beside(name, text if texts else None, fits=False)
    return Beside(name, text if texts else None, fits=True)


def held(database: Database, records: Sequence[str]) -> tuple[Held, ...]:
    """Return what an erasure of each of ``records`` would take, in order; a decision that shows several counts for the first."""
    with database.read() as connection:
        return tuple(one for one, _, _ in _held(connection, records))


def _held(
    connection: Connection, records: Sequence[str], below: int | None = None, own: str = ""
) -> Iterator[tuple[Held, list[tuple[int, str]], list[str]]]:
    taken = {own}
    for record in records:
        query = (
            select(LEDGER.c.type, PRIVATE.c.seq, PRIVATE.c.field)
            .join(LEDGER, LEDGER.c.seq == PRIVATE.c.seq)
            .where(LEDGER.c.record == record)
        )
        rows = connection.execute(query if below is None else query.where(PRIVATE.c.seq < below)).all()
        texts = [row for row in rows if row.field in erasure.private(row.type)]
        about = (
            select(DECISIONS.c.id, DECISIONS.c.asked).where(DECISIONS.c.asked.contains(record, autoescape=True)).order_by(DECISIONS.c.id)
        )
        shown = [row.id for row in connection.execute(about) if row.id not in taken and erasure.shows(orjson.loads(row.asked), record)]
        taken.update(shown)
        kinds = tuple(sorted({f"{row.type}.{row.field}" for row in texts}))
        yield Held(record, kinds, len(texts), len(shown)), [(row.seq, row.field) for row in texts], shown


def erase(connection: Connection, happened: Sequence[Happened], below: int, own: str) -> None:
    """Delete what the erasures among ``happened`` say, of entries before ``below``; inside their change, with the head locked.

    Args:
        own: The decision to erase, which stays: policy was told no text in it (``broker.flows.act.told``).

    Raises:
        StaleError: There is more, or less, than they say: somebody wrote meanwhile.
    """
    said = {one.noun: one.event for one in happened if isinstance(one.event, Erased)}
    for found, texts, decisions in _held(connection, list(said), below, own):
        event = said[found.record]
        if (event.kinds, event.texts, event.decisions) != (found.kinds, found.texts, found.decisions):
            raise StaleError(f"something was written about {found.record} meanwhile")
        for seq, field in texts:
            connection.execute(delete(PRIVATE).where(PRIVATE.c.seq == seq, PRIVATE.c.field == field))
        for decision in decisions:
            connection.execute(delete(DECISIONS).where(DECISIONS.c.id == decision))
