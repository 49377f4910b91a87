"""The ledger's rows: entries go to its end inside the change that they record; checkpoints, proofs and bundles come out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Dialect, Table, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.store import rows
from broker.store.tables import CHECKPOINTS, DECISIONS, HEAD, LEDGER, PERMITS, PRIVATE, RELEASES
from broker.store.unit import Database
from sulku import events, nouns
from sulku.clearance import Authority, Basis, Mandate, Refusal
from sulku.codec import Plain, stamp
from sulku.crypto import seal
from sulku.crypto.keys import SigningKey
from sulku.errors import IntegrityError, NotCanonicalError, NotFoundError
from sulku.events import Event, Happened
from sulku.ledger import archive, canonical, checkpoint, tree
from sulku.ledger.bundle import Opening, build
from sulku.records import Proof

Sign = Callable[[int, bytes], bytes]
"""``sign(size, root)`` returns the signed note of a checkpoint."""

LONG: Final = 4096  # bytes of JSON; a longer field is committed to, so that every record fits into 65,535 bytes
PAGE: Final = 1000  # entries read at once


_LOCK_HEAD: Final = select(HEAD.c.frontier, HEAD.c.at).where(HEAD.c.id == 1).with_for_update()
_MOVE_HEAD: Final = update(HEAD).where(HEAD.c.id == 1)


@cache
def _insert_sql(table: Table, dialect: Dialect) -> str:
    """Return an INSERT of whole rows as text: a fifth faster than to have SQLAlchemy look at each value."""
    return str(insert(table).compile(dialect=dialect))


@dataclass(frozen=True, slots=True)
class Step:
    """One event, and its record as it stands after it."""

    happened: Happened
    record: Any


def append(
    connection: Connection, steps: Sequence[Step], authority: Authority, at: datetime, known: Mapping[str, Any], spooled: str = ""
) -> tuple[int, ...]:
    """Append one entry for each step and return their indices. Locks the head; nothing else may be locked after this.

    An entry's time is never before that of the entry above it: a change may have waited, and clocks jump.

    Raises:
        NotCanonicalError: An event holds what no entry can.
    """
    head = connection.execute(_LOCK_HEAD).one()
    frontier, when = tree.Frontier.load(head.frontier), max(head.at, stamp(at))
    first, proof = frontier.size, cleared(authority, spooled)
    kind, decision = proof["kind"], proof.get("decision") or proof.get("opened_by", "")
    by = {"id": authority.by.id, "role": authority.by.role.value}
    made, hidden = [], []
    for index, step in enumerate(steps, first):
        event, record = step.happened.event, step.record
        body, openings = conceal(event)
        document = {
            "v": canonical.VERSION,
            "index": index,
            "type": event.TYPE,
            "schema": event.SCHEMA,
            "noun": nouns.of(record.id).name,
            "id": record.id,
            "version": record.version,
            "at": when,
            "by": by,
            "clearance": proof,
            "body": body,
        }
        entry = canonical.encode_record(document)
        leaf = frontier.append(entry)
        person, permit = rows.belongs(record, known)
        made.append({
            "seq": index, "leaf": leaf, "entry": entry, "type": event.TYPE, "record": record.id, "actor": by["id"],
            "person": person, "permit": permit, "kind": kind, "decision": decision, "at": when,
        })  # fmt: skip
        hidden += [{"seq": index, "field": name, "salt": salt, "text": text} for name, salt, text in openings]
    connection.exec_driver_sql(_insert_sql(LEDGER, connection.dialect), made)
    if hidden:
        connection.exec_driver_sql(_insert_sql(PRIVATE, connection.dialect), hidden)
    connection.execute(_MOVE_HEAD, {"frontier": frontier.dump(), "at": when})
    return tuple(range(first, frontier.size))


def cleared(authority: Authority, spooled: str = "") -> dict[str, Plain]:
    """Return what an entry says of the authority it was recorded under; ``spooled`` is when, if it had to wait."""
    late = {"spooled": spooled} if spooled else {}
    if isinstance(authority, Mandate):
        return {"kind": "mandate", "action": authority.action, "opened_by": authority.opened_by, **late}
    kind = "refusal" if isinstance(authority, Refusal) else "clearance"
    return {"kind": kind, "action": authority.action, **_rests_on(authority.basis), **late}


def _rests_on(basis: Basis | None) -> dict[str, Plain]:
    if basis is None:
        return {}
    answer = {"answer": seal.fingerprint(basis.answered.encode())} if basis.answered else {}
    policy, asked = _prefixed(basis.policy), _prefixed(basis.input)
    return {"decision": basis.decision, "policy": policy, "input": asked, "engine": basis.engine, **answer}


def _prefixed(digest: str) -> str:
    """Return a digest as the auditor's tools look for it: ``sha256:`` in front."""
    return digest if not digest or digest.startswith("sha256:") else f"sha256:{digest}"


