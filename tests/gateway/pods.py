"""A network of pods that is the tests' own: addresses that are not loopback, and listeners there that remember what arrived."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from broker.adapters import linux

CLONE_NEWNET = 0x4000_0000
PODS, OTHERS = "10.244.0.0/24", "10.96.0.0/24"
POD, NEXT, POD6 = "10.244.0.7", "10.244.0.8", "fd00:10:244::7"
SERVICE, METADATA = "10.96.0.1", "169.254.169.254"


@contextmanager
def network() -> Iterator[None]:
    """Move this thread, and what it starts meanwhile, into a network of its own, with pods' addresses; needs root."""
    with Path("/proc/thread-self/ns/net").open() as before:
        linux.unshare(CLONE_NEWNET)
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in (POD, NEXT, SERVICE, METADATA, POD6):
                subprocess.run(["ip", "addr", "add", f"{address}/{128 if ':' in address else 32}", "dev", "lo"], check=True)
            yield
        finally:
            linux.setns(before.fileno(), CLONE_NEWNET)


class Pod:
    """Listens at one address and does with each caller what ``act`` says.

    Attributes:
        heard: What each caller sent, as far as it was read.
    """

    def __init__(self, host: str, port: int, act: Callable[[socket.socket, Pod], None]) -> None:
        self.heard: list[bytes] = []
        self.callers = 0
        self._act = act
        self.listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                return
            self.callers += 1
            threading.Thread(target=self._attend, args=(caller,), daemon=True).start()

    def _attend(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            caller.settimeout(10)
            self._act(caller, self)


def answering(answer: bytes, end: bytes = b"") -> Callable[[socket.socket, Pod], None]:
    """Read until ``end``, and then until the caller is silent for a moment; then answer."""

    def act(caller: socket.socket, pod: Pod) -> None:
        got = caller.recv(1 << 16)
        while not got.endswith(end):
            if not (more := caller.recv(1 << 16)):
                return
            got += more
        caller.settimeout(0.15)
        with suppress(TimeoutError):
            while more := caller.recv(1 << 16):
                got += more
        pod.heard.append(got)
        caller.settimeout(10)
        caller.sendall(answer)

    return act


def silent(caller: socket.socket, pod: Pod) -> None:
    """Read and never answer."""
    while more := caller.recv(1 << 16):
        pod.heard.append(more)


class Pods:
    """Every listener of a test."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def at(self, host: str, port: int, act: Callable[[socket.socket, Pod], None] | bytes) -> Pod:
        """Listen; bytes are what is answered."""
        pod = Pod(host, port, answering(act) if isinstance(act, bytes) else act)
        self._stack.callback(pod.listener.close)
        self._stack.callback(_wake, pod.listener)
        return pod

    def close(self) -> None:
        """Stop listening."""
        self._stack.close()


def _wake(listener: socket.socket) -> None:
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
