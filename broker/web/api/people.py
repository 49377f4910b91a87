"""The directory: who may act, and as what."""

from __future__ import annotations

from fastapi import APIRouter, Response

from broker.flows import people
from broker.web.api.asking import By, Expected, Key, PersonId, World, done, expect, made, many
from broker.web.api.documents import Because, ChangeRoles, Listing, Recorded, RegisterPerson
from sulku.people import Person, Register

router = APIRouter(prefix="/people", tags=["people"])


@router.get("", response_model=Listing[Person])
def listing(ports: World, by: By) -> Response:
    """Return the directory, by name."""
    return many(people.listing(ports, by))


@router.post("", status_code=201, response_model=Recorded[Person])
def register(ports: World, by: By, asked: RegisterPerson, key: Key = None) -> Response:
    """Enter a person into the directory."""
    command = Register(
        name=asked.name,
        email=asked.email,
        organisation=asked.organisation,
        roles=tuple(asked.roles),
        groups=tuple(asked.groups),
        subject=asked.subject,
        expires=asked.expires,
    )
    return made(people.register(ports, by, command, key), "usr", by)


@router.put("/{person}/roles", response_model=Recorded[Person])
def change_roles(ports: World, by: By, person: PersonId, asked: ChangeRoles, expected: Expected = None) -> Response:
    """Set a person's roles anew."""
    expect(ports, person, expected)
    return done(people.change_roles(ports, by, person, tuple(asked.roles), asked.expires), person)


@router.post("/{person}/unbind", response_model=Recorded[Person])
def unbind(ports: World, by: By, person: PersonId, asked: Because, expected: Expected = None) -> Response:
    """Release a person's sign-in, so that their next one is bound; what the old one opened counts no longer."""
    expect(ports, person, expected)
    return done(people.unbind(ports, by, person, asked.reason), person)


@router.post("/{person}/leave", response_model=Recorded[Person])
def leave(ports: World, by: By, person: PersonId, asked: Because, expected: Expected = None) -> Response:
    """End a person's account, and at once every live tunnel of theirs."""
    expect(ports, person, expected)
    return done(people.leave(ports, by, person, asked.reason), person)
