"""The record's deadlines: fixed when they arrive, moved by no clock, only ever brought nearer by the broker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.gateway import clock
from broker.gateway.record import Record, Tunnel
from sulku.errors import BrokerUnavailableError, TunnelEndedError
from tests.fakes.broker import OpenTunnel

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clocks:
    """Both clocks of the gateway, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boot, self.wall = 1000.0, NOON
        monkeypatch.setattr("broker.gateway.record.WAIT", 0.0)
        monkeypatch.setattr(clock, "boot", lambda: self.boot)
        monkeypatch.setattr(clock, "until", lambda moment: (moment - self.wall).total_seconds())

    def pass_(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += timedelta(seconds=seconds)


class Upstream:
    """A broker that answers with ``tunnel``, or with whatever else it was given."""

    def __init__(self) -> None:
        self.tunnel = OpenTunnel("tun_0123456789abcdef", "/ws.sock", "token", NOON + timedelta(hours=1))
        self.answer: Any = None
        self.failing = 0  # so many questions more are not answered in time

    async def get(self, _: str) -> Any:
        if self.failing:
            self.failing -= 1
            raise BrokerUnavailableError("no answer in time")
        return self.answer or {"tunnels": [self.tunnel.record()]}


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def record(upstream: Upstream) -> Record:
    return Record(upstream, lambda *_: None)  # type: ignore[arg-type]


def find(record: Record, upstream: Upstream) -> Tunnel:
    return asyncio.run(record.tunnel(upstream.tunnel.id))


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=1)])
def test_a_jump_of_the_wall_clock_moves_no_deadline(record: Record, upstream: Upstream, clocks: Clocks, jump: timedelta) -> None:
    assert find(record, upstream).ends == 4600
    clocks.wall += jump
    clocks.pass_(3599)
    assert find(record, upstream).ends == 4600
    clocks.pass_(1)
    with pytest.raises(TunnelEndedError):
        find(record, upstream)


def test_the_broker_brings_a_deadline_nearer_and_never_moves_it_away(record: Record, upstream: Upstream, clocks: Clocks) -> None:
    find(record, upstream)
    for change, ends in ((+10, 4600), (-20, 3400), (+30, 3400)):
        clocks.pass_(2)
        upstream.tunnel.ends = NOON + timedelta(hours=1, minutes=change)
        assert find(record, upstream).ends == ends


@pytest.mark.parametrize(
    "answer",
    [{"tunnels": 1}, {"tunnels": [{}]}, {"x": []}, {"tunnels": [{"id": "tun_x", "host": "t-x", "epoch": 1, "deadline": "soon"}]}],
)
def test_a_record_that_cannot_be_read_opens_nothing(record: Record, upstream: Upstream, clocks: Clocks, answer: Any) -> None:
    find(record, upstream)
    clocks.pass_(2)
    upstream.answer = answer
    with pytest.raises(BrokerUnavailableError):
        find(record, upstream)
    upstream.answer = None
    find(record, upstream)


def test_a_record_whose_host_is_another_tunnels_is_refused(record: Record, upstream: Upstream, clocks: Clocks) -> None:
    upstream.answer = {"tunnels": [upstream.tunnel.record() | {"host": "t-0000000000000000"}]}
    with pytest.raises(BrokerUnavailableError):
        find(record, upstream)


def test_an_answer_that_was_asked_for_before_a_cut_does_not_count(record: Record, upstream: Upstream, clocks: Clocks) -> None:
    async def cut_meanwhile(_: str) -> Any:
        clocks.pass_(0.1)
        record.forget(upstream.tunnel.id, "closed")
        return {"tunnels": [upstream.tunnel.record()]}

    find(record, upstream)
    clocks.pass_(2)
    usual, upstream.get = upstream.get, cut_meanwhile  # type: ignore[method-assign]
    with pytest.raises(BrokerUnavailableError):
        find(record, upstream)
    upstream.get = usual  # type: ignore[method-assign]
    assert find(record, upstream).id == upstream.tunnel.id


def test_a_broker_that_is_slow_is_asked_again_and_nothing_passes_meanwhile(record: Record, upstream: Upstream, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.failing = 2
    with pytest.raises(BrokerUnavailableError):
        find(record, upstream)
    monkeypatch.setattr("broker.gateway.record.WAIT", 3.0)
    assert find(record, upstream).id == upstream.tunnel.id
    assert upstream.failing == 0


def test_who_waits_for_a_slow_broker_is_not_let_in_past_the_deadline(record: Record, upstream: Upstream, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(_: str) -> Any:
        clocks.pass_(2)
        raise BrokerUnavailableError("no answer in time")

    find(record, upstream)
    clocks.pass_(3599)
    upstream.get = slow  # type: ignore[method-assign]
    monkeypatch.setattr("broker.gateway.record.WAIT", 3.0)
    with pytest.raises(TunnelEndedError):
        find(record, upstream)
