"""Where a permit stands: what its paper, a signed status list and the time say together, for those who check offline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sulku.codec import Plain, plain, stamp, typed
from sulku.errors import InvalidInputError
from sulku.permits import OVER, Document, Permit, State

SCHEMA: Final = "sulku-permit-status/1"
LIFETIME: Final = timedelta(hours=24)
SKEW: Final = timedelta(minutes=5)  # between the clock of who issued a list and that of who reads it


class Standing(StrEnum):
    """What can be said of a permit whose signature holds."""

    ACTIVE = "active"
    NOT_YET = "not-yet-valid"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    STALE = "stale-status-list"
    UNKNOWN = "unknown-status"


@dataclass(frozen=True, slots=True)
class Listed:
    """One permit on a status list: its state and the latest revision of its paper."""

    state: State
    revision: int


@dataclass(frozen=True, slots=True)
class StatusList:
    """Every permit's state at ``issued``; good until ``expires``, a day later. ``checkpoint`` is the ledger's latest."""

    schema: str
    issued: datetime
    expires: datetime
    permits: dict[str, Listed]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a permit stands, and the sentence that says so."""

    standing: Standing
    why: str


def write(known: Iterable[Permit], at: datetime, checkpoint: str) -> dict[str, Plain]:
    """Return the list that is signed at ``at``, as plain values."""
    states = {one.id: Listed(one.state, one.paper.revision) for one in known}
    return plain(StatusList(SCHEMA, at, at + LIFETIME, states, checkpoint))  # type: ignore[no-any-return]


def read(payload: Plain) -> StatusList:
    """Return the list in a *verified* payload.

    Raises:
        InvalidInputError: It is of another schema, incomplete, or claims to be good for longer than ``LIFETIME``, by
            which a stolen and retired key could keep an old state alive.
    """
    if not isinstance(payload, dict) or payload.get("schema") != SCHEMA:
        raise InvalidInputError("not a status list of a schema that this version knows")
    found = typed(StatusList, payload)
    if not timedelta(0) < found.expires - found.issued <= LIFETIME:
        raise InvalidInputError(f"a status list is good for at most {LIFETIME // timedelta(hours=1)} hours")
    return found


def judge(paper: Document, statuses: StatusList | None, at: datetime) -> Verdict:
    """Return where the permit stands at ``at``, and never more than is known.

    What ends a permit for good stays true however old the list is, and its dates need no list. Anything else is said
    only by a list that is good at ``at`` and has this revision of the paper.
    """
    known = statuses.permits.get(paper.id) if statuses else None
    if known and known.state in OVER:
        return Verdict(Standing(known.state), f"it is {known.state}")
    if known and (known.state is State.SUPERSEDED or known.revision > paper.revision):
        return Verdict(Standing.SUPERSEDED, "it is superseded by a later paper")
    if at >= paper.ends:
        return Verdict(Standing.EXPIRED, f"it is expired since {stamp(paper.ends)}")
    current = _current(paper, statuses, known, at)
    if at < paper.starts and current.standing is not Standing.SUSPENDED:
        return Verdict(Standing.NOT_YET, f"it is not valid before {stamp(paper.starts)}")
    return current


def _current(paper: Document, statuses: StatusList | None, known: Listed | None, at: datetime) -> Verdict:
    if statuses is None:
        return Verdict(
            Standing.UNKNOWN, "the signature and the dates hold; whether it was suspended or revoked since cannot be told without a status list"
        )
    if at >= statuses.expires:
        return Verdict(
            Standing.STALE,
            f"the status list was good until {stamp(statuses.expires)}; whether the permit was suspended or revoked since cannot be told",
        )
    if at < statuses.issued - SKEW:
        return Verdict(Standing.UNKNOWN, f"the status list is of {stamp(statuses.issued)}, and by this machine's clock it is {stamp(at)}")
    if known is None or known.state is State.NEW or known.revision < paper.revision:
        return Verdict(Standing.UNKNOWN, f"the status list of {stamp(statuses.issued)} does not have this permit")
    return Verdict(Standing(known.state), f"it is {known.state}, by the status list of {stamp(statuses.issued)}")
