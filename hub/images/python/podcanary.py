"""The canary of a cluster: listens where no tunnel may reach, answers whoever does, and remembers who it was.

`podcanary.py PORT KEYFILE`: TCP and UDP on PORT for everybody; the broker's sealed questions on PORT + 1.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import podline

MOST = 100_000  # addresses that are remembered; a canary that is flooded says so


class Canary:
    """Who came, by kind and address."""

    def __init__(self, port: int, key: bytes) -> None:
        """Listen."""
        self.seen: dict[str, Counter[str]] = {"tcp": Counter(), "udp": Counter()}
        self.stream = podline.listen(port)
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("0.0.0.0", port))  # noqa: S104 it is there to be found
        self.line = podline.Line(podline.listen(port + 1), key, "canary")

    def streams(self) -> None:
        """Answer connections, for ever."""
        while True:
            caller, (host, _) = self.stream.accept()
            self.note("tcp", host)
            with caller, contextlib.suppress(OSError):
                caller.settimeout(1)
                caller.sendall(b"canary\n")

    def packets(self) -> None:
        """Answer datagrams, for ever."""
        while True:
            _, (host, port) = self.datagrams.recvfrom(2048)
            self.note("udp", host)
            self.datagrams.sendto(b"canary", (host, port))

    def note(self, kind: str, host: str) -> None:
        """Remember a caller."""
        if len(self.seen[kind]) < MOST or host in self.seen[kind]:
            self.seen[kind][host] += 1

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Say how often each kind of contact came from one address."""
        return {kind: seen[body["address"]] for kind, seen in self.seen.items()}


def main() -> int:
    """Serve until killed."""
    podline.leave_at_once()
    canary = Canary(int(sys.argv[1]), Path(sys.argv[2]).read_bytes())
    for work in (canary.streams, canary.packets):
        threading.Thread(target=work, daemon=True).start()
    canary.line.run(canary.answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
