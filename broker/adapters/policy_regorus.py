"""Policy decided in this process, by regorus: the default on one machine."""

from __future__ import annotations

import threading
from collections.abc import Callable

from broker.adapters.policy import mint
from sulku import ids
from sulku.clearance import Clearance, Query
from sulku.policies import Bundle, Evaluator, engine


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
        self._local = threading.local()
        self._load()

    def _load(self) -> None:
        self._local.evaluator = Evaluator(self.bundle)

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
        if not hasattr(self._local, "evaluator"):
            self._load()
        evaluator: Evaluator = self._local.evaluator
        return evaluator.answer(asked)