def conceal(event: Event) -> tuple[dict[str, Plain], list[tuple[str, bytes, str]]]:
    """Return an event's body with its private fields as commitments, and rows of field, salt and text that open them.

    Raises:
        NotCanonicalError: A field has no JSON form.
    """
    body, openings = events.to_plain(event), []
    for name, value in body.items():
        private = name in event.PRIVATE
        if private or _is_long(value):
            text, salt = _json(value), seal.salt()
            openings.append((name, salt, text))
            body[name] = seal.commit(salt, text)
    return body, openings


def reveal(body: Mapping[str, Plain], openings: Mapping[str, tuple[bytes, str]]) -> dict[str, Plain]:
    """Return a body with its commitments opened.

    Raises:
        CommitmentError: A salt and text do not open what the entry holds.
    """
    shown = dict(body)
    for name, (salt, text) in openings.items():
        seal.open_commitment(str(body.get(name)), salt, text)
        shown[name] = orjson.loads(text)
    return shown


def _is_long(value: Plain) -> bool:
    if isinstance(value, str) and len(value) * 6 <= LONG:  # a character takes at most six bytes in JSON
        return False
    return isinstance(value, (str, list, dict)) and len(_json(value)) > LONG


def _json(value: Plain) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError as error:
        raise NotCanonicalError(f"no JSON form: {error}") from None


