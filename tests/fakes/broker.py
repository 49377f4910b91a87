"""A broker that serves the internal contract of the gateway and the hub, by default on a unix socket, and remembers what it was told."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from sulku import ids
from sulku.codec import stamp

Answer = tuple[int, dict[str, Any]]


@dataclass
class OpenTunnel:
    """What the fake keeps of one tunnel."""

    id: str
    socket: str
    token: str
    ends: datetime
    person: str = field(default_factory=lambda: ids.new("usr"))
    permit: str = field(default_factory=lambda: ids.new("per"))
    epoch: int = 1
    budget: int = 50_000_000
    leased: int = 0
    stopped: bool = False

    @property
    def label(self) -> str:
        """Its host label."""
        return ids.label(self.id)

    def record(self) -> dict[str, Any]:
        """Its row in the record."""
        return {
            "id": self.id, "host": self.label, "epoch": self.epoch, "person": self.person, "permit": self.permit,
            "permit_title": "Survival after heart attack", "deadline": stamp(self.ends), "address": self.socket,
            "token": self.token, "lab": "/lab",
        }  # fmt: skip


class FakeBroker:
    """Serve the contract from plain attributes that a test may change at any time."""

    def __init__(self, folder: Path, gateway_token: str, hub_token: str = "hub", *, port: int = 0, channel: ssl.SSLContext | None = None) -> None:
        self.socket = folder / "broker.sock"
        self.port, self.channel = port, channel
        self.tokens = {f"Bearer {gateway_token}": "gate", f"Bearer {hub_token}": "hub"}
        self.tunnels: dict[str, OpenTunnel] = {}
        self.tickets: dict[str, dict[str, Any]] = {}
        self.reports: list[dict[str, Any]] = []
        self.outputs: dict[str, bytes] = {}
        self.submissions: list[dict[str, Any]] = []
        self.refuse_submission: dict[str, str] | None = None
        self.refuse_start: tuple[int, dict[str, str]] | None = None
        self.starts: list[str] = []
        self._server: socketserver.TCPServer | None = None
        self._leasing = threading.Lock()

    def open(self, socket: Path | str, token: str, *, seconds: float = 3600, **more: Any) -> OpenTunnel:
        """Put a tunnel into the record."""
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        tunnel = OpenTunnel(ids.new("tun"), str(socket), token, ends, **more)
        self.tunnels[tunnel.id] = tunnel
        return tunnel

    def close(self, tunnel: OpenTunnel) -> None:
        """Take a tunnel out of the record."""
        del self.tunnels[tunnel.id]

    def ticket(self, tunnel: OpenTunnel, nonce_hash: str, /, **more: Any) -> str:
        """Give a ticket as the broker's page does."""
        ticket = secrets.token_urlsafe(32)
        bound = {"tunnel": tunnel.id, "epoch": tunnel.epoch, "person": tunnel.person, "name": "Aino Virtanen"}
        self.tickets[ticket] = {"nonce_hash": nonce_hash, **bound, **more}
        return ticket

    def start(self) -> None:
        """Listen."""
        self.socket.unlink(missing_ok=True)
        self._server = _Linked(self.port, self.channel, _handler(self)) if self.channel else _Server(str(self.socket), _handler(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Be away: nothing listens any more."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.socket.unlink(missing_ok=True)

    @contextlib.contextmanager
    def pages(self, gateway_origin: Callable[[OpenTunnel], str]) -> Iterator[str]:
        """Serve the one page that a browser needs to enter, ``/enter/{tunnel}``; yield its address."""
        broker = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                tunnel = broker.tunnels.get(url.path.rsplit("/", 1)[1])
                if tunnel and url.path.startswith("/enter/"):
                    ticket = broker.ticket(tunnel, parse_qs(url.query)["nonce_hash"][0])
                    self.send_response(303)
                    self.send_header("Location", f"{gateway_origin(tunnel)}/.sulku/enter?ticket={ticket}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    def told(self, tunnel: OpenTunnel, kind: str) -> list[dict[str, Any]]:
        """Return the reports of one kind on one tunnel."""
        return [one for one in self.reports if one["tunnel"] == tunnel.id and one["kind"] == kind]

    def answer(self, service: str, method: str, target: str, body: bytes) -> Answer:
        """Answer one request."""
        url = urlsplit(target)
        parts = url.path.strip("/").split("/")[1:]
        asked = json.loads(body) if body and not url.path.endswith("/outputs") else {}
        if parts[0] != service:
            return _no(403, "wrong-service")
        match method, parts[1:]:
            case "GET", ["tunnels"]:
                return 200, {"tunnels": [tunnel.record() for tunnel in list(self.tunnels.values())]}
            case "POST", ["tickets", "redeem"]:
                return self._redeem(asked)
            case "POST", ["leases"]:
                return self._lease(asked)
            case "POST", ["reports"]:
                self.reports += asked["reports"]
                return 204, {}
            case "POST", ["outputs"]:
                name = ids.new("out")
                self.outputs[name] = body
                return 201, {"output": name, "sha256": "", **{k: v[0] for k, v in parse_qs(url.query).items()}}
            case "POST", ["submissions"]:
                if self.refuse_submission:
                    return 422, self.refuse_submission
                self.submissions.append(asked)
                return 201, {"release": ids.new("rel")}
            case _, ["tunnels", tunnel, *rest]:
                return self._hub(tunnel, rest)
            case _:
                return _no(404, "not-found")

    def _redeem(self, asked: dict[str, Any]) -> Answer:
        found = self.tickets.pop(asked["ticket"], None)
        if not found or found.pop("nonce_hash") != asked["nonce_hash"] or found["tunnel"] != asked["tunnel"]:
            return _no(403, "bad-ticket")
        return 200, found

    def _lease(self, asked: dict[str, Any]) -> Answer:
        tunnel = self.tunnels.get(asked["tunnel"])
        if tunnel is None or tunnel.epoch != asked["epoch"]:
            return _no(409, "stale")
        with self._leasing:
            granted = min(asked["want"], tunnel.budget - tunnel.leased)
            tunnel.leased += granted
        return 200, {"granted": granted, "left": tunnel.budget - tunnel.leased, "total": tunnel.budget}

    def _hub(self, identifier: str, rest: list[str]) -> Answer:
        tunnel = self.tunnels.get(identifier)
        if tunnel is None:
            return _no(404, "not-found")
        if rest == ["start"]:
            self.starts.append(identifier)
            if self.refuse_start:
                return self.refuse_start
            tunnel.stopped = False
            return 200, {"url": "http+unix://" + quote(tunnel.socket, safe="") if tunnel.socket.startswith("/") else tunnel.socket}
        if rest == ["stop"]:
            tunnel.stopped = True
        return 200, {"running": not tunnel.stopped}


def _no(status: int, code: str) -> Answer:
    return status, {"type": "about:blank", "status": status, "code": code, "detail": code, "remedy": "Ask."}


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class _Linked(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """By TCP with mutual TLS."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, port: int, channel: ssl.SSLContext, handler: type[BaseHTTPRequestHandler]) -> None:
        self.channel = channel
        super().__init__(("127.0.0.1", port), handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(10)
        return self.channel.wrap_socket(connection, server_side=True), address


def _handler(broker: FakeBroker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            service = broker.tokens.get(self.headers.get("Authorization", ""))
            if broker._server is None:  # a connection that outlived the listener
                self.close_connection = True
                return
            status, value = broker.answer(service, self.command, self.path, body) if service else _no(401, "who")
            data = b"" if status == 204 else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _any

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

    return Handler
