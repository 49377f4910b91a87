"""The door of the internal API by TCP: who holds the connection, by the certificate, may ask for this path."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from broker.web import problems
from sulku import links
from sulku.crypto.channels import names
from sulku.errors import WrongNeighbourError

PEER = "sulku.peer"  # in a scope: the names of the certificate behind the connection


class Named(H11Protocol):
    """HTTP/1.1 that tells the application who holds the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base has it
        """Keep the names that the handshake proved."""
        super().connection_made(transport)
        self.app = _Naming(self.app, names(transport.get_extra_info("peercert")))


class _Naming:
    def __init__(self, app: ASGIApp, peer: frozenset[str]) -> None:
        self.app = app
        self.peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = self.peer
        await self.app(scope, receive, send)


class Linked:
    """Passes on what a link lets the caller ask for; the token is asked for afterwards, besides."""

    def __init__(self, app: ASGIApp, to: str) -> None:
        """Wrap ``app``, the door of the part ``to``."""
        self.app = app
        self.to = to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it; a caller that nobody named may ask for nothing."""
        peer = scope.get(PEER, frozenset())
        if links.allowed(self.to, scope["path"], peer):
            await self.app(scope, receive, send)
            return
        error = WrongNeighbourError(f"{' and '.join(sorted(peer)) or 'nobody'} may not ask for this")
        await problems.answer(Request(scope), error)(scope, receive, send)
