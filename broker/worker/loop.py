"""The worker inside the broker's process: threads that empty the outbox, and one that sweeps every second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from broker.store.outbox import HOLD, Outbox
from broker.worker.perform import Handlers, perform
from sulku.ports import Clock

THREADS: Final = 3  # an opening takes seconds; endings must not wait for it
IDLE: Final = 0.5  # seconds between looks at an outbox that another process may fill
SWEEP: Final = 1.0  # seconds between sweeps: how late a deadline may be noticed
STUCK: Final = 300.0  # seconds that no sweep takes; a process whose clock stands still must be replaced

log = structlog.get_logger(__name__)


class Worker:
    """Runs handlers until stopped; killed at any moment, it loses nothing: leases end and effects repeat.

    Args:
        outbox: Where effects come from.
        handlers: What to call for each kind.
        clock: The time.
        sweep: Called every second: overdue tunnels, ended permits, the spool. What it raises is logged.
        effects: Whether effects are done here too; where Celery does them, only the sweep runs.
        beat: Called after each sweep, whether it failed or not.
        monotonic: A clock of seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        handlers: Handlers,
        clock: Clock,
        sweep: Callable[[], None] | None = None,
        *,
        effects: bool = True,
        beat: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._beat = beat
        self._monotonic, self._swept = monotonic, monotonic()
        self._handlers = handlers
        self._clock = clock
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(THREADS if effects else 0)]
        if sweep is not None:
            self._threads.append(threading.Thread(target=self._sweep, args=(sweep,), name="sweep", daemon=True))

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Begin nothing more and wait for what runs, at most ``timeout`` seconds for each thread."""
        self._stopping.set()
        self._outbox.woken.set()
        for thread in self._threads:
            thread.join(timeout)

    @property
    def stuck(self) -> bool:
        """Whether the sweep has not gone round for longer than it ever takes."""
        return self._monotonic() - self._swept > STUCK

    def run_once(self) -> int:
        """Do one effect that is due, in this thread; return how many there were, 0 or 1.

        Raises:
            StoreUnavailableError: The database is away.
        """
        claimed = self._outbox.claim(self._clock.now(), lease=HOLD)
        for one in claimed:
            perform(self._outbox, self._handlers, self._clock, one)
        return len(claimed)

    def drain(self, most: int = 1000) -> int:
        """Do what is due, in this thread, until nothing is or ``most`` are done; for tests and the command line.

        Raises:
            StoreUnavailableError: The database is away.
        """
        return next((count for count in range(most) if not self.run_once()), most)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                idle = not self.run_once()
            except Exception:  # a database that is away comes back; a worker that ended does not
                log.exception("worker.outbox-unreadable")
                idle = True
            if idle:
                self._outbox.woken.wait(IDLE)
                self._outbox.woken.clear()

    def _sweep(self, sweep: Callable[[], None]) -> None:
        while not self._stopping.wait(SWEEP):
            try:
                sweep()
            except Exception:
                log.exception("worker.sweep-failed")
            self._swept = self._monotonic()
            self._beat()
