"""Ports that a test may give to a server which it starts later: outside of those that the kernel hands out meanwhile."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

LOWEST: Final = 10_100  # browsers do not go to 10080
BELOW: Final = max(32_768, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]))  # what the kernel hands out begins there
_ours: Final = random.SystemRandom()  # what a test's seed decides would be the same in two runs side by side
_given: Final[set[int]] = set()


def free_port() -> int:
    """Return a port of loopback on which nobody listens, another one each time.

    One below what the kernel hands out to callers and to whoever asks for any port: between this answer and the start
    of the server nobody else gets it.
    """
    while True:
        port = _ours.randrange(LOWEST, BELOW)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
