"""A real Redis for the tests: a unix socket in a temporary folder, nothing kept."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running() -> Iterator[str]:
    """Start a server and yield its address, ``redis+socket:///path``."""
    program = shutil.which("redis-server")
    assert program, "these tests need Redis: there is no redis-server"
    folder = Path(tempfile.mkdtemp(prefix="sulku-redis-"))
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(path, server)
        yield f"redis+socket://{path}"
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(path: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert server.poll() is None, "redis-server ended"
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise AssertionError("redis-server does not answer")
