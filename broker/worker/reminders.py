"""The sweep that reminds: what is due is put beside the other notices, once, however often the sweep runs."""

from __future__ import annotations

from datetime import timedelta

from broker.flows import reminders
from broker.store.notices import Notices
from sulku.ports import Ports


def remind(ports: Ports, notices: Notices, after: timedelta) -> int:
    """Give the reminders that are due, and return how many there were.

    Raises:
        PolicyUnavailableError: Nobody knows now who may act; the next sweep asks again.
        StoreUnavailableError: The database is away.
    """
    count = 0
    for one in reminders.due(ports, after, notices.given):
        notices.put(one.name, one.persons, one.what, one.about, ports.clock.now())
        count += 1
    return count
