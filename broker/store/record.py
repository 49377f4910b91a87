"""One change under one authority: check what it may do, lock, fold the events, append to the ledger, queue the effects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.store import beside, ledger, outbox, rows
from broker.store.tables import DECISIONS, KEYS, REPORTED, TICKETS
from sulku import nouns
from sulku.clearance import Authority, Basis, Clearance, Mandate, Refusal
from sulku.codec import Plain, stamp
from sulku.errors import IntegrityError, NotFoundError, RuleError, StaleError
from sulku.events import Erased, Happened, Refused
from sulku.ports import Effect, Facts, Receipt
from sulku.tunnels import EntryGranted

EffectsOf = Callable[[Sequence[Happened], Facts], Sequence[Effect]]
REPORTS_KEPT: Final = timedelta(days=30)  # that a gateway may take to say again what it has said; a tunnel lasts hours
_SYSTEM: Final = "This is a fault in sulku, not in what you did; tell the service desk."


class Recording:
    """Implements ``sulku.ports.Unit`` on an open transaction."""

    def __init__(
        self, connection: Connection, authority: Authority, at: datetime, key: str | None = None, spooled: str = ""
    ) -> None:
        """Begin.

        Args:
            key: Idempotency key, with its actor in front.
            spooled: When it happened, if the database was away then.
        """
        self._connection = connection
        self._authority = authority
        self._at = at
        self._key = key
        self._spooled = spooled
        self._known: dict[str, Any] = {}
        self._checked = False
        self._recorded = False
        self.queued = False  # whether there is something new in the outbox

    def lock(self, identifiers: Iterable[str]) -> Facts:
        """Lock and return records, with all that the clearance rests on; its versions are checked again.

        Raises:
            StaleError: A record has moved on since policy saw it.
        """
        wanted, authority = set(identifiers), self._authority
        if isinstance(authority, Clearance):
            wanted |= {identifier for identifier, _ in authority.seen}
        found = rows.load(self._connection, wanted - self._known.keys(), lock=True)
        self._known |= found
        if isinstance(authority, Clearance) and not self._checked:
            for identifier, version in authority.seen:
                if self._known[identifier].version != version:
                    raise StaleError(f"{identifier} has moved on since it was decided about")
            self._checked = True
        return {identifier: self._known[identifier] for identifier in wanted}

    def record(self, happened: Sequence[Happened], effects: EffectsOf | None = None) -> Receipt:
        """Fold the events into their records, append them to the ledger, queue the effects; once a unit.

        Raises:
            RuleError: The authority does not carry such an event, or was used before.
            StaleError: A record has moved on, or the same request is in already.
            NotCanonicalError: An event holds what no entry can.
        """
        if self._recorded:
            raise RuleError("recorded-already", "one authority, one change", _SYSTEM)
        self._recorded = True
        if not happened:
            return self._finish(self._known, ())
        check(self._authority, happened)
        before = self._look({one.noun for one in happened})
        self._check_seen(happened, before)
        after, steps = dict(self._known) | before, []
        for one in happened:
            if not one.event.STATELESS:
                after[one.noun] = nouns.of(one.noun).evolve(after[one.noun], one.event)
            steps.append(ledger.Step(one, after[one.noun]))
        queue = effects(happened, after) if effects else ()
        self._keep_decision()
        for identifier in sorted(before):
            if after[identifier] is not before[identifier]:
                rows.save(self._connection, before[identifier], after[identifier], self._at)
        self._issue_tickets(happened)
        known = self._with_tunnels(after)
        entries = ledger.append(self._connection, steps, self._authority, self._at, known, self._spooled)
        if any(isinstance(one.event, Erased) for one in happened) and isinstance(self._authority, Clearance):
            beside.erase(self._connection, happened, entries[0], self._authority.basis.decision)
        if queue:
            outbox.put(self._connection, queue, entries[0], self._at)
            self.queued = True
        return self._finish(after, entries)

    def spend_ticket(self, digest: str, nonce: str, at: datetime) -> Plain:
        """Use a single-use ticket up; return ``{"noun", "person", "epoch"}`` as they were when it was given.

        Raises:
            NotFoundError: Unknown, used, expired, or of another nonce.
        """
        mine = (TICKETS.c.digest == digest, TICKETS.c.nonce == nonce, TICKETS.c.spent == "", TICKETS.c.expires > stamp(at))
        spent = update(TICKETS).where(*mine).values(spent=stamp(at))
        if self._connection.execute(spent).rowcount != 1:
            raise NotFoundError("no such ticket")
        row = self._connection.execute(select(TICKETS).where(TICKETS.c.digest == digest)).one()
        return {"noun": row.tunnel, "person": row.person, "epoch": row.epoch}

    def note_reports(self, tunnel: str, run: str, number: int) -> int:
        """Note that a gateway's ``run`` has reported on ``tunnel``, locked, up to ``number``; return up to where it had, or 0.

        One row a tunnel and run, whatever is reported; it goes ``REPORTS_KEPT`` after the last report.
        """
        mine = (REPORTED.c.tunnel == tunnel, REPORTED.c.run == run)
        before = self._connection.execute(select(REPORTED.c.number).where(*mine)).scalar()
        if before is None:
            self._connection.execute(delete(REPORTED).where(REPORTED.c.at < stamp(self._at - REPORTS_KEPT)))
            self._connection.execute(insert(REPORTED), {"tunnel": tunnel, "run": run, "number": number, "at": stamp(self._at)})
        elif number > before:
            self._connection.execute(update(REPORTED).where(*mine).values(number=number, at=stamp(self._at)))
        return int(before or 0)

    def _look(self, identifiers: set[str]) -> dict[str, Any]:
        if isinstance(self._authority, Refusal):  # changes nothing, so it waits for nobody
            return rows.load(self._connection, identifiers)
        self.lock(identifiers)
        return {identifier: self._known[identifier] for identifier in identifiers}

    def _check_seen(self, happened: Sequence[Happened], before: dict[str, Any]) -> None:
        if not isinstance(self._authority, Clearance):
            return
        seen = {identifier for identifier, _ in self._authority.seen}
        for one in happened:
            if one.noun not in seen and before[one.noun].version:
                raise RuleError("not-cleared", f"policy did not see {one.noun} when it decided", _SYSTEM)

    def _keep_decision(self) -> None:
        basis = None if isinstance(self._authority, Mandate) else self._authority.basis
        if basis is None:
            return
        _check_digest(basis)
        row = {
            "id": basis.decision,
            "action": self._authority.action,
            "target": self._authority.target,
            "actor": self._authority.by.id,
            "allowed": int(isinstance(self._authority, Clearance)),
            "policy": basis.policy,
            "engine": basis.engine,
            "asked": basis.asked,
            "answered": basis.answered,
            "at": stamp(self._at),
        }
        dialect = sqlite if self._connection.dialect.name == "sqlite" else postgresql
        once = dialect.insert(DECISIONS).on_conflict_do_nothing(index_elements=["id"])
        new = self._connection.execute(once.execution_options(preserve_rowcount=True), row)
        if new.rowcount != 1 and isinstance(self._authority, Clearance):
            raise RuleError("clearance-used", "this decision has had its change", "Try again; it is decided anew.")

    def _issue_tickets(self, happened: Sequence[Happened]) -> None:
        for one in happened:
            if isinstance(one.event, EntryGranted):
                row = {
                    "digest": one.event.ticket,
                    "tunnel": one.noun,
                    "person": one.event.person,
                    "nonce": one.event.nonce,
                    "epoch": one.event.epoch,
                    "expires": stamp(one.event.expires),
                }
                self._connection.execute(insert(TICKETS), row)

    def _with_tunnels(self, after: dict[str, Any]) -> dict[str, Any]:
        """Return the records with the tunnels of mounts among them, to know whom those belong to."""
        missing = {one.tunnel for one in after.values() if one.id.startswith("mnt") and one.tunnel} - after.keys()
        return after | rows.load(self._connection, missing) if missing else after

    def _finish(self, facts: Facts, entries: tuple[int, ...]) -> Receipt:
        if self._key is not None and isinstance(self._authority, Clearance):
            keep_key(self._connection, self._key, self._authority.digest, facts, entries, self._at)
        elif self._spooled and self._key is not None:
            keep_key(self._connection, self._key, "", facts, entries, self._at)
        return Receipt(facts, entries)


def keep_key(
    connection: Connection, key: str, digest: str, facts: Facts, entries: tuple[int, ...], at: datetime
) -> None:
    """Remember that ``key`` was used for a request and where the answer is."""
    named = {"records": orjson.dumps(sorted(facts)).decode(), "entries": orjson.dumps(entries).decode()}
    connection.execute(insert(KEYS), {"key": key, "digest": digest, **named, "at": stamp(at)})


def check(authority: Authority, happened: Sequence[Happened]) -> None:
    """Require that ``authority`` carries such events at all.

    Raises:
        RuleError: A refusal with more than its one entry, or a mandate with what is not an ending of its target.
    """
    if isinstance(authority, Refusal):
        about = [one for one in happened if isinstance(one.event, Refused) and one.noun == authority.target]
        if len(happened) != 1 or len(about) != 1:
            raise RuleError("refused", "a refusal carries one entry about its target and no change", _SYSTEM)
    if isinstance(authority, Mandate):
        if not all(one.event.ENDING for one in happened):
            raise RuleError("not-an-ending", "an old decision carries endings only", "Ask policy for anything else.")
        if authority.target not in {one.noun for one in happened}:
            raise RuleError("other-target", f"the decision was about {authority.target}", _SYSTEM)


def _check_digest(basis: Basis) -> None:
    """Require that the digest in the ledger will be that of what is kept beside it.

    Raises:
        IntegrityError: It is not; the decision could never be replayed.
    """
    if basis.input.removeprefix("sha256:") != hashlib.sha256(basis.asked.encode()).hexdigest():
        raise IntegrityError(f"decision {basis.decision} was not made on the input that came with it")
