"""sulku, installed by Helm on a cluster of its own, which all of these tests share; their process is inside that cluster's network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.install import Separate, merged
from tests.cluster.installed.visits import Site
from tests.stories.clustered import Clustered

# From what wants it new to what leaves another version of it behind; in each file, from top to bottom.
ORDER: Final = ("test_install", "test_story", "test_halts", "test_faults", "test_restore", "test_upgrade")
LITTLE: Final = {"requests": {"cpu": "5m"}}
SMALL: Final = {"resources": dict.fromkeys(("broker", "worker", "gateway", "hub", "opa", "issuer", "postgres", "redis", "canary", "steps"), LITTLE)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests in their order, after all others."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    ours.sort(key=lambda item: (ORDER.index(item.path.stem), item.reportinfo()[1] or 0))
    items[:] = [item for item in items if item not in ours] + ours


@pytest.fixture(autouse=True)
def turn() -> None:
    """Nobody waits for a turn: this cluster is not the one that the tests beside these share."""


@pytest.fixture(scope="session")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clustered]:
    """Give the installation; its cluster goes with it unless it was up before."""
    cluster = Separate()
    stays = cluster.pid("kube-apiserver")
    cluster.up()
    made = Clustered(cluster, tmp_path_factory.mktemp("node"))
    made.installed.values = merged(made.installed.values, SMALL)
    made.installed.load()  # built before the network is entered, from which no registry is reached
    cluster.join()
    with made:
        yield made
    if not stays:
        cluster.down()


@pytest.fixture(scope="session")
def here(at: Clustered) -> Site:
    """Give the people of the installation, with three datasets in its catalogue."""
    return Site(at, at.catalogue())
