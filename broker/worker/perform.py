"""One effect: call its handler and settle it in the outbox; the same for every kind of worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from broker.store.outbox import LEASE, Claimed, Outbox
from sulku.errors import RefusalError, StaleError, StoreUnavailableError, SulkuError
from sulku.ports import Clock, Effect

AT_WORK: Final = 5.0  # seconds after which it is said again that somebody is at work on an effect

Handlers = Mapping[str, Callable[[Effect], None]]
"""Handlers by kind of effect. Each can be called again at any time, also after it half succeeded."""

log = structlog.get_logger(__name__)


def perform(outbox: Outbox, handlers: Handlers, clock: Clock, claimed: Claimed) -> None:
    """Do a claimed effect. Its failure is written down and never raised: the outbox tries again.

    Meanwhile it is kept; if this process dies, another has it as soon as the hold is over. One that takes longer than ``LEASE``
    is given to another all the same.

    Raises:
        StoreUnavailableError: How it went cannot be written down now; it is tried again when the lease ends.
    """
    effect = claimed.effect
    try:
        with _kept(outbox, clock, claimed):
            handlers[effect.kind](effect)
    except Exception as error:  # whatever it is, the effect must be tried again
        refused = isinstance(error, RefusalError) and not isinstance(error, StaleError)
        code = error.code if isinstance(error, SulkuError) else type(error).__name__
        log.warning("worker.effect-failed", effect=effect.name, attempt=claimed.attempt, code=code, exc_info=not refused)
        outbox.failed(claimed, f"{code}: {error}", clock.now(), refused=refused)
    else:
        outbox.done(claimed, clock.now())


@contextmanager
def _kept(outbox: Outbox, clock: Clock, claimed: Claimed) -> Iterator[None]:
    over = threading.Event()

    def keep() -> None:
        for _ in range(int(LEASE.total_seconds() / AT_WORK)):
            if over.wait(AT_WORK):
                return
            with suppress(StoreUnavailableError):  # it comes back before the hold is over, or somebody else begins anew
                outbox.keep(claimed, clock.now())

    keeper = threading.Thread(target=keep, name=f"keep {claimed.effect.name}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()  # so that nothing is kept after it was settled
