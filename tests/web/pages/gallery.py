"""A small site that serves every sample page with the real headers and static files, for browsers to look at."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from broker.web.headers import SecurityHeaders
from broker.web.pages import render
from tests.web.pages.samples import PAGES
from tests.web.pages.test_render import frame


def sample(request: Request) -> HTMLResponse:
    """Return one sample page."""
    name = request.path_params["name"]
    role, view = PAGES[name]
    return HTMLResponse(render.html(view, frame(role)))


def app() -> SecurityHeaders:
    """Return the site."""
    static = StaticFiles(directory=render.HERE / "static")
    return SecurityHeaders(Starlette(routes=[Route("/sample/{name}", sample), Mount("/static", static)]))
