"""A real Open Policy Agent for tests: built once from pinned Go modules, started on a free port of loopback."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.cluster import programs

_LISTENING: Final = "0A"  # TCP_LISTEN in /proc/net/tcp


def binary() -> Path:
    """Return the program, built if it is not there yet (about a minute on two cores, once a machine)."""
    return programs.program("opa")


def refuses(*words: str) -> str:
    """Run a server that is to end at once, and return what it says; AssertionError if it serves."""
    done = subprocess.run(_command(words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def _command(words: tuple[str, ...]) -> list[str]:
    return [str(binary()), "run", "--server", "--addr", "127.0.0.1:0", "--log-level", "error", "--skip-version-check", *words]


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """Run a server, without rules unless ``words`` name some, and yield its address; it ends with the block."""
    server = subprocess.Popen(_command(words), stdin=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{_port(server)}"
    finally:
        server.terminate()
        server.wait(60)


def _port(server: subprocess.Popen[bytes]) -> int:
    """Return the port that ``server`` listens on, from the kernel: it says only that it was given 0."""
    for _ in range(2400):
        assert server.poll() is None, "the policy server ended"
        own = set()
        for entry in Path(f"/proc/{server.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                own.add(str(entry.readlink()))
        for line in Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENING and f"socket:[{inode}]" in own:
                return int(local.partition(":")[2], 16)
        time.sleep(0.025)
    raise AssertionError("the policy server does not listen")
