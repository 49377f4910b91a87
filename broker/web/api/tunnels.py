"""Tunnels: opened by a researcher under a permit, ended by anybody who may; entered only by a browser, through the gateway."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from broker.flows import tunnels
from broker.web.api.asking import By, Expected, Key, TunnelId, World, done, expect, made, many, one
from broker.web.api.documents import Halt, Halted, Listing, OpenTunnel, Recorded, TopUp
from sulku.tunnels import State, Tunnel

router = APIRouter(tags=["tunnels"])


@router.get("/tunnels", response_model=Listing[Tunnel])
def listing(ports: World, by: By, state: Annotated[list[State] | None, Query()] = None) -> Response:
    """Return the tunnels that you may see, newest first."""
    return many(tunnels.listing(ports, by, **({"state": [one.value for one in state]} if state else {})))


@router.get("/tunnels/{tunnel}", response_model=Tunnel)
def view(ports: World, by: By, tunnel: TunnelId) -> Response:
    """Return one tunnel: its state, deadline and the budget that is left."""
    return one(tunnels.view(ports, by, tunnel))


@router.post("/tunnels", status_code=201, response_model=Recorded[Tunnel])
def open_(ports: World, by: By, asked: OpenTunnel, key: Key = None) -> Response:
    """Ask for a tunnel; the deadline counts from now, the workspace follows."""
    return made(tunnels.open_(ports, by, asked.permit, asked.minutes, key), "tun", by)


@router.post("/tunnels/{tunnel}/close", response_model=Tunnel)
def close(ports: World, by: By, tunnel: TunnelId) -> Response:
    """End your tunnel now; your files are kept."""
    tunnels.close(ports, by, tunnel)
    return one(ports.store.peek([tunnel])[tunnel])


@router.post("/tunnels/{tunnel}/top-up", response_model=Recorded[Tunnel])
def top_up(ports: World, by: By, tunnel: TunnelId, asked: TopUp, expected: Expected = None) -> Response:
    """Add to a live tunnel's egress budget, as a steward."""
    expect(ports, tunnel, expected)
    return done(tunnels.top_up(ports, by, tunnel, asked.bytes, asked.reason), tunnel)


@router.post("/halts", response_model=Halted)
def halt(ports: World, by: By, asked: Halt) -> Response:
    """End every live tunnel of a scope at once, as a steward."""
    return one({"tunnels": tunnels.halt(ports, by, asked.scope, asked.identifier, asked.reason)})
