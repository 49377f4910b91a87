"""Every answer that leaves the gateway: human pages, problems for programs, and the headers that all of them carry."""

from __future__ import annotations

from html import escape
from typing import Final

import orjson
from aiohttp import web

from broker.gateway.settings import Settings
from sulku.errors import FaultError, SulkuError

PROBLEM: Final = "application/problem+json"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Only these leave; whatever else a header could carry stays inside.
OUTGOING: Final = _words(
    "content-type content-length cache-control location set-cookie etag last-modified accept-ranges connection upgrade "
    "sec-websocket-accept sec-websocket-protocol date retry-after clear-site-data access-control-allow-origin "
    "access-control-allow-credentials vary transfer-encoding allow"
)
TITLES: Final = {
    "tunnel-ended": "This tunnel has ended",
    "not-entered": "Enter this tunnel first",
    "bad-ticket": "This way in has been used or is too old",
    "broker-unavailable": "One moment: access cannot be checked now",
    "not-found": "There is no open tunnel here",
    "egress-budget": "The budget for what may be shown is used up",
    "workspace-unavailable": "The workspace does not answer",
    "not-allowed": "This is not possible in a tunnel",
    "path-not-canonical": "This address is not understood",
    "request-not-canonical": "This request is not understood",
}
PERMISSIONS: Final = ", ".join(
    f"{name}=()" for name in sorted(_words("camera microphone geolocation display-capture usb serial hid midi payment"))
)
CLEAR: Final = '"cache", "storage"'


def tunnel_policy(settings: Settings) -> str:
    """Return the Content-Security-Policy of everything on a tunnel's origin.

    Scripts come only from the trusted copy: markup that a kernel writes cannot run any, which also closes peer-to-peer
    connections, the one exit that no directive names. ``unsafe-eval`` is for JupyterLab's checks of settings.
    """
    return (
        "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-src 'none'; media-src 'self' data:; "
        f"form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors {settings.gate_origin}"
    )


def shell_policy(settings: Settings, label: str) -> str:
    """Return the policy of a page on the gate's origin: the one frame it may show is the tunnel of ``label``."""
    frame = settings.origin(label) if label else "'none'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        f"frame-src {frame}; connect-src {frame}; frame-ancestors 'none'"
    )


def seal(response: web.StreamResponse, policy: str) -> None:
    """Drop every header that is not known to be needed and add those that every answer carries."""
    for name in [name for name in response.headers if name.lower() not in OUTGOING]:
        del response.headers[name]
    response.headers.update(
        {
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-DNS-Prefetch-Control": "off",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": PERMISSIONS,
            "Server": "sulku",
        }
    )
    response.headers.setdefault("Cache-Control", "no-store")


def show_to_shell(response: web.StreamResponse, settings: Settings) -> None:
    """Let the shell page, which is of another origin, read ``response``."""
    response.headers["Access-Control-Allow-Origin"] = settings.gate_origin
    response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers["Vary"] = "Origin"


def page(title: str, body: str, *, status: int = 200) -> web.Response:
    """Return a small page for people; ``body`` is markup of ours."""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · sulku</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="/.sulku/static/gateway.svg"><link rel="stylesheet" href="/.sulku/static/gateway.css"></head>'
        f'<body><main class="card"><h1>{escape(title)}</h1>{body}</main></body></html>'
    )
    return web.Response(text=text, content_type="text/html", status=status)


def refusal(error: SulkuError, settings: Settings, *, html: bool, tunnel: str = "") -> web.Response:
    """Return ``error`` as a page with what to do next, or as a problem (RFC 9457)."""
    title = TITLES.get(error.code, "This was refused")
    if html:
        home = f"{settings.broker_url}/tunnels/{tunnel}" if tunnel else f"{settings.broker_url}/tunnels"
        body = (
            f"<p>{escape(_sentence(error))}</p><p>{escape(error.remedy())}</p>"
            f'<p><a href="{escape(home)}" target="_top" rel="noreferrer">Go to your tunnels</a></p>'
            f'<p class="code">{escape(error.code)}</p>'
        )
        answer = page(title, body, status=error.status)
    else:
        problem = {
            "type": "about:blank", "title": title, "status": error.status, "code": error.code, "detail": str(error),
            "remedy": error.remedy(), "message": f"{error}. {error.remedy()}",
        }  # fmt: skip
        answer = web.Response(body=orjson.dumps(problem), content_type=PROBLEM, status=error.status)
    if error.status == 410:
        answer.headers["Clear-Site-Data"] = CLEAR
    if isinstance(error, FaultError):
        answer.headers["Retry-After"] = "5"
    return answer


def _sentence(error: SulkuError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + "."


def json(value: object, *, status: int = 200) -> web.Response:
    """Return ``value`` as JSON."""
    return web.Response(body=orjson.dumps(value), content_type="application/json", status=status)
