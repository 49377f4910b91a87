"""The API on the socket inside, for the gateway and the hub's spawner: another application, other tokens, no person's rights."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Protocol

import orjson
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from broker.flows import outputs, people, releases, tunnels
from broker.flows.tunnels import Reported
from broker.web import problems
from broker.web.api.asking import TunnelId, World
from broker.web.headers import Guard
from sulku import ids
from sulku.codec import Plain, stamp
from sulku.errors import BadTicketError, BadTokenError, InvalidInputError, NotFoundError
from sulku.ids import ALPHABET
from sulku.outputs import MAX_BYTES, declared
from sulku.ports import Ports
from sulku.tunnels import State, Tunnel

MOST_BODY: Final = MAX_BYTES + 256 * 1024
MOST_CODE: Final = 64 * 1024
TunnelRef = Annotated[str, Field(pattern=f"^tun_[{ALPHABET}]{{16}}$")]


class Desk(Protocol):
    """What the socket inside needs of the machine: the workspaces and where they are."""

    def start(self, tunnel: str) -> str:
        """Bring the workspace of a requested tunnel up and return its address; returns when it answers."""

    def stop(self, tunnel: str) -> None:
        """Destroy it; may be repeated."""

    def running(self, tunnel: str) -> bool:
        """Return whether it runs."""

    def addresses(self, tunnels: Iterable[Tunnel]) -> Mapping[str, str]:
        """Return tunnel → address (the path of a unix socket, or ``http://IP:PORT``) of those that are up."""

    def token(self, tunnel: str) -> str:
        """Return the token that a workspace takes."""


class Asked(BaseModel):
    """Base of what our own parts send."""

    model_config = ConfigDict(extra="forbid")


class Redeem(Asked):
    """A ticket that a browser brought, and the hash of that browser's nonce."""

    ticket: Annotated[str, Field(min_length=16, max_length=200)]
    nonce_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tunnel: TunnelRef


class Lease(Asked):
    """Bytes wanted, and bytes spent since the last call."""

    tunnel: TunnelRef
    epoch: Annotated[int, Field(ge=0)]
    want: Annotated[int, Field(ge=0, lt=2**40)]
    spent: Annotated[int, Field(ge=0, lt=2**40)]


class Seen(Asked):
    """One thing that the gateway saw."""

    tunnel: TunnelRef
    kind: Literal["refused", "executed", "cut"]
    at: str
    code: Annotated[str, Field(max_length=100)]
    detail: dict[str, str | int] = {}
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{22}$")]
    number: Annotated[int, Field(ge=1, lt=2**53)]


class Reports(Asked):
    """What the gateway saw, in order."""

    reports: Annotated[list[Seen], Field(max_length=1000)]


class Named(Asked):
    """A frozen file and its name in the submission."""

    name: Annotated[str, Field(max_length=255)]
    output: Annotated[str, Field(pattern=f"^out_[{ALPHABET}]{{16}}$")]


class Submission(Asked):
    """A whole submission, every file of it frozen."""

    tunnel: TunnelRef
    submission: Annotated[str, Field(max_length=200)]
    manifest: dict[str, Any]
    outputs: Annotated[list[Named], Field(max_length=50)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Lets in the one service whose token the request bears."""

    service: str

    def __call__(self, request: Request) -> None:
        """Compare in constant time.

        Raises:
            BadTokenError: It bears another token, or none.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = request.app.state.tokens[self.service]
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), known.encode()):
            raise BadTokenError(f"only the {self.service} asks here")


def desk_of(request: Request) -> Desk:
    """Return the machine's part."""
    return request.app.state.desk  # type: ignore[no-any-return]


AtDesk = Annotated[Desk, Depends(desk_of)]
gate = APIRouter(prefix="/internal/gate", dependencies=[Depends(Caller("gateway"))])
hub = APIRouter(prefix="/internal/hub", dependencies=[Depends(Caller("hub"))])


@gate.get("/tunnels")
def open_tunnels(ports: World, desk: AtDesk) -> Response:
    """Return the tunnels that are open now, and how to reach them."""
    now = ports.clock.now()
    open_ = [one for one in ports.store.find("tun", state=State.OPEN.value) if one.deadline and now < one.deadline]
    permits = ports.store.peek({one.permit for one in open_})
    addresses = desk.addresses(open_)
    up = [one for one in open_ if one.id in addresses]
    return JSONResponse({"tunnels": [_reach(one, permits[one.permit].paper.title, addresses[one.id], desk.token(one.id)) for one in up]})


def _reach(tunnel: Tunnel, title: str, address: str, token: str) -> dict[str, Plain]:
    return {
        "id": tunnel.id,
        "host": ids.label(tunnel.id),
        "epoch": tunnel.epoch,
        "person": tunnel.person,
        "permit": tunnel.permit,
        "permit_title": title,
        "deadline": stamp(tunnel.deadline) if tunnel.deadline else "",
        "address": address,
        "token": token,
        "lab": "/lab",
    }


