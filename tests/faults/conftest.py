"""One broker for each test, from a database that is migrated once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import world


@pytest.fixture
def made(tmp_path: Path) -> Iterator[world.Broker]:
    with world.broker(tmp_path / "state") as broker:
        yield broker
