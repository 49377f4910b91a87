"""Celery and Redis, both real: a relay hands over names, a worker process does the effects, also after it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from broker.adapters.clock import SystemClock
from broker.store.outbox import HOLD, put
from broker.store.store import SqlStore
from broker.worker.celery_app import Relay, make_app
from sulku.ports import Effect
from tests.servers import redis
from tests.soon import eventually

WORKER = """
import os, sys, time
from pathlib import Path
from broker.adapters.clock import SystemClock
from broker.store.store import SqlStore
from broker.worker.celery_app import make_app
url, spool, address, said = sys.argv[1:]
store = SqlStore(url, Path(spool))
def say(effect):
    with open(said, "a") as file:
        file.write(f"{effect.name} {effect.body}\\n")
def hang(effect):
    say(effect)
    time.sleep(0 if os.environ.get("QUICK") else 60)
make_app(address, store.outbox, {"say": say, "hang": hang}, SystemClock()).worker_main(
    ["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


class Later(SystemClock):
    """The machine's clock, fast by as long as an effect is held without a word from its worker."""

    def now(self) -> datetime:
        return super().now() + HOLD


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with redis.running() as running:
        yield running


def start(url: str, tmp_path: Path, address: str, **environment: str) -> subprocess.Popen[bytes]:
    inherited = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-c", WORKER, url, str(tmp_path / "spool"), address, str(tmp_path / "said")]
    return subprocess.Popen(command, env=inherited)


def wait(path: Path, lines: int) -> list[str]:
    eventually(lambda: path.exists() and len(path.read_text().splitlines()) >= lines)
    return path.read_text().splitlines()


def settle(store: SqlStore) -> None:
    eventually(lambda: store.outbox.waiting()[0] == 0)


def queue(store: SqlStore, at: datetime, *effects: Effect) -> None:
    with store.database.write() as connection:
        put(connection, effects, 0, at)


def test_effects_go_through_redis_and_are_settled(store: SqlStore, url: str, tmp_path: Path, address: str) -> None:
    clock = SystemClock()
    names = [f"effect-{n}" for n in range(5)]
    queue(store, clock.now(), *(Effect(name, "say", "tun_t000000000000000", body={"n": 1}) for name in names))
    app = make_app(address, store.outbox, {}, clock)
    relay = Relay(app, store.outbox, clock)
    assert (relay.run_once(), relay.run_once()) == (5, 0)
    child = start(url, tmp_path, address)
    try:
        settle(store)
        assert sorted(wait(tmp_path / "said", 5)) == [f"{name} {{'n': 1}}" for name in names]
    finally:
        child.kill()
        child.wait()
        app.close()


def test_an_effect_whose_worker_was_killed_is_done_again(store: SqlStore, url: str, tmp_path: Path, address: str) -> None:
    clock = SystemClock()
    queue(store, clock.now(), Effect("hanging", "hang", "tun_t000000000000000"))
    app = make_app(address, store.outbox, {}, clock)
    assert Relay(app, store.outbox, clock).run_once() == 1
    child = start(url, tmp_path, address)
    try:
        wait(tmp_path / "said", 1)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert store.outbox.waiting()[0] == 1
    assert Relay(app, store.outbox, clock).run_once() == 0
    assert Relay(app, store.outbox, Later()).run_once() == 1  # not two minutes later: who was at work on it says no more
    child = start(url, tmp_path, address, QUICK="1")
    try:
        settle(store)
        assert len(wait(tmp_path / "said", 2)) == 2
    finally:
        child.kill()
        child.wait()
        app.close()


def test_without_redis_the_effect_stays_in_the_outbox(store: SqlStore, tmp_path: Path) -> None:
    clock = SystemClock()
    queue(store, clock.now(), Effect("waiting", "say", "tun_t000000000000000"))
    app = make_app(f"redis+socket://{tmp_path / 'nobody.sock'}", store.outbox, {}, clock)
    assert Relay(app, store.outbox, clock).run_once() == 0
    (trouble,) = store.outbox.troubles()
    assert (trouble.effect.name, trouble.failed) == ("waiting", False)
    assert trouble.error.startswith("redis: ")
    app.close()


def test_a_name_that_is_settled_or_held_by_another_is_not_done(store: SqlStore) -> None:
    clock, done = SystemClock(), []
    queue(store, clock.now(), Effect("once", "say", "tun_t000000000000000"))
    app = make_app("memory://", store.outbox, {"say": lambda effect: done.append(effect.name)}, clock)
    task = app.tasks["sulku.effect"]
    (claimed,) = store.outbox.claim(clock.now())
    for name, attempt in (("once", 0), ("once", 2), ("other", 1), ("once", 1), ("once", 1)):
        task(name, attempt)
    assert (done, claimed.attempt) == (["once"], 1)
    app.close()