@gate.post("/tickets/redeem")
def redeem(ports: World, asked: Redeem) -> Response:
    """Use a ticket up."""
    try:
        tunnel = tunnels.redeem(ports, asked.ticket, asked.nonce_hash, asked.tunnel)
    except NotFoundError as error:
        raise BadTicketError(str(error)) from error
    name = people.names(ports).get(tunnel.person, "")
    return JSONResponse({"tunnel": tunnel.id, "epoch": tunnel.epoch, "person": tunnel.person, "name": name})


@gate.post("/leases")
def lease(ports: World, asked: Lease) -> Response:
    """Lease a slice of the egress budget."""
    granted, tunnel = tunnels.lease(ports, asked.tunnel, asked.epoch, asked.want, asked.spent)
    return JSONResponse({"granted": granted, "left": tunnel.budget, "total": tunnel.budget + tunnel.leased})


@gate.post("/reports", status_code=204)
def reports(ports: World, asked: Reports) -> None:
    """Record what the gateway saw, tunnel by tunnel, in order; what it says again is recorded once."""
    by_tunnel: dict[str, list[Reported]] = {}
    for seen in asked.reports:
        by_tunnel.setdefault(seen.tunnel, []).append(_reported(seen))
    for tunnel, seen_there in by_tunnel.items():
        tunnels.report(ports, tunnel, seen_there)


def _reported(seen: Seen) -> Reported:
    if seen.kind == "executed":
        kernel, code = str(seen.detail.get("kernel", ""))[:100], str(seen.detail.get("code", ""))[:MOST_CODE]
        return Reported("executed", kernel, code, seen.run, seen.number)
    count = seen.detail.get("count", 1)
    said = "; ".join(f"{name}: {value}" for name, value in sorted(seen.detail.items()) if name != "count")
    often = count if isinstance(count, int) and count > 0 else 1
    return Reported(seen.kind, seen.code, f"{seen.at} {said}"[:2000], seen.run, seen.number, often)


@gate.post("/outputs", status_code=201)
async def freeze(
    request: Request,
    ports: World,
    tunnel: Annotated[TunnelRef, Query()],
    name: Annotated[str, Query(max_length=255)],
    submission: Annotated[str, Query(max_length=200)],
    manifest: Annotated[str, Query(max_length=64 * 1024)] = "",
) -> Response:
    """Keep a file that the gateway pulled, for ever. ``manifest`` is what the submission says of its files (JSON)."""
    data = await request.body()
    said = declared(_object(manifest), name)
    output = await run_in_threadpool(outputs.freeze, ports, tunnel, submission, name, data, said)
    return JSONResponse({"output": output.id, "sha256": output.sha256}, 201)


def _object(text: str) -> dict[str, Plain]:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("the manifest is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidInputError("the manifest is not an object")
    return value


@gate.post("/submissions", status_code=201)
def submit(ports: World, asked: Submission) -> Response:
    """Put a submission's frozen files under review."""
    said = asked.manifest
    frozen = tuple(one.output for one in asked.outputs)
    answers = said.get("release") if isinstance(said.get("release"), str) else None
    release = releases.submit(
        ports, asked.tunnel, str(said.get("title", "")), str(said.get("context", "")), frozen, answers, f"{asked.tunnel}:{asked.submission}"
    )
    return JSONResponse({"release": release.id}, 201)


@hub.post("/tunnels/{tunnel}/start")
def start(desk: AtDesk, tunnel: TunnelId) -> Response:
    """Bring the workspace up; answers once it does, with its address as JupyterHub writes it."""
    address = desk.start(tunnel)
    return JSONResponse({"url": "http+unix://" + address.replace("/", "%2F") if address.startswith("/") else address})


@hub.get("/tunnels/{tunnel}")
def running(desk: AtDesk, tunnel: TunnelId) -> Response:
    """Say whether the workspace runs."""
    return JSONResponse({"running": desk.running(tunnel)})


@hub.post("/tunnels/{tunnel}/stop")
def stop(desk: AtDesk, tunnel: TunnelId) -> Response:
    """Destroy the workspace."""
    desk.stop(tunnel)
    return JSONResponse({"running": False})


def create_internal_app(ports: Ports, tokens: Mapping[str, str], desk: Desk) -> FastAPI:
    """Return the application for the socket inside.

    Args:
        tokens: Bearer tokens by service: ``gateway`` and ``hub``.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.ports, app.state.desk = ports, desk
    app.state.tokens = {service: tokens[service] for service in ("gateway", "hub")}
    problems.install(app)
    app.include_router(gate)
    app.include_router(hub)
    app.add_middleware(Guard, most=MOST_BODY, origin=None)
    app.add_middleware(problems.CatchAll)
    return app
