"""Every test here runs on both databases, each on one of its own: SQLite in a file, PostgreSQL in a cluster of this run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.store import migrate
from broker.store.store import SqlStore
from broker.store.unit import Database
from sulku import ids
from tests.servers import postgres

TEMPLATE = "sulku_template"


def migrated(url: str) -> None:
    database = Database(url)
    migrate.upgrade(database)
    database.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.running() as running:
        running.sql(f"CREATE DATABASE {TEMPLATE}")
        migrated(running.url(TEMPLATE))
        yield running


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "broker.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "broker.db")
        yield f"sqlite:///{tmp_path / 'broker.db'}"
        return
    yield from fresh_postgres(request.getfixturevalue("cluster"))


def fresh_postgres(cluster: postgres.Cluster) -> Iterator[str]:
    name = ids.new("led")
    cluster.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield cluster.url(name)
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[SqlStore]:
    made = SqlStore(url, tmp_path / "spool", timeout=30)
    yield made
    made.close()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "broker.db")
    return f"sqlite:///{tmp_path / 'broker.db'}"


@pytest.fixture
def postgres_url(cluster: postgres.Cluster) -> Iterator[str]:
    yield from fresh_postgres(cluster)
