"""Proof that policy said yes (``Clearance``) or no (``Refusal``), and what an old yes still carries (``Mandate``).

Every write takes one of the three, so there is no write without a decision. Only the policy adapters mint the first two
(a house test enforces it); ``mandate`` derives the third, which is good for endings and for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sulku.codec import Plain
from sulku.errors import RuleError
from sulku.people import Actor

LIFETIME: Final = timedelta(seconds=10)  # between the decision and the change that it allows


@dataclass(frozen=True, slots=True)
class Query:
    """What policy is asked.

    Attributes:
        by: Who asks.
        action: ``noun.verb``.
        target: The record that the action is about.
        command: The command, as plain values.
        facts: Every record that policy may look at, by its id, as plain values (each with ``id`` and ``version``).
        about: Names for the facts by their part in this action, such as ``{"permit": "per_…"}``.
        at: When; pinned, so that an auditor can replay the decision bit for bit.
    """

    by: Actor
    action: str
    target: str
    command: Plain
    facts: Mapping[str, Plain]
    about: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class Basis:
    """What a decision rests on, for replay.

    Attributes:
        decision: Its id, ``dec_…``.
        policy: SHA-256 (hex) of the policy bundle.
        input: SHA-256 (hex) of ``asked``.
        engine: Name and version of what evaluated it.
        asked: The exact input, canonical JSON text; kept beside the ledger, which holds only its digest.
        answered: The exact answer, canonical JSON text; empty if there was none.
    """

    decision: str
    policy: str
    input: str
    engine: str
    asked: str
    answered: str


@dataclass(frozen=True, slots=True)
class Clearance:
    """Policy said yes to one actor, one command, and these versions of what it saw.

    Attributes:
        seen: ``(id, version)`` of every record that policy saw; all are checked again inside the transaction.
        digest: SHA-256 (hex) of the command; a clearance is good for that command only.
        expires: After this it is worth nothing.
        obligations: What policy adds to its yes, such as ``{"scope": "own"}`` or ``{"record": true}``.
    """

    by: Actor
    action: str
    target: str
    digest: str
    seen: frozenset[tuple[str, int]]
    basis: Basis
    expires: datetime
    obligations: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Policy, or a rule after it, said no; good for one entry in the ledger and nothing else."""

    by: Actor
    action: str
    target: str
    codes: tuple[str, ...]
    basis: Basis | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Mandate:
    """Authority to end ``target``, carried by the decision that opened it; good for ending events only."""

    by: Actor
    action: str
    target: str
    opened_by: str  # the decision that opened it


Authority = Clearance | Refusal | Mandate


def refuse(clearance: Clearance, codes: tuple[str, ...], detail: str = "") -> Refusal:
    """Turn a yes of policy into the no of a lifecycle rule, so that the attempt is recorded."""
    return Refusal(clearance.by, clearance.action, clearance.target, codes, clearance.basis, detail)


def mandate(target: str, opened_by: str, by: Actor, action: str) -> Mandate:
    """Return the authority to end ``target`` that its opening decision carries.

    Raises:
        RuleError: Nothing opened it, so there is nothing to end.
    """
    if not opened_by:
        raise RuleError("never-opened", f"{target} was never opened under a decision")
    return Mandate(by, action, target, opened_by)


def require_fresh(clearance: Clearance, at: datetime) -> None:
    """Require that ``clearance`` still counts at ``at``.

    Raises:
        RuleError: It is older than ``LIFETIME``, or from the future (a clock jumped).
    """
    if not clearance.expires - LIFETIME - timedelta(seconds=1) <= at <= clearance.expires:
        raise RuleError("clearance-expired", "the decision is too old to act on", "Try again; nothing was changed.")
