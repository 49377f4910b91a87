"""What happened to one record, for whoever was just shown it: the ledger's own entries, without what is not for them."""

from __future__ import annotations

from typing import Final

from sulku.codec import Plain
from sulku.errors import NotFoundError
from sulku.nouns import Snapshot
from sulku.people import Actor, Role
from sulku.ports import Ports
from sulku.records import Search

OVERSIGHT: Final = frozenset({Role.STEWARD, Role.AUDITOR})
NOISE: Final = frozenset({"tunnel.budget-leased", "tunnel.code-executed", "output.frozen", "release.item-rebuilt", "person.absence-set"})


def of(ports: Ports, by: Actor, shown: Snapshot, most: int = 20) -> list[dict[str, Plain]]:
    """Return the entries about ``shown``, newest first, at most ``most`` of the last 200.

    Takes the record itself, not its id: who holds it was cleared to see it. Who read it, and who was refused, is for
    stewards and auditors; what was refused inside a tunnel its person may see too.
    """
    found = ports.archive.search(Search(record=shown.id), before=None, most=200).entries
    return [entry for entry in found if _for(by, shown.id, str(entry["type"]))][:most]


def _for(by: Actor, record: str, kind: str) -> bool:
    if kind in NOISE:
        return False
    if kind == "refusal.recorded":
        return by.role in OVERSIGHT or record.startswith("tun_")
    return kind != "record.seen" or by.role in OVERSIGHT


def refusal(ports: Ports, by: Actor, decision: str) -> dict[str, Plain]:
    """Return the entry of a refusal: to the person who was refused, and to stewards and auditors.

    Raises:
        NotFoundError: None of the last 500 refusals that the asker may see has that decision.
    """
    wide = by.role in OVERSIGHT
    found = ports.archive.search(Search(outcome="refusal", person="" if wide else by.id), before=None, most=500).entries
    for entry in found:
        if entry["clearance"].get("decision") == decision and (wide or entry["by"]["id"] == by.id):
            return entry
    raise NotFoundError(f"there is no refusal {decision[:40]} that you may see")
