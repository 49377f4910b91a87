"""Everything recorded, for those who look and check. Implements ``sulku.ports.Archive`` over the store."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import select

from broker.store import beside, verify
from broker.store.store import SqlStore
from broker.store.tables import DECISIONS
from sulku.crypto.keys import SigningKey
from sulku.errors import NotFoundError
from sulku.events import Event
from sulku.ledger import checkpoint, tree
from sulku.policies import replay
from sulku.ports import Blobs
from sulku.records import Access, Found, Held, Notice, Opened, Proof, Replay, Search, Verified


class Keys(Protocol):
    """What the archive needs of the installation's keys."""

    key: SigningKey
    rings: list[bytes]

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """Return the signed note of a checkpoint."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One installation's records; ``policies`` returns every policy bundle that was ever in force."""

    store: SqlStore
    keys: Keys
    blobs: Blobs
    policies: Callable[[], list[bytes]]
    now: Callable[[], datetime]

    def head(self) -> tuple[int, bytes]:
        """Return how many entries the ledger has and the root of their tree, 32 bytes."""
        return self.store.ledger.head()

    def checkpoint(self) -> bytes:
        """Sign the present head, unless nothing came after the latest checkpoint."""
        return self.store.ledger.checkpoint(self.keys.checkpoint, self.now())

    def search(self, search: Search, *, before: int | None, most: int) -> Found:
        """Return a page of the ledger, newest first."""
        return self.store.queries.search(search, before=before, most=most)

    def access(self, dataset: str) -> list[Access]:
        """Return who could read which version of ``dataset`` and when, newest first."""
        return self.store.queries.access(dataset)

    def notices(self, person: str) -> list[Notice]:
        """Return what ``person`` was told, newest first."""
        return self.store.notices.of(person)

    def history(self, record: str) -> list[Event]:
        """Return what happened to ``record``, oldest first, without what only the ledger holds; erased texts are empty."""
        return list(beside.history(self.store.database, record))

    def opened(self, index: int, *, texts: bool) -> Opened:
        """Return what stands beside entry ``index``, with the ``texts`` themselves or without.

        Raises:
            NotFoundError: There is no such entry.
        """
        return beside.opened(self.store.database, index, texts=texts)

    def held(self, records: Sequence[str]) -> tuple[Held, ...]:
        """Return what an erasure of each of ``records`` would take, in order."""
        return beside.held(self.store.database, records)

    def export(self, *, private: bool) -> bytes:
        """Return the auditor's bundle of everything up to now."""
        out = io.BytesIO()
        self.store.ledger.bundle(
            out,
            sign=self.keys.checkpoint,
            at=self.now(),
            key=self.keys.key,
            keyrings=self.keys.rings,
            policies=self.policies(),
            private=private,
        )
        return out.getvalue()

    def replay(self, decision: str) -> Replay:
        """Ask policy again what it was asked then, under the rules of then.

        Raises:
            NotFoundError: There is no such decision, or its rules are not kept here.
        """
        with self.store.database.read() as connection:
            row = connection.execute(select(DECISIONS).where(DECISIONS.c.id == decision)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no decision {decision}")
        wanted = row.policy.removeprefix("sha256:")
        rules = next((one for one in self.policies() if hashlib.sha256(one).hexdigest() == wanted), None)
        if rules is None:
            raise NotFoundError(f"the rules of {decision} are not kept here")
        again = replay(rules, row.asked)
        return Replay(decision, wanted, row.engine, row.asked, row.answered, again, again == row.answered)

    def verify(self) -> tuple[Verified, ...]:
        """Recompute the tree and replay every record.

        Raises:
            LedgerBrokenError: A record is not what was recorded.
        """
        found = verify.verify(self.store.database)
        return (
            Verified("entries", found.entries, found.entries, f"root {found.root.hex()}"),
            Verified("checkpoints", found.checkpoints, found.checkpoints, "each signed a tree that this one begins with"),
            Verified("records", found.records, found.records, "each row is what its entries make it"),
            Verified("erasures", found.erased, found.erased, "whatever is gone from beside the ledger was erased on record"),
        )

    def prove(self, index: int) -> Proof:
        """Return the proof that entry ``index`` is in the ledger, sealing the head first if need be."""
        self.checkpoint()
        return self.store.ledger.inclusion(index)

    def consistent(self, since: bytes) -> tuple[int, int]:
        """Check that the ledger begins with the one that checkpoint ``since`` signed; return both sizes."""
        old = checkpoint.parse(since).checkpoint
        new = checkpoint.parse(self.checkpoint()).checkpoint
        leaves = [tree.hash_leaf(entry) for entry in self.store.ledger.entries(0, new.size)]
        proof = tree.prove_consistency(old.size, new.size, tree.nodes_of(leaves))
        checkpoint.extends(old, new, list(proof))
        return old.size, new.size
