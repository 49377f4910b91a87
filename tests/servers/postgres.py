"""A real PostgreSQL for the tests: its own cluster in a temporary folder, a unix socket only, a database a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString

import psycopg

USER: Final = "postgres"


def find(program: str) -> str:
    """Return the path of a program of PostgreSQL; distributions hide them from PATH."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / program).exists():
            return str(folder / program)
    found = shutil.which(program)
    assert found, f"these tests need PostgreSQL: there is no {program}"
    return found


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server; ``folder`` holds its data and its socket."""

    folder: Path

    def url(self, database: str, role: str = USER) -> str:
        """Return SQLAlchemy's address of a database."""
        return f"postgresql+psycopg://{role}@/{database}?host={self.folder}"

    def sql(self, statement: LiteralString, database: str = "postgres") -> None:
        """Run one statement as the owner of everything."""
        with psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True) as connection:
            connection.execute(statement)

    def psql(self, database: str, *arguments: str) -> str:
        """Run ``psql`` as the owner of everything."""
        command = [find("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", USER, *arguments, database]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start it and wait until it answers. No synchronous commits: no test here pulls the machine's plug."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c full_page_writes=off -c autovacuum=off -c max_connections=200 -c shared_buffers=32MB"
        self._control("start", "-l", str(self.folder / "log"), "-o", options)

    def _control(self, verb: str, *arguments: str) -> None:
        _as_postgres([find("pg_ctl"), verb, "-w", "-s", "-D", str(self.folder / "data"), *arguments])


@contextmanager
def running() -> Iterator[Cluster]:
    """Make a cluster and take it away again."""
    folder = Path(tempfile.mkdtemp(prefix="sulku-pg-"))  # short: a socket's path has at most 107 bytes
    cluster = Cluster(folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        data = str(folder / "data")
        _as_postgres([find("initdb"), "-D", data, "-U", USER, "--auth=trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8"])
        cluster.start()
        yield cluster
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(command: Sequence[str]) -> None:
    """Run a command as a user who is not root: PostgreSQL refuses to run as root."""
    prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", timeout=60)
