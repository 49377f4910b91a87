"""The worker's pulse: a clock that is stuck is seen, one that goes round is left alone, whatever it meets on its way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from celery import Celery
from fastapi import FastAPI
from starlette.testclient import TestClient

from broker.adapters.clock import SystemClock, monotonic
from broker.adapters.pulse import Pulse, main, stopped
from broker.store.outbox import Outbox
from broker.web.api import health
from broker.worker import celery_app, loop
from broker.worker.celery_app import Relay
from broker.worker.loop import Worker

LONG = 300.0  # seconds, as the chart has it


class Away:
    """An outbox whose database is away."""

    woken = threading.Event()

    def claim(self, *_: Any, **__: Any) -> list[Any]:
        raise OSError("gone")


AWAY = cast("Outbox", Away())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SWEEP", 0.001)
    monkeypatch.setattr(celery_app, "IDLE", 0.001)


@contextmanager
def sweeping(sweep: Callable[[], None], beat: Callable[[], None]) -> Iterator[None]:
    worker = Worker(AWAY, {}, SystemClock(), sweep, effects=False, beat=beat)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def counted(pulse: Pulse, name: str, most: int) -> tuple[Callable[[], None], threading.Event]:
    """Return a beat, and what is set when there were ``most``."""
    beat, enough, count = pulse.of(name), threading.Event(), [0]

    def beaten() -> None:
        beat()
        count[0] += 1
        if count[0] >= most:
            enough.set()

    return beaten, enough


def test_a_clock_that_is_stuck_has_stopped_after_a_while_and_not_before(tmp_path: Path) -> None:
    round_, go_on, rounds = threading.Event(), threading.Event(), [0]

    def sweep() -> None:
        rounds[0] += 1
        if rounds[0] == 3:
            round_.set()
            go_on.wait(60)

    with sweeping(sweep, Pulse(tmp_path).of("sweep")):
        assert round_.wait(20)
        now = monotonic()
        assert stopped(tmp_path, LONG, ["sweep"], now) == []
        assert stopped(tmp_path, LONG, ["sweep"], now + LONG + 1) == ["sweep"]
        go_on.set()


def test_a_clock_that_goes_round_beats_again_each_time(tmp_path: Path) -> None:
    beat, enough = counted(Pulse(tmp_path), "sweep", 5)
    began = monotonic()
    with sweeping(lambda: None, beat):
        assert enough.wait(20)
        assert began <= float((tmp_path / "sweep").read_text()) + 0.001


def test_a_sweep_that_fails_each_time_is_not_stuck(tmp_path: Path) -> None:
    """Without a database it fails once a second, and still ends tunnels: to restart it would forget which."""

    def sweep() -> None:
        raise OSError("the database is away")

    beat, enough = counted(Pulse(tmp_path), "sweep", 5)
    with sweeping(sweep, beat):
        assert enough.wait(20)


def test_a_relay_without_a_database_is_not_stuck_either(tmp_path: Path) -> None:
    beat, enough = counted(Pulse(tmp_path), "relay", 5)
    relay = Relay(cast("Celery", None), AWAY, SystemClock(), beat=beat)
    thread = threading.Thread(target=relay.run)
    thread.start()
    assert enough.wait(20)
    relay.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_a_full_disk_stops_no_clock(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "pulse")
    (tmp_path / "pulse").rmdir()
    pulse.of("sweep")()
    assert stopped(tmp_path / "pulse", LONG, ["sweep"], monotonic()) == ["sweep"]


def test_what_never_beat_has_stopped_and_what_another_process_left_counts_for_nothing(tmp_path: Path) -> None:
    Pulse(tmp_path).of("sweep")()
    assert stopped(tmp_path, LONG, ["sweep", "relay"], monotonic()) == ["relay"]
    Pulse(tmp_path)
    assert stopped(tmp_path, LONG, ["sweep"], monotonic()) == ["sweep"]


def test_without_a_folder_it_beats_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Pulse(None).of("sweep")()
    assert list(tmp_path.iterdir()) == []


def test_the_program_says_which_have_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Pulse(tmp_path).of("sweep")()
    program = [sys.executable, "-m", "broker.adapters.pulse", str(tmp_path), "300"]
    assert subprocess.run([*program, "sweep"], check=False, timeout=60).returncode == 0
    done = subprocess.run([*program, "sweep", "relay"], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "not gone round for 300 s: relay\n")
    assert main(str(tmp_path), "0", "sweep") == 1
    assert capsys.readouterr().err == "not gone round for 0 s: sweep\n"


# --- the broker's own clock, which its pages tell of --------------------------------------------------------------------------------


def told(worker: Worker) -> int:
    """Return what ``/healthz`` of a broker with this clock answers."""
    app = FastAPI()
    app.include_router(health.router)
    app.state.alive = lambda: not worker.stuck
    return int(TestClient(app).get("/healthz").status_code)


def test_a_broker_whose_clock_stands_still_does_not_call_itself_alive_and_one_whose_sweeps_fail_does() -> None:
    go_on, seconds, rounds = threading.Event(), [0.0], threading.Semaphore(0)

    def sweep() -> None:
        rounds.release()
        if seconds[0] > 0:
            go_on.wait(60)
        raise OSError("the database is away")

    worker = Worker(AWAY, {}, SystemClock(), sweep, effects=False, monotonic=lambda: seconds[0])
    assert told(worker) == 200
    worker.start()
    try:
        for _ in range(3):
            assert rounds.acquire(timeout=20)
        assert told(worker) == 200
        seconds[0] = loop.STUCK  # from here on a sweep hangs
        assert told(worker) == 200
        while rounds.acquire(timeout=0.5):
            pass
        seconds[0] += loop.STUCK + 1
        assert told(worker) == 503
        go_on.set()
        assert rounds.acquire(timeout=20)
        assert told(worker) == 200
    finally:
        go_on.set()
        worker.stop()
