"""One broker for all tests of a module that do not change its settings; people and datasets are there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web import rig as rigs


@pytest.fixture(scope="session")
def database_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rigs.template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, database_template: Path) -> Iterator[rigs.Rig]:
    with rigs.running(tmp_path_factory.mktemp("broker") / "state", database_template) as made:
        yield made
