"""The broker's record of open tunnels, at most a second old; the deadline holds even if the broker is dead."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from broker.gateway import clock
from broker.gateway.upstream import Broker
from sulku import ids
from sulku.codec import unstamp
from sulku.errors import BrokerUnavailableError, NotFoundError, RelayedRefusalError, SulkuError, TunnelEndedError

FRESH = 1.0  # seconds that an answer of the broker may be relied on
WAIT = 3.0  # seconds that a request waits for such an answer: a broker that is slow, or just starting, is asked again
POLL = 0.5
TICK = 0.1
REMEMBERED = 10_000  # ended tunnels of which we can still say that they ended

EXPIRED, WITHDRAWN, MOVED = "tunnel expired", "tunnel closed", "access changed"
log = logging.getLogger("sulku.gateway")


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One open tunnel as the broker's record has it; ``ends`` is its deadline in seconds of ``clock.boot``."""

    id: str
    host: str
    epoch: int
    person: str
    permit: str
    permit_title: str
    deadline: datetime
    address: str
    token: str
    lab: str
    ends: float

    @property
    def place(self) -> tuple[int, str, str]:
        """What a connection into it is good for: when one of these changes, another one is needed."""
        return self.epoch, self.address, self.token


class Record:
    """Know which tunnels are open, and say when one stops being so.

    ``gone(tunnel, reason)`` is called for each tunnel that passes its deadline, leaves the record, or changes its epoch or
    its workspace. A pod's address that two tunnels claim belongs to neither: one of the pods is gone, and its address was
    given to the other before the record heard of it.
    """

    def __init__(self, broker: Broker, gone: Callable[[str, str], None]) -> None:
        """Begin knowing nothing: until the broker has answered, every request gets a 503."""
        self._broker, self._gone = broker, gone
        self._tunnels: dict[str, Tunnel] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._deadlines: dict[str, tuple[datetime, float]] = {}
        self._read_at = -1e9
        self._not_before = -1e9
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def age(self) -> float:
        """Seconds since the last answer that can be relied on was asked for."""
        return clock.boot() - self._read_at

    def open(self) -> list[Tunnel]:
        """Return the tunnels of the last answer whose deadline has not passed."""
        return [tunnel for tunnel in self._tunnels.values() if clock.boot() < tunnel.ends]

    def known(self, identifier: str) -> Tunnel | None:
        """Return ``identifier`` as the last answer had it, however old."""
        return self._tunnels.get(identifier)

    async def tunnel(self, identifier: str) -> Tunnel:
        """Return the open tunnel ``identifier`` from an answer at most ``FRESH`` seconds old.

        Raises:
            TunnelEndedError: It was open and is so no longer.
            NotFoundError: No open tunnel is known by that name.
            BrokerUnavailableError: The broker does not answer, so nothing may pass.
        """
        self._require_not_past(identifier)
        if self.age > FRESH or identifier not in self._tunnels:  # it may have been opened since
            await self._fresh(identifier)
        self._require_not_past(identifier)
        found = self._tunnels.get(identifier)
        if found:
            return found
        if identifier in self._ended:
            raise TunnelEndedError(f"this tunnel has ended: {self._ended[identifier]}")
        raise NotFoundError("there is no open tunnel at this address")

    async def anew(self, identifier: str) -> Tunnel:
        """Return the open tunnel ``identifier`` from an answer that was asked for after this call; raises as ``tunnel`` does."""
        called = clock.boot()
        while self._read_at < called:  # a question that is under way may be older than what the caller knows
            await self._fresh(identifier)
        return await self.tunnel(identifier)

    def _require_not_past(self, identifier: str) -> None:
        known = self._deadlines.get(identifier)
        if known and clock.boot() >= known[1]:
            raise TunnelEndedError(f"this tunnel has ended: {EXPIRED}")

    async def _fresh(self, identifier: str) -> None:
        """Ask until there is an answer that may be relied on, for at most ``WAIT``: the request waits, and nothing passes meanwhile."""
        until = time.monotonic() + WAIT
        while True:
            try:
                return await self.refresh()
            except BrokerUnavailableError:
                self._require_not_past(identifier)
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(TICK)

    async def refresh(self) -> None:
        """Ask the broker now; requests that need an answer at the same time share one question.

        Raises:
            BrokerUnavailableError: It does not answer or answers nonsense.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._ask())
        await asyncio.shield(self._refreshing)
        if self.age > FRESH:  # the answer was asked for before a cut, or came too late
            raise BrokerUnavailableError("the broker's record is too old")

    def forget(self, identifier: str, reason: str) -> None:
        """Drop a tunnel until an answer that was asked for after this call has it again."""
        self._not_before = clock.boot()
        self._read_at = -1e9
        if self._tunnels.pop(identifier, None):
            self._remember(identifier, reason)
        self._gone(identifier, reason)

    async def _ask(self) -> None:
        asked = clock.boot()
        try:
            answer = await self._broker.get("/internal/gate/tunnels")
            tunnels = {tunnel.id: tunnel for tunnel in _undisputed([self._read(row) for row in answer["tunnels"]])}
        except RelayedRefusalError as error:
            raise BrokerUnavailableError(f"the broker refused to show its record: {error.code}") from error
        except (KeyError, TypeError, ValueError, SulkuError) as error:
            raise BrokerUnavailableError(f"the broker's record cannot be read: {error}") from error
        if asked < self._not_before:
            return
        before, self._tunnels, self._read_at = self._tunnels, tunnels, asked
        for tunnel in tunnels.values():
            if asked < tunnel.ends:
                self._ended.pop(tunnel.id, None)
        for old in before.values():
            new = tunnels.get(old.id)
            if new is None:
                self._remember(old.id, WITHDRAWN)
                self._gone(old.id, WITHDRAWN)
            elif new.place != old.place:
                self._gone(old.id, MOVED)

    def _read(self, row: dict[str, Any]) -> Tunnel:
        identifier, deadline = ids.parse(row["id"], "tun"), unstamp(row["deadline"])
        if row["host"] != ids.label(identifier) or not isinstance(row["epoch"], int):
            raise ValueError(f"a record of {identifier} that contradicts itself")
        known = self._deadlines.get(identifier)
        if known is None or deadline < known[0]:  # computed once: a jump of the wall clock moves no deadline
            ends = clock.boot() + clock.until(deadline)
            known = self._deadlines[identifier] = (deadline, min(ends, known[1]) if known else ends)
        names = ("person", "permit", "permit_title", "address", "token", "lab")
        words = {name: str(row[name]) for name in names}
        return Tunnel(id=identifier, host=row["host"], epoch=row["epoch"], deadline=known[0], ends=known[1], **words)

    def _remember(self, identifier: str, reason: str) -> None:
        self._ended[identifier] = reason
        while len(self._ended) > REMEMBERED:
            old, _ = self._ended.popitem(last=False)
            self._deadlines.pop(old, None)

    async def poll(self) -> None:
        """Ask again and again; runs until cancelled."""
        while True:
            try:
                await self.refresh()
            except BrokerUnavailableError as error:
                log.warning("record not read: %s", error)
            await asyncio.sleep(POLL)

    async def watch(self) -> None:
        """End each tunnel at its deadline, broker or no broker; runs until cancelled."""
        while True:
            for tunnel in list(self._tunnels.values()):
                if clock.boot() >= tunnel.ends and self._ended.get(tunnel.id) != EXPIRED:
                    self._remember(tunnel.id, EXPIRED)
                    self._gone(tunnel.id, EXPIRED)
            await asyncio.sleep(TICK)


def _undisputed(tunnels: list[Tunnel]) -> list[Tunnel]:
    """Return them, without an address where a pod's is that of another one too."""
    claims = Counter(tunnel.address for tunnel in tunnels if not tunnel.address.startswith("/"))
    return [replace(tunnel, address="") if claims[tunnel.address] > 1 else tunnel for tunnel in tunnels]
