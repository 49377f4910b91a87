"""A policy that always says yes, or always no, and mints what a real one would; for tests of everything but policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sulku import ids
from sulku.clearance import LIFETIME, Basis, Clearance, Query, Refusal
from sulku.codec import Plain, plain
from sulku.decisions import policy_input
from sulku.errors import DeniedError
from sulku.ledger import canonical
from sulku.people import Actor


def basis(asked: Plain, answered: Plain) -> Basis:
    """Return what a decision rests on."""
    text = canonical.canonical(asked).decode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Basis(ids.new("dec"), "0" * 64, digest, "fake 1", text, canonical.canonical(answered).decode())


def clearance(
    by: Actor, action: str, target: str, seen: Iterable[Any], at: datetime, *, command: Plain = None, digest: str = ""
) -> Clearance:
    """Return a yes of policy that saw ``seen`` (snapshots)."""
    saw = frozenset((one.id, one.version) for one in seen)
    digest = digest or hashlib.sha256(canonical.canonical([action, command])).hexdigest()
    based = basis({"action": action, "target": target, "command": command}, {"allow": True})
    return Clearance(by, action, target, digest, saw, based, at + LIFETIME)


def refusal(by: Actor, action: str, target: str, codes: tuple[str, ...] = ("no",)) -> Refusal:
    """Return a no of policy."""
    based = basis({"action": action, "target": target}, {"allow": False})
    return Refusal(by, action, target, codes, based)


def digest_of(query: Query) -> str:
    """Return the digest of what is asked, as ``broker.flows.act.Intent`` makes it."""
    asked = {"by": query.by.id, "action": query.action, "command": query.command, "about": dict(query.about)}
    return hashlib.sha256(canonical.canonical(asked)).hexdigest()


@dataclass(frozen=True, slots=True)
class AllowAll:
    """Says yes to everything."""

    obligations: Mapping[str, Plain] | None = None

    def ask(self, query: Query) -> Clearance:
        """Return a clearance for ``query``."""
        based = basis(plain(policy_input(query)), {"allow": True})
        saw = frozenset((identifier, fact["version"]) for identifier, fact in query.facts.items())
        allowed = dict(self.obligations or {})
        return Clearance(
            query.by, query.action, query.target, digest_of(query), saw, based, query.at + LIFETIME, allowed
        )


@dataclass(frozen=True, slots=True)
class DenyAll:
    """Says no to everything."""

    def ask(self, query: Query) -> Clearance:
        """Refuse ``query``.

        Raises:
            DeniedError: Always.
        """
        error = DeniedError(query.action, ["no"])
        based = basis(plain(policy_input(query)), {"allow": False})
        error.refusal = Refusal(query.by, query.action, query.target, ("no",), based)
        raise error
