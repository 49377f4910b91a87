"""The shape of every read: ask policy, narrow to what it allows, and record the sensitive ones before showing anything."""

from __future__ import annotations

from typing import Any

from broker.flows.act import Intent, clear
from sulku import ids
from sulku.clearance import Clearance
from sulku.errors import DeniedError, NotFoundError
from sulku.events import Happened, Seen
from sulku.people import Actor
from sulku.ports import Facts, Ports


def see(ports: Ports, intent: Intent) -> tuple[Facts, Clearance]:
    """Return the records that ``intent`` names, once policy allows it; a read that cannot be recorded does not happen.

    Raises:
        DeniedError: Policy said no.
        PolicyUnavailableError: No answer is a no.
        StoreUnavailableError: The read could not be recorded.
    """
    clearance = clear(ports, intent)
    if clearance.obligations.get("record"):
        with ports.store.begin(clearance, at=ports.clock.now()) as unit:
            facts = unit.lock(intent.sees)
            unit.record([Happened(intent.target, Seen(intent.action, str(clearance.obligations.get("what", ""))))])
            return facts, clearance
    return ports.store.peek(intent.sees), clearance


def about_self(by: Actor) -> dict[str, str]:
    """Return the part that lets policy see whether the person who asks may act at all."""
    return {"self": by.id} if by.id.startswith("usr_") else {}


def show(ports: Ports, by: Actor, action: str, target: str, **about: str) -> Any:
    """Return one record under ``action``; what does not exist and what is denied look alike.

    Raises:
        NotFoundError: There is none, or the reader may not know that there is.
    """
    missing = NotFoundError(f"there is no {ids.noun(target)} {target} that you may see")
    try:
        facts, _ = see(ports, Intent(by, action, target, {}, {**about_self(by), **about}))
    except DeniedError as error:
        raise missing from error
    if not facts[target].version:
        raise missing
    return facts[target]


def scoped(ports: Ports, by: Actor, action: str) -> bool:
    """Return whether ``by`` may list everything; otherwise only what is theirs.

    Raises:
        DeniedError: They may list nothing at all.
    """
    _, clearance = see(ports, Intent(by, action, ids.LEDGER, {}, about_self(by)))
    return clearance.obligations.get("scope") == "all"
