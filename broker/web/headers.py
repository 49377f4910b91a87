"""What every response says to the browser, and which requests are not even looked at: other sites' changes, bodies too large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.web import problems
from sulku.errors import CrossSiteError, TooLargeError

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=(), clipboard-read=()",
    "Cache-Control": "no-store",  # pages are personal; static files say otherwise themselves
}


def content_security_policy(*, form_action: Sequence[str] = (), images: Sequence[str] = ()) -> str:
    """Return the policy for our own pages: our files, nothing inline, forms to us and to ``form_action`` only."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            " ".join(("img-src 'self'", *images)),
            "font-src 'self'",
            "connect-src 'self'",
            " ".join(("form-action 'self'", *form_action)),
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


class SecurityHeaders:
    """Adds the headers that a handler did not set itself."""

    def __init__(self, app: ASGIApp, *, form_action: Sequence[str] = (), images: Sequence[str] = (), secure: bool = False) -> None:
        """Keep the policy; ``secure`` adds HSTS, ``form_action`` names where a form may end after redirects."""
        self.app = app
        self.headers = {**ALWAYS, "Content-Security-Policy": content_security_policy(form_action=form_action, images=images)}
        if secure:
            self.headers["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to what comes back."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, adding if scope["type"] == "http" else send)


class Guard:
    """Refuses changes that another site's page asks for, and bodies larger than ``most`` bytes.

    No token travels in forms: browsers say themselves where a request comes from (``Sec-Fetch-Site``, else ``Origin``). A
    request with a bearer token is exempt, as no page of another site can make a browser send one.
    """

    def __init__(self, app: ASGIApp, *, most: int, origin: str | None) -> None:
        """Compare with ``origin``, our own; ``None`` on a socket that no browser reaches."""
        self.app = app
        self.most = most
        self.origin = origin.rstrip("/") if origin else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            if scope["method"] not in SAFE and self.origin is not None:
                require_own_page(headers, self.origin)
            body = await self._read(headers, receive)
        except (CrossSiteError, TooLargeError) as error:
            await problems.answer(Request(scope), error)(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        """Return the whole body; bodies here are small, and read once they can be counted in one place."""
        declared = headers.get("content-length", "0")
        too_large = TooLargeError(f"a body has at most {self.most} bytes here")
        if not declared.isdecimal() or int(declared) > self.most:
            raise too_large
        if declared == "0" and "transfer-encoding" not in headers:
            return b""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.most:
                raise too_large
            if not message.get("more_body"):
                return bytes(body)


def require_own_page(headers: Headers, origin: str) -> None:
    """Require that a change was asked for by our own page, or by no browser at all.

    Raises:
        CrossSiteError: Another site asked, or a cookie came without a word about where from.
    """
    if headers.get("authorization", "").lower().startswith("bearer "):
        return
    site, said = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        own = site == "same-origin"
    elif said is not None:
        own = said == origin
    else:
        own = "cookie" not in headers
    if not own:
        raise CrossSiteError("a page of another site asked for this change")


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def once() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


class OwnFiles(StaticFiles):
    """The pages' own files: the same for everybody, so browsers may keep them for an hour."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the file."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response
