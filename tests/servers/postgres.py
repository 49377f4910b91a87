"""A real PostgreSQL for the tests: its own cluster in a temporary folder, a unix socket only, a database a test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
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


@dataclass(slots=True)
class Cluster:
    """A server, which ends with the process that started it; ``folder`` holds its data and its socket."""

    folder: Path
    _server: subprocess.Popen[bytes] | None = None

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
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(60)
            self._server = None

    def start(self) -> None:
        """Start it and wait until it answers. No synchronous commits: no test here pulls the machine's plug."""
        settings = ("listen_addresses=", "fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=200", "shared_buffers=32MB")
        options = [word for setting in settings for word in ("-c", setting)]
        command = [find("postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *options]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(_as_postgres(command), stdout=log, stderr=log, cwd="/")
        for _ in range(600):
            assert self._server.poll() is None, (self.folder / "log").read_text()
            try:
                self.sql("SELECT 1")
            except psycopg.OperationalError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("PostgreSQL does not answer")


@contextmanager
def running() -> Iterator[Cluster]:
    """Make a cluster and take it away again."""
    folder = Path(tempfile.mkdtemp(prefix="sulku-pg-"))  # short: a socket's path has at most 107 bytes
    cluster = Cluster(folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        data = str(folder / "data")
        made = [find("initdb"), "-D", data, "-U", USER, "--auth=trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8"]
        subprocess.run(_as_postgres(made), check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=120)
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(command: Sequence[str]) -> list[str]:
    """Return a command that runs as a user who is not root (PostgreSQL refuses root) and dies with its parent."""
    user = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=QUIT", *user, *command]
