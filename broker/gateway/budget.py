"""The egress budget in bytes: leased from the broker in slices before the bytes flow, so a restart forgets nothing.

The next slice is asked for when half of the last is spent, so that a broker that takes its time holds no message up; where
it is needed at once, whoever needs it waits. Nothing flows that was not leased.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from broker.gateway.record import Tunnel
from broker.gateway.upstream import Broker
from sulku.errors import BrokerUnavailableError, EgressBudgetError, SulkuError

OVERHEAD = 64  # counted for each answer and message besides its bytes: status and timing carry something too
PATIENCE = 10.0  # seconds that a message waits for its lease; it is held, not let through
log = logging.getLogger("sulku.gateway")


@dataclass(slots=True)
class Purse:
    """What one tunnel may still send before the broker is asked again."""

    epoch: int
    leased: int = 0
    spent: int = 0
    left: int | None = None  # bytes left in the whole budget after the last lease, as the broker said
    total: int | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # of who needs more than there is: one after the other
    asking: asyncio.Task[None] | None = None  # the one lease under way


class Budget:
    """The purses of all tunnels."""

    def __init__(self, broker: Broker, slice_bytes: int, exhausted: Callable[[Tunnel], None]) -> None:
        """Lease ``slice_bytes`` at a time; call ``exhausted`` each time that there was not enough."""
        self._broker, self._slice, self._exhausted = broker, slice_bytes, exhausted
        self._purses: dict[str, Purse] = {}

    async def spend(self, tunnel: Tunnel, count: int) -> None:
        """Take ``count`` bytes and the overhead from the budget of ``tunnel``; returns once they may flow.

        Raises:
            EgressBudgetError: Less than that is left in the whole budget.
            BrokerUnavailableError: A new slice is needed and the broker does not answer.
            RelayedRefusalError: The broker gives no lease (the tunnel or its epoch has moved on).
        """
        need = count + OVERHEAD
        purse = self._purse(tunnel)
        async with purse.lock:
            if purse.leased < need and purse.asking:
                with suppress(SulkuError):  # asked for ahead: it may be enough, and if it fails it is asked for again
                    await asyncio.shield(purse.asking)
            if purse.leased < need:
                await asyncio.shield(self._begin(tunnel, purse, max(self._slice, need - purse.leased)))
            if purse.leased < need:
                self._exhausted(tunnel)
                raise EgressBudgetError("egress budget exceeded")
            purse.leased -= need
            purse.spent += need
        if purse.leased < self._slice // 2 and purse.left and not purse.asking:
            self._begin(tunnel, purse, min(self._slice, purse.left))

    def left(self, tunnel: Tunnel) -> tuple[int | None, int | None]:
        """Return (bytes left, bytes in total) as far as known."""
        purse = self._purse(tunnel)
        return (None if purse.left is None else purse.left + purse.leased), purse.total

    async def look(self, tunnel: Tunnel) -> None:
        """Ask the broker how much is left without leasing any, unless that is known already.

        Raises:
            BrokerUnavailableError: It does not answer.
            RelayedRefusalError: The tunnel or its epoch has moved on.
        """
        purse = self._purse(tunnel)
        async with purse.lock:
            if purse.total is None or (purse.left == 0 and purse.leased < OVERHEAD * 4):
                await asyncio.shield(purse.asking or self._begin(tunnel, purse, 0))

    def forget(self, tunnel: str) -> None:
        """Drop the purse of a tunnel that has ended; what was leased and not spent is lost."""
        self._purses.pop(tunnel, None)

    def _purse(self, tunnel: Tunnel) -> Purse:
        purse = self._purses.get(tunnel.id)
        if purse is None or purse.epoch != tunnel.epoch:
            purse = self._purses[tunnel.id] = Purse(tunnel.epoch)
        return purse

    def _begin(self, tunnel: Tunnel, purse: Purse, want: int) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()):
                log.debug("no lease for %s: %s", tunnel.id, error)  # whoever waits for it hears; if nobody does, the next one asks anew

        purse.asking = asyncio.create_task(self._lease(tunnel, purse, want))
        purse.asking.add_done_callback(ended)
        return purse.asking

    async def _lease(self, tunnel: Tunnel, purse: Purse, want: int) -> None:
        try:
            await self._ask(tunnel, purse, want)
        finally:
            purse.asking = None  # here, not when others hear of it: who spends in between would take it for one under way

    async def _ask(self, tunnel: Tunnel, purse: Purse, want: int) -> None:
        spent = purse.spent
        question = {"tunnel": tunnel.id, "epoch": tunnel.epoch, "want": want, "spent": spent}
        answer = await self._broker.post("/internal/gate/leases", question, patience=PATIENCE)
        numbers = [answer.get(name) for name in ("granted", "left", "total")]
        sound = all(isinstance(number, int) and number >= 0 for number in numbers)
        if not sound or answer["granted"] > want:
            raise BrokerUnavailableError("the broker's lease cannot be read")
        purse.spent -= spent
        purse.leased += answer["granted"]
        purse.left, purse.total = answer["left"], answer["total"]
