"""Who asks, what they were told, and where a command line signs in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from broker.flows import notices, people
from broker.web.api.asking import By, World, done, many, one
from broker.web.api.documents import Listing, Me, Recorded, SetAbsence, SignedOut, SignIn
from sulku.codec import plain
from sulku.people import Person
from sulku.records import Notice

router = APIRouter(tags=["me"])


@router.get("/sign-in", response_model=SignIn)
def sign_in(request: Request) -> Response:
    """Say where a command line signs people in. Public."""
    settings = request.app.state.settings
    return one({"issuer": settings.issuer, "client_id": settings.cli_client_id, "audience": settings.audience})


@router.post("/sign-out", response_model=SignedOut)
def sign_out(request: Request, by: By) -> Response:
    """End the token (or the session) that this request came with, here and for good; the issuer may know it longer."""
    response = one({"id": by.id})
    request.app.state.identity.sign_out(request, response)
    return response


@router.get("/me", response_model=Me)
def me(ports: World, by: By) -> Response:
    """Return who asks, in which role, and since when they are signed in."""
    person: dict[str, Any] = plain(people.me(ports, by))
    known = {name: person[name] for name in ("id", "name", "email", "organisation", "groups", "roles", "expires", "away_until", "delegate")}
    return one({**known, "role": by.role, "mfa": by.mfa, "signed_in": by.signed_in})


@router.put("/me/absence", response_model=Recorded[Person])
def absence(ports: World, by: By, asked: SetAbsence) -> Response:
    """Say until when you are away, and who stands in."""
    return done(people.set_absence(ports, by, asked.away_until, asked.delegate), by.id)


@router.get("/notices", response_model=Listing[Notice])
def notices_(ports: World, by: By) -> Response:
    """Return what you were told, newest first."""
    return many(notices.listing(ports, by))
