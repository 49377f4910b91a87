"""One effect: call its handler and settle it in the outbox; the same for every kind of worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from broker.store.outbox import Claimed, Outbox
from sulku.errors import RefusalError, StaleError, SulkuError
from sulku.ports import Clock, Effect

Handlers = Mapping[str, Callable[[Effect], None]]
"""Handlers by kind of effect. Each can be called again at any time, also after it half succeeded."""

log = structlog.get_logger(__name__)


def perform(outbox: Outbox, handlers: Handlers, clock: Clock, claimed: Claimed) -> None:
    """Do a claimed effect. Its failure is written down and never raised: the outbox tries again.

    Raises:
        StoreUnavailableError: How it went cannot be written down now; it is tried again when the lease ends.
    """
    effect = claimed.effect
    try:
        handlers[effect.kind](effect)
    except Exception as error:  # whatever it is, the effect must be tried again
        refused = isinstance(error, RefusalError) and not isinstance(error, StaleError)
        code = error.code if isinstance(error, SulkuError) else type(error).__name__
        log.warning("worker.effect-failed", effect=effect.name, attempt=claimed.attempt, code=code, exc_info=not refused)
        outbox.failed(claimed, f"{code}: {error}", clock.now(), refused=refused)
    else:
        outbox.done(claimed, clock.now())


