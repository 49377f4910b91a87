"""The worker in production: a relay hands the outbox's due effects to Redis by name, Celery's tasks look them up and do them.

Redis holds names only, so that nothing is lost or repeated for the worse if it forgets: the outbox is the record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from broker.store.outbox import LEASE, Outbox
from broker.worker.perform import Handlers, perform
from sulku.ports import Clock

TASK: Final = "sulku.effect"
BATCH: Final = 50  # effects that the relay takes at once
IDLE: Final = 0.5  # seconds between looks when there is nothing

log = structlog.get_logger(__name__)


def make_app(redis: str, outbox: Outbox, handlers: Handlers, clock: Clock) -> Celery:
    """Return the Celery application; ``redis`` is an address such as ``rediss://…`` or ``redis+socket:///path``."""
    app = Celery("sulku", broker=redis)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_time_limit=LEASE.total_seconds(),  # a task that outlives its lease would run beside its successor
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
    )

    def effect(name: str, attempt: int) -> None:
        claimed = outbox.load(name, attempt, clock.now())
        if claimed is not None:
            outbox.keep(claimed, clock.now())  # from here on it is held for this process, and not for long without a word from it
            perform(outbox, handlers, clock, claimed)

    app.task(name=TASK, shared=False)(effect)
    return app


class Relay:
    """Takes effects that are due from the outbox and sends their names; one or several may run."""

    def __init__(self, app: Celery, outbox: Outbox, clock: Clock, lease: timedelta = LEASE, *, beat: Callable[[], None] = lambda: None) -> None:
        """Send to ``app``; what is not done when the lease ends is sent again. ``beat`` is called after each look, failed or not."""
        self._app = app
        self._outbox = outbox
        self._clock = clock
        self._lease = lease
        self._beat = beat
        self._stopping = threading.Event()

    def run_once(self) -> int:
        """Send what is due and return how many.

        Raises:
            StoreUnavailableError: The database is away.
        """
        sent = 0
        for claimed in self._outbox.claim(self._clock.now(), most=BATCH, lease=self._lease):
            arguments: list[Any] = [claimed.effect.name, claimed.attempt]
            try:
                self._app.send_task(TASK, arguments, retry=False)
                sent += 1
            except OperationalError as error:
                self._outbox.failed(claimed, f"redis: {error}", self._clock.now())
        return sent

    def run(self) -> None:
        """Send until stopped."""
        while not self._stopping.is_set():
            try:
                idle = not self.run_once()
            except Exception:  # the database comes back; a relay that ended does not
                log.exception("relay.outbox-unreadable")
                idle = True
            self._beat()
            if idle:
                self._outbox.woken.wait(IDLE)
                self._outbox.woken.clear()

    def stop(self) -> None:
        """End ``run`` soon."""
        self._stopping.set()
        self._outbox.woken.set()
