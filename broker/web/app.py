"""The two applications: the one that people and programs reach, and the one on the socket inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from broker.settings import Settings
from broker.web import problems, signing_in
from broker.web.api import (
    applications,
    datasets,
    documents,
    health,
    ledger,
    me,
    outputs,
    people,
    permits,
    releases,
    tunnels,
)
from broker.web.folding import WINDOW, FoldingStore
from broker.web.headers import Guard, OwnFiles, SecurityHeaders
from broker.web.identity import Identity, Recognise
from sulku.errors import SulkuError
from sulku.ports import Ports

MOST_BODY: Final = 1024 * 1024  # bytes; nobody sends files to the pages or the API
PREFIX: Final = "/api/v1"
NOUNS: Final = (me, people, datasets, applications, permits, tunnels, outputs, releases, ledger)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must work before requests are taken: its name, and what raises if it does not."""

    name: str
    require: Callable[[], Any]


def create_app(
    ports: Ports,
    identity: Identity,
    settings: Settings,
    pages: Sequence[APIRouter] = (),
    *,
    problem_page: problems.Page | None = None,
    static: Path | None = None,
    checks: Sequence[Check] = (),
    alive: Callable[[], bool] = lambda: True,
    **state: Any,
) -> FastAPI:
    """Return the application of the pages and the API.

    Args:
        pages: Routers for people; they find ``ports``, ``settings`` and ``identity`` at ``request.app.state``, the actor (or
            ``None``) and the roles that they hold at ``request.state``.
        problem_page: Draws errors for people.
        static: Folder of the pages' own files, served at ``/static``.
        checks: What ``/readyz`` asks.
        alive: What ``/healthz`` asks: whether the clock of this process still goes round.
        state: Anything more that pages find at ``request.app.state``.
    """
    store = FoldingStore(ports.store)
    ports = identity.ports = replace(ports, store=store)  # what a sign-in is refused is folded too
    app = _api(lifespan=_flushing(ports, store))
    for name, value in {"ports": ports, "settings": settings, "identity": identity, "checks": tuple(checks), "alive": alive, **state}.items():
        setattr(app.state, name, value)
    problems.install(app, problem_page)
    app.include_router(signing_in.router(identity))
    for router in pages:
        app.include_router(router, include_in_schema=False)
    if static is not None:
        app.mount("/static", OwnFiles(directory=static))
    _wrap(app, identity, settings)
    return app


def _api(**settings: Any) -> FastAPI:
    app = FastAPI(
        title="sulku",
        version="1",
        description="A trusted research environment: time-limited tunnels into sensitive data, reviewed results out.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: f"{next(iter(route.tags), 'page')}-{route.name}".replace("_", "-").rstrip("-"),
        **settings,
    )
    for noun in NOUNS:
        app.include_router(noun.router, prefix=PREFIX, responses=documents.RESPONSES)
    app.include_router(health.router)
    described = app.openapi
    app.openapi = lambda: documents.with_problem(described())  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def description() -> dict[str, Any]:
    """Return the API's description (OpenAPI 3.1), without a broker."""
    return _api().openapi()


def _wrap(app: FastAPI, identity: Identity, settings: Settings) -> None:
    """Put the layers around ``app``; the last is the outermost."""
    gates = f"{settings.gate_scheme}://*.{settings.gate_domain}"
    issuer = "/".join(settings.issuer.split("/")[:3])
    app.add_middleware(Recognise, identity=identity)
    app.add_middleware(Guard, most=MOST_BODY, origin=settings.url)
    app.add_middleware(problems.CatchAll)
    app.add_middleware(SecurityHeaders, form_action=(gates, issuer), images=(settings.preview_origin,), secure=settings.secure)


def _flushing(ports: Ports, store: FoldingStore) -> Callable[[FastAPI], Any]:
    async def flush_now_and_then() -> None:
        while True:
            await asyncio.sleep(WINDOW.total_seconds())
            with suppress(SulkuError):
                await run_in_threadpool(store.flush, ports.clock.now())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(flush_now_and_then())
        yield
        task.cancel()
        await run_in_threadpool(lambda: store.flush(ports.clock.now(), now=True))

    return lifespan
