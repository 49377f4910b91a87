"""The real things that the gateway's tests stand on: a gateway process, a Jupyter server, a browser's manners."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import websocket

from tests.fakes.broker import FakeBroker, OpenTunnel
from tests.soon import eventually

ENVIRONMENT = Path("~/.cache/sulku/workspace").expanduser()
ROOT = Path(__file__).parents[2]
V1 = "v1.kernel.websocket.jupyter.org"


@contextlib.contextmanager
def process(*arguments: str, cwd: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of its own session and end all of it."""
    log = (cwd / f"{uuid.uuid4().hex}.log").open("wb")
    running = subprocess.Popen(arguments, cwd=cwd, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        log.close()


def over_socket(place: Path | str | int, method: str, path: str, body: Any, authorization: str) -> tuple[int, Any]:
    """Ask a server on a unix socket, or on a port; return (status, JSON value or text)."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_INET if isinstance(place, int) else socket.AF_UNIX)
    try:
        connection.sock.settimeout(30)
        connection.sock.connect(("127.0.0.1", place) if isinstance(place, int) else str(place))
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Authorization": authorization})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    kind = answer.headers.get("Content-Type", "")
    return answer.status, json.loads(text) if text and "json" in kind else text.decode()


class Workspace:
    """A plain Jupyter server on a unix socket, as the sandbox would run it; with a ``port``, by TCP, as a pod would."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.home, self.socket, self.token = folder / "home", folder / "ws.sock", uuid.uuid4().hex
        self.address = f"http://127.0.0.1:{port}" if port else str(self.socket)
        self.port = port
        self.home.mkdir(parents=True)

    @contextlib.contextmanager
    def run(self) -> Iterator[Workspace]:
        """Serve until the block ends."""
        if not ENVIRONMENT.is_dir():
            raise RuntimeError(f"no workspace environment in {ENVIRONMENT}; `make setup` builds it")
        where = [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"] if self.port else [f"--ServerApp.sock={self.socket}"]
        arguments = [
            str(ENVIRONMENT / "bin/python"), "-m", "jupyterlab", "--allow-root", "--no-browser", *where,
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.home}", "--KernelManager.transport=ipc",
            "--ServerApp.allow_remote_access=True", "--ServerApp.terminals_enabled=False",
        ]  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="ws") as short:  # kernels' sockets: a path has 108 bytes
            places = {"HOME": str(self.home), "JUPYTER_RUNTIME_DIR": short, "MPLBACKEND": ""}
            with process(*arguments, cwd=self.home.parent, **places):
                eventually(self.answers)
                yield self

    def answers(self) -> bool:
        """Whether the server answers."""
        with contextlib.suppress(OSError):
            return self.ask("GET", "/api/status")[0] == 200
        return False

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask the server directly, past the gateway."""
        return over_socket(self.port or self.socket, method, path, body, f"token {self.token}")


class GatewayProcess:
    """A gateway in a process of its own."""

    def __init__(self, folder: Path, broker: FakeBroker, **settings: Any) -> None:
        self.folder, self.broker, self.port = folder, broker, 0
        self.control_token = "control-token"
        for name, token in (("gateway.token", "gateway-token"), ("control.token", self.control_token)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(token)
        self.settings = {
            "port": 0, "domain": "sulku.localhost:0", "broker_url": "http://localhost:9999",
            "broker_address": f"unix:{broker.socket}", "broker_token_file": str(folder / "gateway.token"),
            "control_address": f"unix:{folder / 'gateway.sock'}", "control_token_file": str(folder / "control.token"),
            "state_dir": str(folder / "state"), "lab_prefix": str(ENVIRONMENT), "slice_bytes": 262_144,
            "ready_file": str(folder / "ready"), **settings,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.websockets: list[websocket.WebSocket] = []

    @contextlib.contextmanager
    def run(self) -> Iterator[GatewayProcess]:
        """Serve until the block ends; a second run uses the same port."""
        config, ready = self.folder / "gateway.json", self.folder / "ready"
        ready.unlink(missing_ok=True)
        config.write_text(json.dumps(self.settings | {"port": self.port}))
        arguments = [sys.executable, "-m", "broker.gateway", "--config", str(config)]
        with process(*arguments, cwd=self.folder, PYTHONPATH=f"{ROOT / 'src'}:{ROOT}") as self.process:
            eventually(lambda: ready.exists() and ready.read_text())
            self.port = int(ready.read_text())
            eventually(lambda: self.control("GET", "/control/health")[1]["snapshot_age"] < 100)
            yield self
            self.close_websockets()

    def said(self) -> str:
        """Return what it has logged."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    @property
    def domain(self) -> str:
        """The domain below which tunnels have their origins."""
        return f"sulku.localhost:{self.port}"

    def control(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """Ask the control socket."""
        shown = self.control_token if token is None else token
        return over_socket(self.settings["control_address"].removeprefix("unix:"), method, path, body, f"Bearer {shown}")

    def close_websockets(self) -> None:
        """Close what a test left open."""
        for one in self.websockets:
            one.shutdown()  # type: ignore[no-untyped-call]
        self.websockets.clear()

    def cut(self, tunnel: OpenTunnel) -> int:
        """Have every socket of a tunnel closed, as the broker does."""
        status, answer = self.control("POST", "/control/cut", {"tunnel": tunnel.id, "reason": "closed"})
        assert status == 200
        return int(answer["sockets"])

    def raw(self, data: bytes) -> bytes:
        """Send bytes to the public port and return what comes back, until nothing has come for a second."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            got = b""
            with contextlib.suppress(ConnectionResetError, TimeoutError):
                while more := connection.recv(65536):
                    got += more
                    connection.settimeout(1)
        return got

    def browser(self, tunnel: OpenTunnel) -> Browser:
        """Return a browser that has not entered yet."""
        return Browser(self, tunnel)

    def enter(self, tunnel: OpenTunnel) -> Browser:
        """Return a browser that has entered by a ticket."""
        browser = Browser(self, tunnel)
        assert browser.enter().status == 303, "the ticket was not taken"
        return browser


class Reply:
    """What came back."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def json(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a problem."""
        return str(self.json["code"])


class Browser:
    """One browser's cookies for one tunnel's origin."""

    def __init__(self, gateway: GatewayProcess, tunnel: OpenTunnel) -> None:
        self.gateway, self.tunnel = gateway, tunnel
        self.cookies: dict[str, str] = {}

    @property
    def host(self) -> str:
        """The tunnel's host."""
        return f"{self.tunnel.label}.{self.gateway.domain}"

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Reply:
        """Ask the gateway; ``target`` goes onto the wire as it is."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Host": self.host, "Cookie": self.cookie, "Content-Length": str(len(data))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=30)) as connection:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            connection._validate_path = lambda _: None  # type: ignore[attr-defined]
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            for line in answer.headers.get_all("Set-Cookie") or ():
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value.strip('"')
            return Reply(answer)

    def get(self, target: str, **headers: str) -> Reply:
        """GET ``target``."""
        return self.ask("GET", target, **headers)

    @property
    def cookie(self) -> str:
        """The Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items() if value)

    @property
    def session(self) -> str:
        """The session cookie's value."""
        return self.cookies["sulku-session"]

    def nonce_hash(self) -> str:
        """Begin to enter and return the hash that the broker gets."""
        begun = self.patiently(lambda: self.get("/.sulku/enter"))
        assert begun.status == 303, begun.body
        return parse_qs(urlsplit(begun.headers["Location"]).query)["nonce_hash"][0]

    def enter(self, **more: Any) -> Reply:
        """Enter by a ticket of the broker; by another one while nobody has time for it."""

        def by_ticket() -> Reply:
            nonce_hash = self.nonce_hash()
            assert nonce_hash == hashlib.sha256(self.cookies["sulku-nonce"].encode()).hexdigest()
            ticket = self.gateway.broker.ticket(self.tunnel, nonce_hash, **more)
            return self.get(f"/.sulku/enter?ticket={ticket}")

        return self.patiently(by_ticket)

    @staticmethod
    def patiently(ask: Callable[[], Reply]) -> Reply:
        """Return the first answer that is not 503: the machine may be everybody's, and the broker of a test is one of its threads."""
        return cast(Reply, eventually(lambda: (answer := ask()).status != 503 and answer))

    def kernel(self) -> str:
        """Start a kernel and return its id."""
        started = self.patiently(lambda: self.ask("POST", "/api/kernels", {"name": "python3"}))
        assert started.status == 201, started.body
        return str(started.json["id"])

    def channels(self, kernel: str, *, protocol: str | None = V1, **options: Any) -> Channels:
        """Open the kernel's websocket."""
        return Channels(self, kernel, protocol, **options)


