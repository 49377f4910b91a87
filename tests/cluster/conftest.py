"""The cluster that all of these tests share, and what they need to open tunnels on it; the tests run inside its network."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import draws, images, programs, turns
from tests.cluster.bench import Bench, prepare
from tests.cluster.cluster import Cluster
from tests.cluster.guarding import Guarded
from tests.cluster.mortal import Mortals


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draw of each table the rows of this run; have the time of a test begin with the test: it may wait for its turn longer than it takes."""
    draws.draw(config, items)
    for item in items:
        if item.get_closest_marker("timeout") is None:  # also of tests beside these: what is cleared up at the end counts as the last one's
            item.add_marker(pytest.mark.timeout(180, func_only=True))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Give the cluster, raised if need be (it stays for the next run: `make cluster-down` ends it), from inside."""
    made = Cluster(programs.CACHE.parent / "cluster")
    with turns.turn():  # what somebody has stopped on purpose, is not started here
        made.up()
    for archive in (images.pause(), images.workspace()[0]):
        made.load(archive)
    made.join()
    return made


@pytest.fixture(scope="session")
def prepared(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of datasets and homes on the node, with the canary and the guards in place."""
    return prepare(cluster, tmp_path_factory.mktemp("volumes"))


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test run beside others, and one that is marked ``alone`` by itself."""
    with turns.turn(alone=request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(params=["gvisor", "runc"])
def bench(cluster: Cluster, prepared: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Give a broker's hands on the cluster, with each kind of isolation."""
    made = Bench(cluster, prepared, request.param)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def mortals(cluster: Cluster, prepared: Path) -> Iterator[Mortals]:
    """Give an installation whose workers come and go, without isolation, for a file."""
    made = Mortals(cluster, prepared, "runc")
    yield made
    made.close()


@pytest.fixture(scope="session")
def guarded(cluster: Cluster, prepared: Path) -> Iterator[Guarded]:
    """Give the worker's own hands on the cluster with the chart's guards, which are gone afterwards; one run at a time."""
    with (programs.CACHE.parent / "cluster.guards").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with turns.turn():
            made = Guarded(cluster, prepared)
        yield made
        with turns.turn():
            made.clear()
            made.remove()
