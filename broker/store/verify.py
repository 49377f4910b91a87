"""Is the ledger whole, and do the rows say what it says? Everything is recomputed; nothing stored is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from broker.store import rows
from broker.store.ledger import pages, reveal
from broker.store.tables import CHECKPOINTS, DECISIONS, HEAD, LEDGER, NAMED, NOUNS, PRIVATE
from broker.store.unit import Database
from sulku import erasure, nouns
from sulku.codec import plain
from sulku.errors import CommitmentError, IntegrityError, InvalidInputError, LedgerBrokenError, NotCanonicalError
from sulku.events import REGISTRY, Erased, from_plain
from sulku.ledger import canonical, checkpoint, tree

Progress = Callable[[int, int], None]
"""Called with how many entries are done and how many there are."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found to agree.

    Attributes:
        entries: Entries whose hash, order and columns fit.
        root: Root of their tree.
        checkpoints: Signed checkpoints whose root fits (whose signatures are for whoever has the keys).
        records: Rows that are what their entries make them.
        erased: Records whose texts were erased, on record; what is left of them is compared all the same.
    """

    entries: int
    root: bytes
    checkpoints: int
    records: int
    erased: int


def verify(database: Database, progress: Progress | None = None) -> Verified:
    """Recompute the tree and replay every record.

    Raises:
        LedgerBrokenError: An entry, the head or a checkpoint does not fit, or a text is gone (or back) without an erasure that
            says so; names the first.
        CommitmentError: A text is not the one that was committed to.
        IntegrityError: A row is not what its entries make it, or there is a row without entries.
    """
    with database.read() as connection:
        head = tree.Frontier.load(connection.execute(select(HEAD.c.frontier)).scalar_one())
        notes = [bytes(note) for note in connection.execute(select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size)).scalars()]
    waiting = {said.size: said for said in (checkpoint.parse(note).checkpoint for note in notes)}
    seen, replayed, last = tree.Frontier(), _Replay(database), ""
    _check_point(waiting, seen)
    for row in pages(database, 0, head.size):
        if row.seq != seen.size:
            raise LedgerBrokenError("missing", index=seen.size, last=row.seq - 1)
        _check_entry(row, seen.append(bytes(row.entry)), last)
        last = row.at
        replayed.take(row)
        _check_point(waiting, seen)
        if progress and seen.size % 1000 == 0:
            progress(seen.size, head.size)
    if (seen.size, seen.root()) != (head.size, head.root()):
        raise LedgerBrokenError(f"the head has {head.size} entries and another root than the {seen.size} that are there")
    if waiting:
        raise LedgerBrokenError("signed, and gone", index=seen.size, last=max(waiting) - 1)
    replayed.require_erased(head.size)
    with database.read() as connection:
        compared = replayed.compare(connection)
    return Verified(seen.size, seen.root(), len(notes), compared, len(replayed.erased))


def _check_point(waiting: dict[int, checkpoint.Checkpoint], seen: tree.Frontier) -> None:
    said = waiting.pop(seen.size, None)
    if said is not None and said.root != seen.root():
        raise LedgerBrokenError(f"the checkpoint of {said.size} entries was signed over others")


def _check_entry(row: Any, leaf: bytes, last: str) -> None:
    problem = ""
    if leaf != row.leaf:
        problem = "its bytes are not those that were hashed"
    else:
        try:
            entry = canonical.decode(bytes(row.entry))
            canonical.check_record(entry)
        except NotCanonicalError as error:
            raise LedgerBrokenError(str(error), index=row.seq, record=row.record) from None
        proof = entry["clearance"]
        held = (entry["index"], entry["type"], entry["id"], entry["by"]["id"], entry["at"], proof["kind"])
        if held != (row.seq, row.type, row.record, row.actor, row.at, row.kind):
            problem = "the columns that find it say something else"
        elif row.decision != (proof.get("decision") or proof.get("opened_by", "")):
            problem = "the column of its decision says something else"
        elif row.at < last:
            problem = "its time is before that of the entry above it"
    if problem:
        raise LedgerBrokenError(problem, index=row.seq, record=row.record)


class _Replay:
    """Every record, made anew from its entries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records: dict[str, Any] = {}
        self._openings: dict[int, dict[str, tuple[bytes, str]]] = {}
        self._read_to = 0
        self._gone: dict[str, int] = {}  # record -> first entry that misses a text which no erasure has accounted for yet
        self._kept: dict[str, int] = {}  # record -> last entry whose private text is there
        self._decisions = 0  # that erasures say they took
        self.erased: set[str] = set()

    def take(self, row: Any) -> None:
        entry = orjson.loads(row.entry)
        kind = REGISTRY.get((entry["type"], entry["schema"]))
        if kind is None:
            raise LedgerBrokenError(f"no event is called {entry['type']} v{entry['schema']}", index=row.seq, record=row.record)
        if row.seq >= self._read_to:
            self._read_openings(row.seq)
        openings = self._openings.get(row.seq, {})
        try:
            body = reveal(entry["body"], openings)
        except CommitmentError as error:
            raise CommitmentError(f"record {row.seq} ({row.record}): {error}") from None
        if gone := kind.PRIVATE - openings.keys():
            self._gone.setdefault(row.record, row.seq)
            body |= erasure.blank(kind, gone)
        if kind.PRIVATE & openings.keys():
            self._kept[row.record] = row.seq
        if kind.STATELESS:
            return
        record = self._records.get(row.record) or nouns.begin(row.record)
        try:
            event = from_plain(entry["type"], entry["schema"], body)
        except InvalidInputError as error:  # such a text may never be erased
            raise LedgerBrokenError(f"cannot be read: {error}", index=row.seq, record=row.record) from None
        if isinstance(event, Erased):
            self._erase(row.seq, row.record, event)
        after = nouns.of(row.record).evolve(record, event)
        if after.version != entry["version"]:
            raise LedgerBrokenError(f"says version {entry['version']}, is {after.version}", index=row.seq, record=row.record)
        self._records[row.record] = after

    def _erase(self, index: int, record: str, event: Erased) -> None:
        if record in self._kept:
            raise LedgerBrokenError(f"its text was erased by record {index} and is there again", index=self._kept[record], record=record)
        self._gone.pop(record, None)
        self._decisions += event.decisions
        self.erased.add(record)

    def require_erased(self, size: int) -> None:
        """Require that whatever is gone from beside the ledger's first ``size`` entries was erased on record.

        Raises:
            LedgerBrokenError: A text or a decision is gone, and no erasure says so.
        """
        for record, index in self._gone.items():
            raise LedgerBrokenError("a text is gone that no erasure accounts for", index=index, record=record)
        own = (LEDGER.c.seq < size, LEDGER.c.kind != "mandate", LEDGER.c.decision != "")
        rests = select(LEDGER.c.decision).where(*own).distinct().subquery()
        lost = select(func.count()).select_from(rests).where(~select(DECISIONS.c.id).where(DECISIONS.c.id == rests.c.decision).exists())
        with self._database.read() as connection:
            missing = connection.execute(lost).scalar_one()
        if missing != self._decisions:
            raise LedgerBrokenError(f"{missing} decisions are gone; erasures account for {self._decisions}")

    def compare(self, connection: Connection) -> int:
        """Return how many rows equal their replay.

        Raises:
            IntegrityError: One does not, or has no entries, or is missing.
        """
        compared = 0
        named: dict[str, set[tuple[str, str]]] = {}
        for row in connection.execute(select(NAMED)):
            named.setdefault(row.record, set()).add((row.part, row.value))
        for prefix, table in NOUNS.items():
            for row in connection.execute(select(table)):
                record = self._records.pop(row.id, None)
                if record is None:
                    raise IntegrityError(f"{row.id} is in no entry of the ledger")
                facts, parts = rows.FACTS[prefix](record)
                held = {name: getattr(row, name) for name in facts}
                if orjson.loads(row.body) != plain(record) or (row.version, row.state) != (record.version, str(record.state)):
                    raise IntegrityError(f"{row.id} is not what its entries make it")
                if held != facts or named.get(row.id, set()) != parts:
                    raise IntegrityError(f"{row.id} is found by what its entries do not say")
                compared += 1
        if self._records:
            raise IntegrityError(f"{min(self._records)} is in the ledger and has no row")
        return compared

    def _read_openings(self, start: int) -> None:
        self._read_to = start + 1000
        query = select(PRIVATE).where(PRIVATE.c.seq >= start, PRIVATE.c.seq < self._read_to)
        with self._database.read() as connection:
            found = connection.execute(query).all()
        self._openings = {}
        for row in found:
            self._openings.setdefault(row.seq, {})[row.field] = (bytes(row.salt), row.text)