class Ledger:
    """What comes out of the ledger: checkpoints, entries, proofs and the auditor's bundle."""

    def __init__(self, database: Database) -> None:
        """Read from ``database``."""
        self._database = database

    def head(self) -> tuple[int, bytes]:
        """Return how many entries there are and the root of their tree, 32 bytes."""
        with self._database.read() as connection:
            frontier = tree.Frontier.load(connection.execute(select(HEAD.c.frontier)).scalar_one())
        return frontier.size, frontier.root()

    def checkpoint(self, sign: Sign, at: datetime) -> bytes:
        """Return the signed checkpoint of the present head, kept for good; the latest one if nothing came after it.

        Raises:
            IntegrityError: The head is behind a checkpoint, or has another root at the same size.
        """
        with self._database.read() as connection:
            frontier = tree.Frontier.load(connection.execute(select(HEAD.c.frontier)).scalar_one())
            latest = connection.execute(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size.desc()).limit(1)).one_or_none()
        if latest is not None and latest.size >= frontier.size:
            said = checkpoint.parse(latest.note).checkpoint
            if (said.size, said.root) != (frontier.size, frontier.root()):
                raise IntegrityError(f"the ledger's head has {frontier.size} entries and contradicts a checkpoint")
            return bytes(latest.note)
        note = sign(frontier.size, frontier.root())
        dialect = sqlite if self._database.dialect == "sqlite" else postgresql
        once = dialect.insert(CHECKPOINTS).on_conflict_do_nothing(index_elements=["size"])  # another broker may sign the same head
        with self._database.write() as connection:
            connection.execute(once, {"size": frontier.size, "note": note, "at": stamp(at)})
            return bytes(connection.execute(select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == frontier.size)).scalar_one())

    def checkpoints(self) -> list[bytes]:
        """Return every signed checkpoint, oldest first."""
        with self._database.read() as connection:
            return [bytes(note) for note in connection.execute(select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size)).scalars()]

    def latest_checkpoint(self) -> bytes:
        """Return the newest signed checkpoint; empty if there is none yet."""
        with self._database.read() as connection:
            query = select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1)
            return bytes(connection.execute(query).scalar() or b"")

    def unsealed(self) -> int:
        """Return how many entries no checkpoint covers yet."""
        with self._database.read() as connection:
            sealed = connection.execute(select(func.coalesce(func.max(CHECKPOINTS.c.size), 0))).scalar_one()
            return tree.Frontier.load(connection.execute(select(HEAD.c.frontier)).scalar_one()).size - int(sealed)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of entries ``start`` up to, not including, ``stop``; holds a page of them."""
        for row in pages(self._database, start, stop):
            yield bytes(row.entry)

    def inclusion(self, index: int) -> Proof:
        """Return the proof that entry ``index`` is in the ledger that the latest checkpoint signed.

        Raises:
            NotFoundError: There is no such entry, or no checkpoint covers it yet.
        """
        note = self.latest_checkpoint()
        size = checkpoint.parse(note).checkpoint.size if note else 0
        if not 0 <= index < size:
            raise NotFoundError(f"no checkpoint covers entry {index}; the latest is of {size}")
        with self._database.read() as connection:
            entry = connection.execute(select(LEDGER.c.entry).where(LEDGER.c.seq == index)).scalar_one()
            hashes = select(LEDGER.c.leaf).where(LEDGER.c.seq < size).order_by(LEDGER.c.seq)
            leaves = [bytes(leaf) for leaf in connection.execute(hashes).scalars()]
        proof = tree.prove_inclusion(index, size, tree.nodes_of(leaves))
        return Proof(index, bytes(entry), size, tuple(proof), note)

    def bundle(
        self, out: archive.Sink, *, sign: Sign, at: datetime, key: SigningKey, keyrings: Sequence[bytes],
        policies: Iterable[bytes] = (), private: bool = False,
    ) -> None:  # fmt: skip
        """Write the auditor's bundle of everything up to now.

        Args:
            sign: Signs the checkpoint that the bundle ends at.
            key: Signs the bundle's manifest.
            keyrings: Rings as ``sulku.ledger.keyrings.publish`` made them, oldest first.
            policies: Policy bundles, to replay decisions; those that no entry names are left out.
            private: Also what policy was asked and answered, and the texts behind the commitments.

        Raises:
            LedgerBrokenError: The entries are not those that the checkpoint signed.
        """
        with self._database.read() as connection:  # the papers first: what is in them is then below the checkpoint
            permits = _envelopes(connection.execute(select(PERMITS.c.id, PERMITS.c.body)).all())
            released = _envelopes(connection.execute(select(RELEASES.c.id, RELEASES.c.body)).all())
        note = self.checkpoint(sign, at)
        size = checkpoint.parse(note).checkpoint.size
        build(
            out,
            entries=self.entries(0, size),
            checkpoint=note,
            keyrings=keyrings,
            key=key,
            earlier=[each for each in self.checkpoints() if checkpoint.parse(each).checkpoint.size < size],
            permits=permits,
            releases=released,
            decisions=self._decisions(size, list(policies), private=private),
            openings=self._openings(size) if private else (),
        )

    def _decisions(self, size: int, policies: list[bytes], *, private: bool) -> Iterator[bytes]:
        below = select(LEDGER.c.decision).where(LEDGER.c.seq < size, LEDGER.c.kind != "mandate")
        with self._database.read() as connection:
            known = list(connection.execute(select(DECISIONS).where(DECISIONS.c.id.in_(below))))
        used = {row.policy.removeprefix("sha256:") for row in known}
        yield from (policy for policy in policies if hashlib.sha256(policy).hexdigest() in used)
        for row in known if private else ():
            yield row.asked.encode()
            if row.answered:
                yield row.answered.encode()

    def _openings(self, size: int) -> Iterator[Opening]:
        with self._database.read() as connection:
            query = select(PRIVATE).where(PRIVATE.c.seq < size).order_by(PRIVATE.c.seq, PRIVATE.c.field)
            for row in connection.execute(query):
                yield Opening(row.seq, f"body.{row.field}", bytes(row.salt), row.text)


def _envelopes(found: Iterable[Any]) -> dict[str, bytes]:
    """Return the signed papers among rows of permits or releases, by the name that they have in a bundle."""
    papers = {}
    for row in found:
        body = orjson.loads(row.body)
        if body["envelope"]:
            revision = f".{body['document']['revision']}" if body.get("document") else ""
            papers[row.id + revision] = body["envelope"].encode()
    return papers


def pages(database: Database, start: int = 0, stop: int | None = None) -> Iterator[Any]:
    """Yield rows of the ledger in order, a page at a time, each page in a view of its own."""
    while stop is None or start < stop:
        query = select(LEDGER).where(LEDGER.c.seq >= start).order_by(LEDGER.c.seq).limit(PAGE)
        with database.read() as connection:
            page = connection.execute(query if stop is None else query.where(LEDGER.c.seq < stop)).all()
        if not page:
            return
        yield from page
        start = page[-1].seq + 1
