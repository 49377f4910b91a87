"""Policy decided in this process, by regorus: the default on one machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from broker.adapters.policy import mint
from sulku import ids
from sulku.clearance import Clearance, Query
from sulku.policies import Bundle, Evaluator, engine

MOST: Final = 4  # compiled bundles that a thread keeps
_THREAD: Final = threading.local()


class RegorusPolicy:
    """Implements ``sulku.ports.Policy``; any thread may ask, each compiles the bundle once (about 10 ms)."""

    def __init__(self, bundle: Bundle, new_id: Callable[[str], str] = ids.new) -> None:
        """Load ``bundle`` in this thread, so that one that does not compile is found at start.

        Raises:
            PolicyEngineMissingError: The engine is not installed.
            PolicyUnavailableError: The bundle does not compile.
        """
        self.bundle = bundle
        self.engine = engine()
        self._new_id = new_id
        _evaluator(bundle)

    def ask(self, query: Query) -> Clearance:
        """Return the proof that policy said yes.

        Raises:
            DeniedError: Policy said no.
            PolicyUnavailableError: There was no answer, or it made no sense.
        """
        return mint(query, self, self._new_id)

    def evaluate(self, asked: str) -> str:
        """Return the engine's answer to ``asked``, both canonical JSON.

        Raises:
            PolicyUnavailableError: As for ``ask``.
        """
        return _evaluator(self.bundle).answer(asked)


def _evaluator(bundle: Bundle) -> Evaluator:
    """Return this thread's evaluator of ``bundle``; the engine's objects live and die in the thread that made them."""
    kept: dict[str, Evaluator] = _THREAD.__dict__.setdefault("evaluators", {})
    if bundle.sha256 not in kept:
        if len(kept) >= MOST:
            del kept[next(iter(kept))]
        kept[bundle.sha256] = Evaluator(bundle)
    return kept[bundle.sha256]
