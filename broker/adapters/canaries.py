"""Canaries: listeners of the host that a closed workspace cannot reach, and the proof from outside that they live."""

from __future__ import annotations

import os
import selectors
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sulku.closure import Control

ANSWER_SECONDS: Final = 2.0
BACKLOG: Final = 32  # connections that wait to be accepted


@dataclass(slots=True)
class _Canary:
    name: str
    family: int
    kind: int
    address: object  # what a client gives to connect()
    listener: socket.socket
    strangers: int = 0
    ours: set[object] = field(default_factory=set)


class Canaries:
    """TCP, UDP, abstract and path sockets, and a file; every contact that is not our own is counted."""

    def __init__(self, folder: Path, secret: str) -> None:
        """Listen; ``folder`` is host-only, ``secret`` names the abstract socket and is what each canary answers."""
        self._secret = secret.encode()
        self._selector = selectors.DefaultSelector()
        self._all: list[_Canary] = []
        self._file = folder / "canary"
        self._file.write_bytes(self._secret)
        self._path = folder / "canary.sock"
        self._listen("tcp4", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        self._listen("tcp-any", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.2", 0))
        self._listen("udp4", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self._listen("abstract", socket.AF_UNIX, socket.SOCK_STREAM, f"\0sulku-canary-{secret}")
        self._listen("path", socket.AF_UNIX, socket.SOCK_STREAM, str(self._path))
        try:
            self._listen("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))
            self._listen("udp6", socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 0))
        except OSError:
            pass  # a host without IPv6 has no such way out; the probe tries all the same

    def _listen(self, name: str, family: int, kind: int, address: object) -> None:
        listener = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if name == "path":  # by descriptor: the folder's own path may be longer than a socket address
            folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
            address = f"/proc/self/fd/{folder}/{self._path.name}"
        listener.bind(address)  # type: ignore[arg-type]
        if kind == socket.SOCK_STREAM:
            listener.listen(BACKLOG)
        if family != socket.AF_UNIX:
            address = listener.getsockname()[:2]
        self._all.append(_Canary(name, family, kind, address, listener))
        self._selector.register(listener, selectors.EVENT_READ, self._all[-1])

    def addresses(self) -> dict[str, object]:
        """Return what the probe is told: where each canary sits (host, port; names; paths)."""
        told: dict[str, object] = {one.name: one.address for one in self._all}
        return {**told, "path": str(self._path), "file": str(self._file)}

    def serve(self, seconds: float) -> None:
        """Answer whoever calls for at most ``seconds``; count the strangers."""
        for key, _ in self._selector.select(seconds):
            self._answer(key.data)

    def _answer(self, canary: _Canary) -> None:
        try:
            if canary.kind == socket.SOCK_DGRAM:
                asked, peer = canary.listener.recvfrom(64)
                canary.listener.sendto(self._secret, peer)
                stranger = asked != b"control " + self._secret
            else:
                caller, peer = canary.listener.accept()
                with caller:
                    caller.settimeout(0.2)
                    stranger = caller.recv(64) != b"control " + self._secret
                    caller.sendall(self._secret)
        except OSError:
            stranger = True
        canary.strangers += stranger

    def check(self) -> tuple[Control, ...]:
        """Call each canary from outside and return whether it answered, and how many strangers did call it.

        One that is dead gives ``alive=False``; nothing is raised.
        """
        for _ in range(BACKLOG):  # first who is waiting, so that a late contact counts
            self.serve(0)
        found = [Control(one.name, self._call(one), one.strangers) for one in self._all]
        alive = self._file.is_file() and self._file.read_bytes() == self._secret
        return (*found, Control("file", alive, 0))

    def _call(self, canary: _Canary) -> bool:
        until = time.monotonic() + ANSWER_SECONDS
        with socket.socket(canary.family, canary.kind) as caller:
            try:
                caller.settimeout(ANSWER_SECONDS)
                caller.connect(canary.address)  # type: ignore[arg-type]
                caller.sendall(b"control " + self._secret)
                caller.setblocking(False)
                while time.monotonic() < until:
                    self.serve(0.05)
                    try:
                        return caller.recv(64) == self._secret
                    except BlockingIOError:
                        continue
            except OSError:
                return False
        return False

    def close(self) -> None:
        """Stop listening and remove what lies in the folder."""
        for one in self._all:
            one.listener.close()
        self._selector.close()
        self._file.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
