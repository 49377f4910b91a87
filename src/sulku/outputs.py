"""An output: a file frozen out of a tunnel, known by its digest, checked and rebuilt before anybody may release it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sulku.codec import Plain
from sulku.events import Event, event
from sulku.machine import Machine

MAX_BYTES: Final = 16 * 2**20  # one file
MAX_FILES: Final = 50  # one submission


class State(StrEnum):
    """Where an output stands."""

    NEW = "new"
    FROZEN = "frozen"
    INSPECTED = "inspected"
    RELEASED = "released"


class Move(StrEnum):
    """What can be done to an output."""

    FREEZE = "freeze"
    INSPECT = "inspect"
    RELEASE = "release"


MACHINE: Final = Machine(
    "output",
    State.NEW,
    {
        (State.NEW, Move.FREEZE): State.FROZEN,
        (State.FROZEN, Move.INSPECT): State.INSPECTED,
        (State.INSPECTED, Move.RELEASE): State.RELEASED,
    },
)


@dataclass(frozen=True, slots=True)
class Output:
    """The fold of an output's events.

    Attributes:
        sha256: Hex digest of the bytes as they left the workspace; hostile, never shown or sent as they are.
        rebuilt: Hex digest of what we made of them; this is what is reviewed and what leaves. Empty if it cannot leave.
        findings: Plain form of ``sulku.disclosure`` findings, in order.
        blocked: Whether a finding forbids release.
    """

    id: str
    version: int = 0
    state: State = MACHINE.start
    tunnel: str = ""
    permit: str = ""
    person: str = ""
    submission: str = ""
    name: str = ""
    size: int = 0
    sha256: str = ""
    declared: dict[str, Any] | None = None
    frozen_at: datetime | None = None
    kind: str = ""
    media: str = ""
    rebuilt: str = ""
    rebuilt_name: str = ""
    summary: dict[str, Any] | None = None
    findings: tuple[dict[str, Any], ...] = ()
    blocked: bool = True


@event("output.frozen", private=("name", "declared"))
@dataclass(frozen=True, slots=True)
class Frozen(Event):
    """A file was copied out of a tunnel and will never change."""

    tunnel: str
    permit: str
    person: str
    submission: str
    name: str
    size: int
    sha256: str
    declared: dict[str, Any]
    at: datetime


@event("output.inspected", private=("findings", "summary", "rebuilt_name"))
@dataclass(frozen=True, slots=True)
class Inspected(Event):
    """The automatic checks have run on it, in isolation, and it was rebuilt."""

    kind: str
    media: str
    rebuilt: str
    rebuilt_name: str
    findings: tuple[dict[str, Any], ...]
    summary: dict[str, Any]
    blocked: bool
    profile: str


@event("output.released")
@dataclass(frozen=True, slots=True)
class Released(Event):
    """Its rebuilt form left in a release."""

    release: str


def evolve(output: Output, happened: Event) -> Output:
    """Return ``output`` as it stands after ``happened``; total on history."""
    after = replace(output, version=output.version + 1)
    match happened:
        case Frozen():
            return replace(
                after,
                state=State.FROZEN,
                tunnel=happened.tunnel,
                permit=happened.permit,
                person=happened.person,
                submission=happened.submission,
                name=happened.name,
                size=happened.size,
                sha256=happened.sha256,
                declared=happened.declared,
                frozen_at=happened.at,
            )
        case Inspected():
            return replace(
                after,
                state=State.INSPECTED,
                kind=happened.kind,
                media=happened.media,
                rebuilt=happened.rebuilt,
                rebuilt_name=happened.rebuilt_name,
                findings=happened.findings,
                summary=happened.summary,
                blocked=happened.blocked,
            )
        case Released():
            return replace(after, state=State.RELEASED)
        case _:
            return after


def declared(manifest: dict[str, Plain], name: str) -> dict[str, Plain]:
    """Return what the submission's manifest says of the file ``name``; empty if nothing."""
    for entry in manifest.get("files", ()):
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    return {}
