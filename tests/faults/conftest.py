"""One broker for each test, from a database that is migrated once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.faults import world


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep what workers log of injected faults: printing a traceback takes a hundred times as long as the fault."""
    with capture_logs():
        yield


@pytest.fixture
def made(tmp_path: Path) -> Iterator[world.Broker]:
    with world.broker(tmp_path / "state") as broker:
        yield broker
