"""The development issuer: a small OpenID Connect issuer that proves nothing, says so on every page, and never runs in production."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.settings import Settings
from broker.web.headers import Guard, SecurityHeaders
from broker.web.issuing import GrantRefusedError, Issuer, StandIn
from sulku.ports import Clock

MOST_BODY: Final = 64 * 1024  # bytes
_FOLDER: Final = Path(__file__).parent / "issuer_pages"
_PAGES: Final = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True)
_NO_STORE: Final = {"Cache-Control": "no-store"}
_FOR_PROGRAMS: Final = frozenset({"/token", "/device_authorization", "/userinfo"})


def create_issuer(settings: Settings, people: Callable[[], Iterable[StandIn]], clock: Clock) -> Guard:
    """Return the issuer as an ASGI application, to be served on a port of its own.

    Args:
        people: The development people, read anew at each page.

    Raises:
        ConfigurationError: In production.
    """
    issuer = Issuer(settings, people, clock)
    doors = _Doors(issuer)
    routes = [
        Route("/", doors.nothing),
        Route("/.well-known/openid-configuration", doors.discovery),
        Route("/keys", doors.keys),
        Route("/style.css", doors.style),
        Route("/authorize", doors.authorize),
        Route("/authorize", doors.authorized, methods=["POST"]),
        Route("/device", doors.device),
        Route("/device", doors.device_chosen, methods=["POST"]),
        Route("/device_authorization", doors.device_authorization, methods=["POST"]),
        Route("/token", doors.token, methods=["POST"]),
        Route("/userinfo", doors.user_info),
        Route("/end", doors.end),
    ]
    app = Starlette(routes=routes, exception_handlers={GrantRefusedError: _refused})
    framed = SecurityHeaders(app, form_action=(settings.url.rstrip("/"), "http://127.0.0.1:*"))
    return Guard(framed, most=MOST_BODY, origin=issuer.address)


class _Doors:
    """The issuer's addresses."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer

    async def nothing(self, _: Request) -> Response:
        return _page("done.html", let_in=None)

    async def discovery(self, _: Request) -> Response:
        return JSONResponse(self.issuer.discovery())

    async def keys(self, _: Request) -> Response:
        return JSONResponse(self.issuer.keys())

    async def style(self, _: Request) -> Response:
        return Response((_FOLDER / "style.css").read_bytes(), media_type="text/css")

    async def authorize(self, request: Request) -> Response:
        asked = self.issuer.check(request.query_params)
        if request.query_params.get("prompt") == "none":
            answer = {"error": "login_required", "state": asked["state"], "iss": self.issuer.address}
            return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)
        return await self._choose("/authorize", urlsplit(asked["redirect_uri"]).netloc, asked)

    async def authorized(self, request: Request) -> Response:
        form = await _form(request)
        return RedirectResponse(await run_in_threadpool(self.issuer.grant, form, form.get("sub", "")), 303)

    async def device(self, request: Request) -> Response:
        code = request.query_params.get("user_code", "")
        if not code:
            return _page("code.html")
        self.issuer.waiting(code)
        return await self._choose("/device", "the command line", {"user_code": code}, code)

    async def device_chosen(self, request: Request) -> Response:
        form = await _form(request)
        await run_in_threadpool(self.issuer.choose, form.get("user_code", ""), form.get("sub", ""))
        return _page("done.html", let_in=bool(form.get("sub")))

    async def _choose(self, action: str, to: str, kept: Mapping[str, str], code: str = "") -> Response:
        everyone = await run_in_threadpool(lambda: list(self.issuer.people()))
        return _page("choose.html", people=everyone, kept=kept, action=action, to=to, code=code)

    async def device_authorization(self, request: Request) -> Response:
        form = await _form(request)
        return JSONResponse(self.issuer.begin_device(form.get("client_id", "")), headers=_NO_STORE)

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        grants = {
            "authorization_code": self.issuer.redeem,
            "urn:ietf:params:oauth:grant-type:device_code": self.issuer.poll,
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            raise GrantRefusedError("unsupported_grant_type")
        return JSONResponse(grant(form), headers=_NO_STORE)

    async def user_info(self, request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return JSONResponse(await run_in_threadpool(self.issuer.user_info, given if scheme.lower() == "bearer" else ""))

    async def end(self, request: Request) -> Response:
        back = request.query_params.get("post_logout_redirect_uri", "")
        home = self.issuer.settings.url.rstrip("/")
        if back == home or back.startswith(home + "/"):
            return RedirectResponse(back, 303)
        return _page("done.html", let_in=None)


async def _refused(request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, GrantRefusedError) else "server_error"
    if request.url.path in _FOR_PROGRAMS:
        return JSONResponse({"error": code}, 401 if code == "invalid_token" else 400, headers=_NO_STORE)
    return _page("refused.html", 400, text=str(error))


def _page(name: str, status: int = 200, **context: Any) -> HTMLResponse:
    return HTMLResponse(_PAGES.get_template(name).render(context), status)


async def _form(request: Request) -> dict[str, str]:
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


__all__ = ["StandIn", "create_issuer"]
