"""The engines that must agree: regorus compiled, regorus interpreted, and a real OPA server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import orjson
import pytest

from broker.adapters.policy_opa import OpaPolicy
from sulku.errors import PolicyUnavailableError
from sulku.policies import Evaluator
from tests.policies import cases
from tests.servers import opa

Ask = Callable[[object], dict[str, object] | None]


def _asking(evaluate: Callable[[str], str]) -> Ask:
    """Ask for the answer to a document; ``None`` is no answer: an error, nothing defined, or not an answer."""

    def ask(document: object) -> dict[str, object] | None:
        try:
            return orjson.loads(evaluate(orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()))
        except PolicyUnavailableError:
            return None

    return ask


@pytest.fixture(scope="session")
def engines() -> Iterator[dict[str, Ask]]:
    evaluator = Evaluator(cases.bundle())
    with opa.serving() as url:
        server = OpaPolicy(url, cases.bundle(), timeout=30)
        server.publish()
        yield {"compiled": _asking(evaluator.answer), "interpreted": _asking(evaluator.interpret), "opa": _asking(server.evaluate)}
        server.close()