class Channels:
    """A kernel's websocket, spoken as JupyterLab speaks it."""

    def __init__(self, browser: Browser, kernel: str, protocol: str | None, **options: Any) -> None:
        self.session, self.protocol = uuid.uuid4().hex, protocol
        self.ws = websocket.create_connection(
            f"ws://127.0.0.1:{browser.gateway.port}/api/kernels/{kernel}/channels?session_id={self.session}",
            host=browser.host, cookie=options.pop("cookie", browser.cookie), timeout=30,
            origin=options.pop("origin", f"http://{browser.host}"), subprotocols=[protocol] if protocol else None,
            **options,
        )  # fmt: skip
        browser.gateway.websockets.append(self.ws)

    def send(self, kind: str, content: dict[str, Any], *, channel: str = "shell", buffers: tuple[bytes, ...] = ()) -> str:
        """Send a message and return its id."""
        name = uuid.uuid4().hex
        header = {
            "msg_id": name, "msg_type": kind, "session": self.session, "username": "", "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        if self.protocol:
            self.ws.send_binary(frame(channel, header, {}, {}, content, *buffers))
        else:
            message = {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}
            self.ws.send(json.dumps(message | {"buffers": []}))
        return name

    def execute(self, code: str, **content: Any) -> str:
        """Ask for code to be run and return the message's id."""
        return self.send("execute_request", {"code": code, "silent": False, "store_history": True, "allow_stdin": False,
                                             "user_expressions": {}, **content})  # fmt: skip

    def run(self, code: str) -> list[dict[str, Any]]:
        """Run ``code`` and return every message about it until its reply and the idle state are there."""
        name = self.execute(code)
        got: list[tuple[dict[str, Any], str]] = []
        while not {"execute_reply", "idle"} <= {what for _, what in got}:
            message = self.receive()
            if message["parent_header"].get("msg_id") == name:
                kind = message["header"]["msg_type"]
                got.append((message, message["content"]["execution_state"] if kind == "status" else kind))
        return [message for message, _ in got]

    def text(self, code: str) -> str:
        """Run ``code`` and return what it printed."""
        return "".join(one["content"].get("text", "") for one in self.run(code) if one["header"]["msg_type"] == "stream")

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        data = self.ws.recv()
        if isinstance(data, str):
            return dict(json.loads(data))
        count = int.from_bytes(data[:8], "little")
        offsets = [int.from_bytes(data[8 * n : 8 * n + 8], "little") for n in range(1, count + 1)]
        parts = [data[start:end] for start, end in pairwise(offsets)]
        names = ("header", "parent_header", "metadata", "content")
        return {"channel": parts[0].decode(), "buffers": parts[5:]} | {
            name: json.loads(part) for name, part in zip(names, parts[1:5], strict=True)
        }

    def closing(self) -> tuple[int, str]:
        """Read until the socket is closed and return (code, reason)."""
        while True:
            opcode, data = self.ws.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big"), data[2:].decode()


def frame(channel: str, *parts: Any) -> bytes:
    """Return a frame of the kernel protocol."""
    encoded = [channel.encode(), *(part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts)]
    offsets = [8 * (len(encoded) + 2)]
    for part in encoded:
        offsets.append(offsets[-1] + len(part))
    return b"".join([*(n.to_bytes(8, "little") for n in (len(offsets), *offsets)), *encoded])
