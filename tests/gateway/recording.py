"""A workspace that writes down, byte for byte, what arrives; and a caller that writes what no HTTP library would."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.gateway.pods import Pod, Pods
from tests.gateway.rig import V1, Browser

POLL = "GET /api/contents/outbox?type=directory&content=1 HTTP/1.1"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Arrived:
    """One request as it came in.

    Attributes:
        connection: Which of the connections to the workspace it came by.
    """

    connection: int
    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def token(self) -> str:
        """The token that it showed."""
        (shown,) = (value for name, value in self.headers if name.lower() == "authorization")
        return shown.removeprefix("token ")


class Recording:
    """A workspace by TCP that reads requests strictly, keeps connections open, and accepts websockets."""

    def __init__(self, pods: Pods, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Arrived] = []
        self.frames: list[bytes] = []
        self.ended = 0
        self.pod = pods.at(host, port, self._attend)
        self.address = f"http://{host}:{self.pod.port}"

    def take(self, *, polls: bool = False) -> list[Arrived]:
        """Return what arrived since the last call; without the gateway's own looks into the outbox, unless asked for."""
        taken, self.requests = self.requests, []
        return [one for one in taken if polls or one.line != POLL]

    def _attend(self, caller: socket.socket, pod: Pod) -> None:
        connection, buffer = pod.callers, b""
        caller.settimeout(60)
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    if not (more := caller.recv(65536)):
                        return None
                    buffer += more
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                line, *rows = head.decode("latin-1").split("\r\n")
                headers = tuple((name, value) for name, _, value in (row.partition(": ") for row in rows))
                size = int({name.lower(): value for name, value in headers}.get("content-length", "0"))
                while len(buffer) < size:
                    if not (more := caller.recv(65536)):
                        return None
                    buffer += more
                body, buffer = buffer[:size], buffer[size:]
                self.requests.append(Arrived(connection, line, headers, body))
                if "websocket" in dict(headers).get("Upgrade", ""):
                    return self._websocket(caller, dict(headers)["Sec-WebSocket-Key"], buffer)
                caller.sendall(ANSWER)
        finally:
            self.ended += 1

    def _websocket(self, caller: socket.socket, key: str, early: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        words = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {V1}\r\n\r\n"
        caller.sendall(words.encode())
        self.frames.append(early)
        while more := caller.recv(65536):
            self.frames.append(more)


@contextmanager
def recording() -> Iterator[Recording]:
    """Listen while the block lasts."""
    pods = Pods()
    try:
        yield Recording(pods)
    finally:
        pods.close()


class Raw:
    """Somebody who has entered, and writes bytes. What is sent last asks for a file of the gateway's own and for the end."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.host = browser.host
        self.own = f"Host: {browser.host}\r\nCookie: {browser.cookie}\r\n"

    def request(self, method: str = "GET", target: str = "/api/kernels", more: str = "", body: str = "") -> str:
        """Return a request that is whole unless it is given what is not."""
        return f"{method} {target} HTTP/1.1\r\n{self.own}{more}\r\n{body}"

    def send(self, data: str | bytes) -> list[int]:
        """Return the status of each answer until the gateway closes the connection; fail if it does not."""
        last = f"GET /.sulku/static/gateway.svg HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode()
        got = b""
        with socket.create_connection(("127.0.0.1", self.browser.gateway.port), timeout=15) as connection:
            with suppress(ConnectionError):
                connection.sendall((data if isinstance(data, bytes) else data.encode("latin-1")) + last)
            with suppress(ConnectionResetError):
                while more := connection.recv(65536):
                    got += more
        return [int(status) for status in re.findall(rb"(?:\A|\r\n\r\n|[^\r\n]*)HTTP/1\.[01] (\d\d\d) ", got)]
