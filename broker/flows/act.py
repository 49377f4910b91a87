"""The shape of every write: look, ask policy, decide, record. No lock is held while policy thinks."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from broker.flows.effects import effects_of
from sulku import erasure
from sulku.clearance import Clearance, Mandate, Query, Refusal, refuse
from sulku.codec import Plain, plain
from sulku.errors import (
    DeniedError,
    IllegalMoveError,
    IntegrityError,
    InvalidInputError,
    PolicyUnavailableError,
    RuleError,
    StaleError,
    StoreUnavailableError,
)
from sulku.events import Happened, Refused
from sulku.ledger import canonical
from sulku.people import Actor, Person
from sulku.ports import Facts, Ports, Receipt

Decide = Callable[[Facts, Clearance, datetime], Sequence[Happened]]


@dataclass(frozen=True, slots=True)
class Intent:
    """What somebody wants to do.

    Attributes:
        by: Who.
        action: ``noun.verb``, as policy and the ledger call it.
        target: The record that it is about; may not exist yet.
        command: A frozen dataclass; its plain form is what policy sees and what the clearance is bound to.
        about: Every other record that policy must see, by its part: ``{"permit": "per_…"}``; a part may name several, ``dataset.0``.
        key: Idempotency key of the caller, or ``None``.
    """

    by: Actor
    action: str
    target: str
    command: object
    about: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None

    @property
    def sees(self) -> tuple[str, ...]:
        """Return the ids of everything that policy sees."""
        return tuple(dict.fromkeys((self.target, *self.about.values())))

    @property
    def digest(self) -> str:
        """Return SHA-256 (hex) of what is asked, for the clearance and the idempotency key."""
        asked = {"by": self.by.id, "action": self.action, "command": plain(self.command), "about": dict(self.about)}
        return hashlib.sha256(canonical.canonical(asked)).hexdigest()


def act(ports: Ports, intent: Intent, decide: Decide) -> Receipt:
    """Do one thing, or refuse: ask policy, decide, record.

    Raises:
        DeniedError: Policy said no; carries the reasons that this actor may see.
        PolicyUnavailableError: No answer is a no.
        IllegalMoveError: The lifecycle has no such step now.
        RuleError: A rule of the lifecycle refuses.
        StaleError: Someone else acted first; read again.
        RepeatedKeyError: The idempotency key was used for another request.
        StoreUnavailableError: Nothing was changed; that somebody tried waits in the spool.
    """
    key = f"{intent.by.id}:{intent.key}" if intent.key is not None else None
    if key is not None and (earlier := ports.store.repeated(key, intent.digest)) is not None:
        return earlier
    clearance = clear(ports, intent)
    try:
        with ports.store.begin(clearance, at=ports.clock.now(), key=key) as unit:
            facts = unit.lock(intent.sees)
            return unit.record(decide(facts, clearance, ports.clock.now()), effects_of)
    except (RuleError, IllegalMoveError, InvalidInputError, StaleError) as error:
        if key is not None and (earlier := ports.store.repeated(key, intent.digest)) is not None:
            return earlier  # the same request was sent twice at once, and the other one was first
        if not isinstance(error, StaleError):
            record_refusal(ports, refuse(clearance, (getattr(error, "rule", error.code),), str(error)))
        raise
    except StoreUnavailableError as error:
        with contextlib.suppress(StoreUnavailableError):  # the spool's disk may be full too; the first error says more
            record_refusal(ports, refuse(clearance, (error.code,), str(error)))
        raise


def clear(ports: Ports, intent: Intent, *, trying: bool = True) -> Clearance:
    """Ask policy; a no is recorded before it is raised, unless nobody is ``trying`` (a page asks which buttons to show).

    Raises:
        DeniedError: Policy said no.
        PolicyUnavailableError: No answer is a no.
        IntegrityError: The answer is to another question.
    """
    facts = ports.store.peek(intent.sees)
    query = Query(
        by=intent.by,
        action=intent.action,
        target=intent.target,
        command=plain(intent.command),
        facts={identifier: plain(told(intent.action, snapshot)) for identifier, snapshot in facts.items()},
        about=intent.about,
        at=ports.clock.now(),
    )
    try:
        clearance = ports.policy.ask(query)
        if clearance.digest != intent.digest:
            raise IntegrityError(f"the decision {clearance.basis.decision} is not about what was asked")
        return clearance
    except (DeniedError, PolicyUnavailableError) as error:
        if trying:
            record_refusal(ports, error.refusal)
        raise


def told(action: str, snapshot: Any) -> Any:
    """Return what policy is told of a record: who somebody is only where the directory itself is changed, as it is kept for good.

    What is to be erased is not repeated in the very decision to erase it.
    """
    hidden = action == erasure.ACTION or (isinstance(snapshot, Person) and not action.startswith("person."))
    return erasure.nameless(snapshot) if hidden else snapshot


def record_refusal(ports: Ports, refusal: Refusal) -> None:
    """Write into the ledger that somebody tried; a ledger that is away spools it (see ``store.spool``)."""
    with ports.store.begin(refusal, at=ports.clock.now()) as unit:
        unit.record([Happened(refusal.target, Refused(refusal.action, refusal.codes, refusal.detail))])


def end(ports: Ports, mandate: Mandate, decide: Callable[[Facts, datetime], Sequence[Happened]], *, also: Sequence[str] = ()) -> Receipt:
    """Record an ending under the authority that the opening decision carries; needs no policy engine.

    ``also`` names records that end with the target.

    Raises:
        StoreUnavailableError: The record must wait; the caller has ended the thing already and spools this.
    """
    with ports.store.begin(mandate, at=ports.clock.now()) as unit:
        facts = unit.lock([mandate.target, *also])
        return unit.record(decide(facts, ports.clock.now()), effects_of)


def command(kind: str, **fields: Plain) -> dict[str, Plain]:
    """Return a plain command for intents whose command is only a few values."""
    return {"kind": kind, **fields}
