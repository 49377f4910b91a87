"""What would leave, shown without running any of it: tables as cells, texts as text, pictures from a second origin."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as AnyRequest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.flows import outputs
from broker.web.identity import Sealer
from broker.web.views import FileView, Sheet
from sulku.errors import NotFoundError, SulkuError
from sulku.outputs import Output
from sulku.people import Actor, Role
from sulku.ports import Ports
from sulku.releases import Release

ROWS: Final = 5000  # of a table that are shown: all that may leave
TEXT: Final = 20_000  # characters of a text that are shown
LIFE: Final = timedelta(minutes=10)  # of a picture's address
PURPOSE: Final = "preview"
RISE: Final = {"": 0, "note": 0, "review": 1, "block": 2}


def files(request: Request, ports: Ports, by: Actor, release: Release) -> tuple[FileView, ...]:
    """Return every file of a release with its findings and a preview; each preview that is shown is recorded."""
    blocked = {item.output: item.blocked for item in release.items}
    return tuple(_file(request, ports, by, one, blocked=blocked[one.id]) for one in outputs.listing(ports, by, release.id))


def _file(request: Request, ports: Ports, by: Actor, known: Output, *, blocked: bool | None) -> FileView:
    said = tuple(sorted(known.findings, key=lambda one: -RISE.get(str(one["severity"]), 0)))
    if by.role is Role.AUDITOR or not known.rebuilt:  # auditors see what was found, not what was in it
        return FileView(known, blocked, said)
    try:
        seen, data = outputs.preview(ports, by, known.id)
    except NotFoundError:  # not for this reader
        return FileView(known, blocked, said)
    if seen.media.startswith("text/csv"):
        return FileView(known, blocked, said, sheet(data, said))
    if seen.media.startswith("image/"):
        return FileView(known, blocked, said, picture=address(request, seen))
    return FileView(known, blocked, said, text=data.decode("utf-8", "replace")[:TEXT])


def sheet(data: bytes, findings: Iterable[Mapping[str, Any]]) -> Sheet:
    """Return a rebuilt table as cells, each with the gravest finding in it (rows counted below the header)."""
    marks: dict[tuple[int | None, int | None], str] = {}
    for one in findings:
        place = one.get("where") or {}
        spot = place.get("row"), place.get("column")
        if RISE.get(str(one["severity"]), 0) > RISE[marks.get(spot, "")]:
            marks[spot] = str(one["severity"])
    head, *rows = list(csv.reader(io.StringIO(data.decode("utf-8", "replace"), newline=""))) or [[]]
    marked = tuple((cell, marks.get((None, n), "")) for n, cell in enumerate(head))
    body = tuple(tuple((cell, marks.get((at, n), "")) for n, cell in enumerate(row)) for at, row in enumerate(rows[:ROWS]))
    return Sheet(marked, body, max(0, len(rows) - ROWS))


def address(request: Request, known: Output) -> str:
    """Return where the second origin shows a picture, for ten minutes, to whoever holds the address."""
    sealed = _seals(request.app).seal(PURPOSE, {"digest": known.rebuilt})
    return f"{request.app.state.settings.preview_origin}/preview/{sealed}"


def _seals(app: FastAPI) -> Sealer:
    """Return what seals addresses; the key is the one of cookies, and its purpose keeps the two apart."""
    if getattr(app.state, "sealer", None) is None:
        app.state.sealer = Sealer.from_file(app.state.settings.session_key, app.state.ports.clock)
    return app.state.sealer  # type: ignore[no-any-return]


def with_previews(app: FastAPI) -> ByHost:
    """Return ``app`` with the second origin beside it, told apart by the Host header."""
    return ByHost(app, app.state.settings.preview_origin.partition("://")[2], PreviewApp(app))


@dataclass(frozen=True, slots=True)
class PreviewApp:
    """The second origin: shows sealed pictures and nothing else, knows no cookie and runs no script."""

    app: FastAPI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        response = await run_in_threadpool(self._show, AnyRequest(scope))
        await response(scope, receive, send)

    def _show(self, request: AnyRequest) -> Response:
        headers = {
            "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Cache-Control": "no-store",
        }
        try:
            sealed = _seals(self.app).open(PURPOSE, request.url.path.removeprefix("/preview/"), LIFE)
            data = self.app.state.ports.blobs.get(str(sealed["digest"]))
        except SulkuError:
            return PlainTextResponse("This preview has ended. Load the page again.", 404, headers)
        return Response(data, media_type="image/png", headers=headers)


@dataclass(frozen=True, slots=True)
class ByHost:
    """Sends requests for one host (with its port) to another application; everything else to the first."""

    main: ASGIApp
    host: str
    other: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose by the Host header."""
        named = dict(scope.get("headers") or ()).get(b"host", b"").decode("latin-1")
        await (self.other if named == self.host else self.main)(scope, receive, send)
