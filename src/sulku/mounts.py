"""A mount: one dataset version, narrowed to the permitted variables, readable inside one tunnel and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from sulku.errors import RuleError
from sulku.events import Event, Happened, event
from sulku.machine import Machine
from sulku.permits import Document, Grant
from sulku.tunnels import State as TunnelState
from sulku.tunnels import Tunnel


class State(StrEnum):
    """Where a mount stands."""

    PLANNED = "planned"
    ATTACHED = "attached"
    DETACHED = "detached"


class Move(StrEnum):
    """What can be done to a mount."""

    ATTACH = "attach"
    DETACH = "detach"


MACHINE: Final = Machine(
    "mount",
    State.PLANNED,
    {(State.PLANNED, Move.ATTACH): State.ATTACHED, (State.ATTACHED, Move.DETACH): State.DETACHED},
)


@dataclass(frozen=True, slots=True)
class Mount:
    """The fold of a mount's events."""

    id: str
    version: int = 0
    state: State = MACHINE.start
    tunnel: str = ""
    grant: Grant | None = None
    at: datetime | None = None


@event("mount.attached")
@dataclass(frozen=True, slots=True)
class Attached(Event):
    """The dataset became readable in the tunnel."""

    tunnel: str
    grant: Grant
    at: datetime


@event("mount.detached", ending=True)
@dataclass(frozen=True, slots=True)
class Detached(Event):
    """It is gone, proved after every process was dead."""

    at: datetime


def plan(permit: Document) -> tuple[Grant, ...]:
    """Return what a tunnel under ``permit`` mounts: every grant, each once, in the permit's order."""
    return tuple(dict.fromkeys(permit.grants))


def attach(mount: str, tunnel: Tunnel, grant: Grant, permit: Document, at: datetime) -> Happened:
    """Return the event that lets data in.

    Raises:
        RuleError: The tunnel's closure is not proved, or the permit does not grant exactly this.
    """
    if tunnel.state is not TunnelState.PROVED or not tunnel.closure:
        raise RuleError("closure-not-proved", "no data enters a tunnel that is not proved closed")
    if grant not in permit.grants:
        raise RuleError("not-granted", f"the permit does not grant {grant.name} {grant.version} in this form")
    return Happened(mount, Attached(tunnel.id, grant, at))


def detach(mount: Mount, at: datetime) -> tuple[Happened, ...]:
    """Return the end of ``mount``; nothing if it has ended."""
    return (Happened(mount.id, Detached(at)),) if mount.state is State.ATTACHED else ()


def evolve(mount: Mount, happened: Event) -> Mount:
    """Return ``mount`` as it stands after ``happened``; total on history."""
    after = replace(mount, version=mount.version + 1)
    match happened:
        case Attached(tunnel, grant, at):
            return replace(after, state=State.ATTACHED, tunnel=tunnel, grant=grant, at=at)
        case Detached():
            return replace(after, state=State.DETACHED)
        case _:
            return after
