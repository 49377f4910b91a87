"""The gateway's control: the hub's hints, the broker's cuts and the worker's lines to pods, for callers that show the token and, by TCP, whose link it is."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from broker.gateway import answers
from broker.gateway.reach import LONGEST
from sulku import ids, links
from sulku.crypto.channels import names
from sulku.errors import SulkuError, TooLargeError, WrongNeighbourError

REACH: Final = "/control/reach"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routes:
    """What the hub believes is routed. Only ever a hint: a tunnel is open if the broker's record says so."""

    def __init__(self) -> None:
        """Begin with none."""
        self._routes: dict[str, dict[str, Any]] = {}

    def put(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Keep a route as the hub gave it."""
        self._routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    def drop(self, routespec: str) -> None:
        """Forget a route, if there is one."""
        self._routes.pop(routespec, None)

    def all(self) -> list[dict[str, Any]]:
        """Return every route as it was given."""
        return list(self._routes.values())


class Deeds(Protocol):
    """What a gateway can be asked to do by our own parts."""

    routes: Routes

    async def cut(self, tunnel: str, reason: str) -> int:
        """Close every socket of a tunnel."""

    async def reached(self, asked: dict[str, Any]) -> bytes:
        """Have a pod answer one line."""

    def health(self) -> dict[str, Any]:
        """Say how it fares."""

    def metrics(self) -> str:
        """Say so in numbers."""


def application(token: str, deeds: Deeds, *, linked: bool = False) -> web.Application:
    """Return the application behind the control address.

    Args:
        linked: Whether callers come with certificates, by TCP; then each gets what its own links allow. Without, nobody
            can tell who asks, and nobody has pods reached.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        certified = linked or _canonical(request) == REACH
        if certified and not links.allowed(links.GATEWAY, _canonical(request), _peer(request)):
            return _no(WrongNeighbourError(f"{' and '.join(sorted(_peer(request))) or 'nobody'} may not ask for this"))
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, f"Bearer {token}".encode()):
            return _problem(401, "sign-in-required", "the token is missing or wrong", "Show the service's token.")
        try:
            return await handler(request)
        except SulkuError as error:
            return _no(error)
        except web.HTTPRequestEntityTooLarge:
            return _no(TooLargeError(f"more than {2 * LONGEST} bytes"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return _problem(422, "invalid-input", str(error), "Correct the request.")

    application_ = web.Application(middlewares=[guard], client_max_size=2 * LONGEST)
    application_.add_routes(_routes(deeds))
    return application_


def _routes(deeds: Deeds) -> list[web.RouteDef]:
    async def put_route(request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        deeds.routes.put(str(asked["routespec"]), str(asked["target"]), dict(asked["data"]))
        return web.Response(status=204)

    async def drop_route(request: web.Request) -> web.StreamResponse:
        deeds.routes.drop(request.query["routespec"])
        return web.Response(status=204)

    async def all_routes(_: web.Request) -> web.StreamResponse:
        return answers.json({"routes": deeds.routes.all()})

    async def cut_now(request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        return answers.json({"sockets": await deeds.cut(ids.parse(asked["tunnel"], "tun"), str(asked["reason"])[:100])})

    async def show_health(_: web.Request) -> web.StreamResponse:
        return answers.json(deeds.health())

    async def show_metrics(_: web.Request) -> web.StreamResponse:
        return web.Response(text=deeds.metrics(), content_type="text/plain")

    async def reach(request: web.Request) -> web.StreamResponse:
        answer = await deeds.reached(orjson.loads(await request.read()))
        return answers.json({"line": base64.b64encode(answer).decode()})

    return [
        web.put("/control/routes", put_route),
        web.delete("/control/routes", drop_route),
        web.get("/control/routes", all_routes),
        web.post("/control/cut", cut_now),
        web.get("/control/health", show_health),
        web.get("/metrics", show_metrics),
        web.post(REACH, reach),
    ]


def _canonical(request: web.Request) -> str:
    """Return the path as the handler was registered, so that no spelling of it makes a difference."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _peer(request: web.Request) -> frozenset[str]:
    return names(request.transport.get_extra_info("peercert") if request.transport else None)


def _no(error: SulkuError) -> web.Response:
    return _problem(error.status, error.code, str(error), error.remedy())


def _problem(status: int, code: str, detail: str, remedy: str) -> web.Response:
    problem = {
        "type": "about:blank", "title": "Refused", "status": status, "code": code, "detail": detail, "remedy": remedy,
    }  # fmt: skip
    return web.Response(body=orjson.dumps(problem), content_type=answers.PROBLEM, status=status)
