"""Effects: taken by one worker at a time, repeated until done, endings first, and never lost to a crash."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from broker.store.outbox import HOLD, LEASE, TRIES, Claimed, put
from broker.store.store import SqlStore
from broker.store.tables import OUTBOX
from broker.worker.loop import Worker
from sulku.codec import unstamp
from sulku.errors import DeniedError, NotFoundError, PolicyUnavailableError, StaleError, StoreUnavailableError
from sulku.ports import Effect
from tests.soon import soon
from tests.store import deeds
from tests.store.deeds import AT, closing

SECOND = timedelta(seconds=1)


@dataclass
class Hand:
    """A clock that is set by hand."""

    at: datetime = AT

    def now(self) -> datetime:
        return self.at


def queue(store: SqlStore, *effects: Effect, at: datetime = AT) -> None:
    with store.database.write() as connection:
        put(connection, effects, 0, at)


def effect(name: str, kind: str = "notify", **fields: object) -> Effect:
    return Effect(name, kind, "tun_t000000000000000", **fields)  # type: ignore[arg-type]


def claim(store: SqlStore, at: datetime = AT, most: int = 9) -> list[str]:
    return [claimed.effect.name for claimed in store.outbox.claim(at, most=most)]


def kept(store: SqlStore) -> datetime:
    """Return until when the one effect is held."""
    with store.database.read() as connection:
        return unstamp(connection.execute(select(OUTBOX.c.due)).scalar_one())


def test_a_change_queues_what_follows_from_it(store: SqlStore) -> None:
    tunnel = deeds.tunnel(store)
    (claimed,) = store.outbox.claim(AT, most=9)
    assert (claimed.effect.kind, claimed.effect.target, claimed.effect.epoch, claimed.attempt) == ("open-tunnel", tunnel, 1, 1)
    assert store.outbox.woken.is_set()


def test_nobody_else_gets_it_until_the_lease_ends(store: SqlStore) -> None:
    queue(store, effect("a"))
    (first,) = store.outbox.claim(AT)
    assert claim(store, AT + LEASE - SECOND) == []
    (second,) = store.outbox.claim(AT + LEASE)
    assert (second.effect.name, second.attempt) == ("a", 2)
    store.outbox.done(first, AT + LEASE)  # it comes too late to settle anything
    assert store.outbox.waiting()[0] == 1
    store.outbox.done(second, AT + LEASE)
    assert store.outbox.waiting() == (0, None)
    assert claim(store, AT + timedelta(days=1)) == []


def test_two_workers_never_hold_the_same(store: SqlStore) -> None:
    names = {f"e{n}" for n in range(30)}
    queue(store, *(effect(name) for name in names))
    got: list[str] = []
    together = threading.Barrier(4)

    def work() -> None:
        together.wait()
        while mine := claim(store, most=3):
            got.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(names)


def test_endings_come_first_then_the_oldest_and_nothing_before_its_time(store: SqlStore) -> None:
    queue(store, effect("old", due=AT - SECOND), effect("late", due=AT + SECOND))
    queue(store, effect("new"), effect("end", "close-tunnel"))
    assert [claim(store, most=1) for _ in range(4)] == [["end"], ["old"], ["new"], []]
    assert claim(store, AT + SECOND) == ["late"]


def test_an_effect_is_kept_while_somebody_is_at_work_on_it(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.worker.perform.AT_WORK", 0.01)
    clock, seen = Hand(), []

    def slow(_: Effect) -> None:
        for _ in range(4):
            clock.at += HOLD - SECOND
            assert soon(lambda: kept(store) > clock.at), "it is anybody's while it is done"
            seen.append(claim(store, clock.at))

    queue(store, effect("a", "slow"))
    assert Worker(store.outbox, {"slow": slow}, clock).run_once() == 1
    assert seen == [[], [], [], []]
    assert store.outbox.waiting() == (0, None)


def test_an_effect_whose_worker_died_is_had_when_the_hold_is_over(store: SqlStore) -> None:
    queue(store, effect("a"))
    (lost,) = store.outbox.claim(AT)
    store.outbox.keep(lost, AT)  # its last word
    assert claim(store, AT + HOLD - SECOND) == []
    (second,) = store.outbox.claim(AT + HOLD)
    store.outbox.keep(lost, AT + HOLD)  # one that was only asleep keeps nothing
    store.outbox.done(lost, AT + HOLD)
    assert kept(store) == second.until
    assert store.outbox.waiting()[0] == 1


def test_what_hangs_is_not_kept_for_ever(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.worker.perform.AT_WORK", 0.01)
    monkeypatch.setattr("broker.worker.perform.LEASE", timedelta(seconds=0.05))
    clock, again = Hand(), []

    def hangs(_: Effect) -> None:
        assert soon(lambda: not [one for one in threading.enumerate() if one.name == "keep a"]), "kept for ever"
        clock.at += HOLD
        again.extend(claim(store, clock.at))

    queue(store, effect("a", "hangs"))
    Worker(store.outbox, {"hangs": hangs}, clock).run_once()
    assert again == ["a"]
    assert store.outbox.waiting()[0] == 1, "who had it first has settled nothing"


def test_a_database_that_is_away_meanwhile_is_told_later(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.worker.perform.AT_WORK", 0.01)
    clock, keep, tries = Hand(), store.outbox.keep, []

    def away(claimed: Claimed, at: datetime) -> None:
        tries.append(at)
        if len(tries) < 3:
            raise StoreUnavailableError("away")
        keep(claimed, at)

    def slow(_: Effect) -> None:
        clock.at += HOLD - SECOND
        assert soon(lambda: kept(store) > clock.at + SECOND)

    monkeypatch.setattr(store.outbox, "keep", away)
    queue(store, effect("a", "slow"))
    Worker(store.outbox, {"slow": slow}, clock).run_once()
    assert store.outbox.waiting() == (0, None)


def test_a_failed_try_is_repeated_ever_slower_and_never_given_up(store: SqlStore) -> None:
    queue(store, effect("a"))
    at, pauses = AT, []
    for _ in range(12):
        (claimed,) = store.outbox.claim(at)
        store.outbox.failed(claimed, "no route to host", at)
        start = at
        while not store.outbox._anything(at):
            at += SECOND
        pauses.append(int((at - start).total_seconds()))
    assert pauses == [1, 2, 4, 8, 16, 32, *[60] * 6]
    (trouble,) = store.outbox.troubles()
    assert (trouble.attempts, trouble.error, trouble.failed) == (12, "no route to host", False)


def test_what_is_refused_again_and_again_is_given_up_and_can_be_tried_by_hand(store: SqlStore) -> None:
    queue(store, effect("a"))
    at = AT
    for _ in range(TRIES):
        (claimed,) = store.outbox.claim(at)
        store.outbox.failed(claimed, "denied", at, refused=True)
        at += timedelta(hours=1)
    assert claim(store, at) == []
    assert [trouble.failed for trouble in store.outbox.troubles()] == [True]
    store.outbox.retry("a", at)
    (claimed,) = store.outbox.claim(at)
    store.outbox.done(claimed, at)
    assert store.outbox.troubles() == []
    for name in ("a", "unknown"):
        with pytest.raises(NotFoundError):
            store.outbox.retry(name, at)


def test_a_worker_does_what_is_due_and_writes_down_how_it_went(store: SqlStore) -> None:
    done: list[str] = []

    def fail(error: Exception) -> Callable[[Effect], None]:
        def handler(_: Effect) -> None:
            raise error

        return handler

    handlers = {
        "good": lambda one: done.append(one.name),
        "denied": fail(DeniedError("tunnel.prove", ["no"])),
        "stale": fail(StaleError("moved on")),
        "away": fail(PolicyUnavailableError("no answer")),
        "broken": fail(ZeroDivisionError("oops")),
    }
    queue(store, *(effect(kind, kind) for kind in (*handlers, "unknown")))
    clock = Hand()
    worker = Worker(store.outbox, handlers, clock)
    assert worker.drain() == 6
    assert done == ["good"]
    errors = {trouble.effect.name: trouble.error for trouble in store.outbox.troubles()}
    assert errors == {
        "denied": "denied: policy refused tunnel.prove: no",
        "stale": "stale: moved on",
        "away": "policy-unavailable: no answer",
        "broken": "ZeroDivisionError: oops",
        "unknown": "KeyError: 'unknown'",
    }
    for _ in range(TRIES * 2):
        clock.at += timedelta(minutes=2)
        worker.drain()
    given_up = {trouble.effect.name for trouble in store.outbox.troubles() if trouble.failed}
    assert given_up == {"denied"}


def test_the_threads_work_wake_sweep_survive_errors_and_stop(store: SqlStore) -> None:
    swept, opened, closed = threading.Event(), threading.Event(), threading.Event()

    def sweep() -> None:
        swept.set()
        raise ZeroDivisionError

    def open_tunnel(_: Effect) -> None:
        opened.set()
        closed.wait(20)

    worker = Worker(
        store.outbox,
        {"open-tunnel": open_tunnel, "close-tunnel": lambda _: closed.set()},
        Hand(AT + SECOND),
        sweep,
    )
    worker.start()
    tunnel = deeds.tunnel(store)
    assert opened.wait(20)
    deeds.end(store, tunnel, closing())  # an ending does not wait for an opening that hangs
    assert closed.wait(20)
    assert swept.wait(20)
    worker.stop()
    assert not any(thread.is_alive() for thread in worker._threads)
    assert store.outbox.waiting()[0] == 0


def test_the_threads_outlive_a_database_that_goes_away(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls, done = store.outbox.claim, [], threading.Event()

    def flaky(at: datetime, **options: object) -> object:
        calls.append(at)
        if len(calls) <= 3:
            raise OSError("gone")
        return real(at)

    monkeypatch.setattr(store.outbox, "claim", flaky)
    queue(store, effect("a"))
    worker = Worker(store.outbox, {"notify": lambda _: done.set()}, Hand())
    worker.start()
    assert done.wait(20)
    worker.stop()
