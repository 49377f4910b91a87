"""Permits, the signed status list that offline verifiers use, and the public register."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from broker.flows import permits
from broker.flows.permits import Listed
from broker.web.api.asking import By, Expected, PermitId, World, done, expect, many, one
from broker.web.api.documents import Because, Envelope, Listing, Recorded
from sulku.permits import Permit, State

router = APIRouter(tags=["permits"])
DSSE: Final = "application/vnd.dsse.envelope.v1+json"
PAPER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {DSSE: {"schema": Envelope.model_json_schema()}}, "description": "The signed paper, byte for byte."}
}


@router.get("/register", response_model=Listing[Listed], tags=["register"])
def register(ports: World) -> Response:
    """Return the register of permits: purpose, datasets, organisation, dates. Public."""
    return many(permits.register(ports))


@router.get("/permit-status", responses=PAPER, response_class=Response, tags=["register"])
def status(ports: World) -> Response:
    """Return the signed list of every permit's state, good for a day. Public."""
    return Response(permits.status_list(ports), media_type=DSSE)


@router.get("/permits", response_model=Listing[Permit])
def listing(ports: World, by: By, state: Annotated[list[State] | None, Query()] = None) -> Response:
    """Return the permits that you may see, newest first."""
    return many(permits.listing(ports, by, **({"state": [one.value for one in state]} if state else {})))


@router.get("/permits/{permit}", response_model=Permit)
def view(ports: World, by: By, permit: PermitId) -> Response:
    """Return one permit."""
    return one(permits.view(ports, by, permit))


@router.get("/permits/{permit}/paper", responses=PAPER, response_class=Response)
def paper(ports: World, by: By, permit: PermitId) -> Response:
    """Return the signed paper, for checking it offline."""
    return Response(permits.view(ports, by, permit).envelope, media_type=DSSE)


@router.post("/permits/{permit}/suspend", response_model=Recorded[Permit])
def suspend(ports: World, by: By, permit: PermitId, asked: Because, expected: Expected = None) -> Response:
    """Stop all work under a permit for now; its live tunnels close at once."""
    expect(ports, permit, expected)
    return done(permits.suspend(ports, by, permit, asked.reason), permit)


@router.post("/permits/{permit}/resume", response_model=Recorded[Permit])
def resume(ports: World, by: By, permit: PermitId, expected: Expected = None) -> Response:
    """End a suspension."""
    expect(ports, permit, expected)
    return done(permits.resume(ports, by, permit), permit)


@router.post("/permits/{permit}/revoke", response_model=Recorded[Permit])
def revoke(ports: World, by: By, permit: PermitId, asked: Because, expected: Expected = None) -> Response:
    """End a permit for good; its live tunnels close at once."""
    expect(ports, permit, expected)
    return done(permits.revoke(ports, by, permit, asked.reason), permit)
