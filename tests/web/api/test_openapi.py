"""The description of the API is true: whatever is sent, no answer is outside it, none is a fault, none lets nobody in."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from broker.web.app import NOUNS, description
from tests.web.rig import Rig

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
EXAMPLES = int(os.environ.get("SULKU_EXAMPLES", "4"))  # of each operation, by one role after the other; raise it to search for longer
PUBLIC = {
    "/api/v1/sign-in",
    "/api/v1/register",
    "/api/v1/permit-status",
    "/api/v1/ledger",
    "/api/v1/datasets",
    "/api/v1/datasets/{dataset}",
}
HEALTH = {"/healthz", "/readyz"}


DESCRIPTION = description()
OPERATIONS = sorted((path, method.upper()) for path, methods in DESCRIPTION["paths"].items() for method in methods)


@pytest.fixture(scope="module")
def schema(rig: Rig) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{rig.url.rsplit(':', 1)[1]}/api/v1/openapi.json")


def search(schema: Any, path: str, method: str, examples: int, look: Callable[[schemathesis.Case], None]) -> None:
    """Have ``look`` look at many cases of one operation."""

    @given(case=schema[path][method].as_strategy())
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def looking(case: schemathesis.Case) -> None:
        look(case)

    looking()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_as_described(rig: Rig, schema: Any, path: str, method: str) -> None:
    people = cycle(("auli", "sami", "aino", "otto"))

    def look(case: schemathesis.Case) -> None:
        headers = {"Authorization": rig.api(next(people)).headers["authorization"]}
        case.validate_response(case.call(headers=headers), checks=CHECKS)

    search(schema, path, method, EXAMPLES, look)


@pytest.mark.parametrize(("path", "method"), [one for one in OPERATIONS if one[0] not in PUBLIC | HEALTH or one[1] != "GET"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}])
def test_nobody_gets_in_unsigned(rig: Rig, schema: Any, path: str, method: str, headers: dict[str, str]) -> None:
    def look(case: schemathesis.Case) -> None:
        case.headers.pop("Authorization", None)
        assert case.call(headers=headers).status_code in {401, 422}

    search(schema, path, method, 2, look)


def test_what_is_public_is_the_list_above_and_is_really_public(rig: Rig) -> None:
    http = rig.client(base_url=rig.url)
    described = http.get("/api/v1/openapi.json").json()
    paths = described["paths"]
    open_ = {path for path, methods in paths.items() for method in methods.values() if "security" not in method and path not in HEALTH}
    assert open_ == PUBLIC
    for path in PUBLIC | HEALTH:
        assert http.get(path.format(dataset=rig.dataset)).status_code == 200, path


def test_every_noun_has_a_router() -> None:
    names = {one.__name__.rsplit(".", 1)[1] for one in NOUNS}
    assert names >= {"people", "datasets", "applications", "permits", "tunnels", "outputs", "releases", "ledger"}
