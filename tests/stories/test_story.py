"""The story comes true on one machine with nothing but files, and with the servers of production and links by mutual TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.stories.installation import Installation
from tests.stories.story import Story


@pytest.fixture(params=["embedded", "services"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    if request.param == "embedded":
        yield {}
        return
    from tests.servers import opa, postgres, redis

    with postgres.running() as database, redis.running() as queue, opa.serving() as policy:
        database.sql("CREATE DATABASE story")
        links = {f"{part}_address": f"https://127.0.0.1:{free_port()}" for part in ("broker", "gateway", "hub")}
        yield {"database": database.url("story"), "redis_url": queue, "policy_engine": "opa", "opa_url": policy, "effects": "celery", **links}


@pytest.mark.slow
@pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")  # kept-alive sockets
@pytest.mark.timeout(600)
def test_the_whole_main_job(given: dict[str, Any], tmp_path: Path) -> None:
    with Installation(given) as at:
        story = Story(at)
        story.run(tmp_path)
    assert {one.step for one in story.told} == {1, 2, 3, 4, 5, 6, 7}
    at_most = sum(one.said.startswith("refused") for one in story.told)
    assert at_most >= 15, "the story tried less than it should"
