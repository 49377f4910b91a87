"""The alarm when the cluster's guards are not as they were installed: an entry in the ledger for each departure."""

from __future__ import annotations

from collections.abc import Sequence

from broker.flows.act import Intent, act, command
from broker.flows.tunnels import WORKER
from sulku import guards, ids
from sulku.clearance import Clearance
from sulku.events import Happened
from sulku.ports import Facts, Ports, Receipt


def departed(ports: Ports, found: Sequence[guards.Departure]) -> Receipt:
    """Record how the guards depart from what was installed.

    Raises:
        PolicyUnavailableError: No answer is a no; the next look tells of it again.
        StoreUnavailableError: The record must wait for the next look.
    """

    def decide(_facts: Facts, _: Clearance, __: object) -> Sequence[Happened]:
        return [Happened(ids.LEDGER, guards.Departed(one.kind, one.name, one.how, one.where)) for one in found]

    return act(ports, Intent(WORKER, "ledger.alarm", ids.LEDGER, command("alarm", guards=len(found))), decide)
