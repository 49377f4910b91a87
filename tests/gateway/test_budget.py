"""Leases of the egress budget: asked for ahead, one at a time, told of once, and never more let through than was leased."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.gateway.budget import OVERHEAD, Budget
from broker.gateway.record import Tunnel
from sulku.errors import BrokerUnavailableError, EgressBudgetError

SLICE = 10_000
TUNNEL = Tunnel("tun_0123456789abcdef", "t-x", 1, "usr_x", "prm_x", "", datetime(2026, 11, 22, tzinfo=UTC), "/ws.sock", "token", "/lab", 1e9)


class Lender:
    """A broker with a budget; it answers while ``open`` is set, and refuses to while ``away``."""

    def __init__(self, budget: int) -> None:
        self.budget, self.leased, self.spent, self.away = budget, 0, 0, False
        self.questions: list[int] = []
        self.at_once = 0  # questions under way
        self.open = asyncio.Event()
        self.open.set()

    async def post(self, _: str, asked: dict[str, Any], *, patience: float) -> dict[str, int]:
        self.at_once += 1
        assert self.at_once == 1, "two leases of one purse at once"
        try:
            await self.open.wait()
            if self.away:
                raise BrokerUnavailableError("no answer in time")
            self.questions.append(asked["want"])
            granted = min(asked["want"], self.budget - self.leased)
            self.leased += granted
            self.spent += asked["spent"]
            return {"granted": granted, "left": self.budget - self.leased, "total": self.budget}
        finally:
            self.at_once -= 1


async def settled() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


def lend(lender: Lender) -> tuple[Budget, list[str]]:
    """Return a budget of that lender, and the list of tunnels that had not enough."""
    told: list[str] = []
    return Budget(lender, SLICE, lambda tunnel: told.append(tunnel.id)), told  # type: ignore[arg-type]


def test_the_next_slice_is_there_before_it_is_needed() -> None:
    async def story() -> None:
        lender = Lender(1_000_000)
        budget, _ = lend(lender)
        await budget.spend(TUNNEL, 1_000)
        assert lender.questions == [SLICE]
        await budget.spend(TUNNEL, 4_500)
        await settled()
        assert lender.questions == [SLICE, SLICE]
        lender.open.clear()  # from now on it takes its time, and nobody notices for a slice and a half
        for _ in range(13):
            async with asyncio.timeout(1):
                await budget.spend(TUNNEL, 1_000 - OVERHEAD)

    asyncio.run(story())


def test_a_message_waits_for_its_lease_and_does_not_pass_without() -> None:
    async def story() -> None:
        lender = Lender(1_000_000)
        lender.open.clear()
        budget, _ = lend(lender)
        waiting = asyncio.create_task(budget.spend(TUNNEL, 1_000))
        await settled()
        assert not waiting.done()
        lender.open.set()
        await waiting

    asyncio.run(story())


def test_a_lease_asked_for_ahead_that_fails_is_asked_for_again_when_it_is_needed() -> None:
    async def story() -> None:
        lender = Lender(1_000_000)
        budget, _ = lend(lender)
        await budget.spend(TUNNEL, 6_000)
        lender.away = True
        await settled()
        assert lender.questions == [SLICE], "the one ahead failed"
        lender.away = False
        await budget.spend(TUNNEL, 6_000)
        assert len(lender.questions) >= 2

    asyncio.run(story())


def test_a_lease_that_has_just_ended_is_not_taken_for_one_under_way() -> None:
    async def story() -> None:
        lender = Lender(1_000_000)
        budget, told = lend(lender)
        ended = asyncio.Event()
        answer = lender.post

        async def post(*words: Any, **more: Any) -> dict[str, int]:
            found = await answer(*words, **more)
            ended.set()  # who waits for this spends before anybody hears that the lease is there
            return found

        async def spender() -> None:
            await ended.wait()
            await budget.spend(TUNNEL, 3 * SLICE)

        await budget.spend(TUNNEL, 6_000)  # the next slice is asked for
        lender.post = post  # type: ignore[method-assign]
        await spender()
        assert not told

    asyncio.run(story())


def test_without_a_broker_what_was_leased_is_spent_and_no_more() -> None:
    async def story() -> None:
        lender = Lender(1_000_000)
        budget, told = lend(lender)
        await budget.spend(TUNNEL, 1_000)
        lender.away = True
        await budget.spend(TUNNEL, SLICE - 2_000)
        with pytest.raises(BrokerUnavailableError):
            await budget.spend(TUNNEL, 1_000)
        await budget.spend(TUNNEL, 500)
        assert lender.leased == SLICE
        assert not told, "nothing was exhausted: nobody could say"

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_no_more_passes_than_was_leased_and_all_of_it_is_told(seed: int) -> None:
    async def story() -> None:
        chance = random.Random(seed)
        lender = Lender(200_000)
        budget, told = lend(lender)
        passed = 0

        async def one() -> None:
            nonlocal passed
            count = chance.choice((10, 500, 5_000, 30_000))
            try:
                await budget.spend(TUNNEL, count)
            except (BrokerUnavailableError, EgressBudgetError):
                return
            passed += count + OVERHEAD
            assert passed <= lender.leased <= lender.budget

        for _ in range(60):
            lender.away = chance.random() < 0.3
            await asyncio.gather(*(one() for _ in range(chance.randrange(4))))
        lender.away = False
        while not told:
            await one()
        await settled()
        lender.budget += 1_000_000
        await budget.spend(TUNNEL, 500_000)  # needs a lease, which tells what was spent since the last
        assert lender.spent == passed, "all of it, once"

    asyncio.run(story())
