"""What people were told, each for themselves; delegates are told what the absent would have been."""

from __future__ import annotations

from datetime import datetime

from broker.flows.act import Intent
from broker.flows.see import about_self, see
from sulku import ids
from sulku.people import Actor, Person, State
from sulku.ports import Ports
from sulku.records import Notice


def listing(ports: Ports, by: Actor) -> list[Notice]:
    """Return the asker's notices, newest first."""
    see(ports, Intent(by, "notice.list", ids.LEDGER, {}, about_self(by)))
    return ports.archive.notices(by.id)


def recipients(ports: Ports, to: str, at: datetime) -> list[Person]:
    """Return who is told: a person, or everybody of a role (``role:steward``); those who are away and their delegates."""
    people: list[Person] = [one for one in ports.store.find("usr") if one.state is State.ACTIVE]
    by_id = {one.id: one for one in people}
    told = [one for one in people if one.id == to or (to.startswith("role:") and to[5:] in one.roles)]
    standing_in = [by_id[one.delegate] for one in told if one.away_until and one.away_until > at and one.delegate in by_id]
    return list({one.id: one for one in (*told, *standing_in)}.values())
