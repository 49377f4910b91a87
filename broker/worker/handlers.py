"""What each effect does. Every handler may be repeated, and does nothing when its record has moved on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.flows import outputs, permits, releases, tunnels
from broker.flows.effects import effects_of
from sulku.clearance import mandate
from sulku.codec import Plain
from sulku.errors import GateUnavailableError, HubUnavailableError, RefusalError, StoreUnavailableError
from sulku.people import service
from sulku.plan import EndRecord
from sulku.ports import Effect, Gate, Hub, Inspector, Ports, Workspaces
from sulku.tunnels import Cause, State, Tunnel, close

SEAL_EVERY: Final = 10  # sweeps between two checkpoints of the ledger


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Everything outside the database that effects reach."""

    hub: Hub
    gate: Gate
    workspaces: Workspaces
    inspector: Inspector
    profiles: Mapping[str, Mapping[str, Plain]]
    tell: Callable[[str, str, str], None]


def handlers(ports: Ports, world: Neighbours) -> dict[str, Callable[[Effect], None]]:
    """Return what to call for each kind of effect."""
    return {
        "open-tunnel": lambda effect: open_tunnel(ports, world, effect),
        "close-tunnel": lambda effect: close_tunnel(ports, world, effect),
        "inspect-output": lambda effect: inspect_output(ports, world, effect),
        "compare-release": lambda effect: compare_release(ports, world, effect),
        "deliver-release": lambda effect: void(releases.deliver(ports, effect.target)),
        "end-person": lambda effect: end_person(ports, effect),
        "end-permit": lambda effect: permits.finish_tunnels(ports, effect.target, service("worker")),
        "notify": lambda effect: world.tell(effect.body["to"], effect.body["what"], effect.target),
    }


def void(_: object) -> None:
    """Drop a result."""


def open_tunnel(ports: Ports, world: Neighbours, effect: Effect) -> None:
    """Have the hub spawn the workspace, which asks us back to furnish it; then people may enter."""
    tunnel: Tunnel = ports.store.peek([effect.target])[effect.target]
    if tunnel.epoch != effect.epoch or tunnel.state not in {State.REQUESTED, State.PROVED}:
        return
    try:
        world.hub.start(tunnel)
        tunnels.opened(ports, tunnel.id)
    except (HubUnavailableError, RefusalError):
        tunnels.finish(ports, tunnel.id, Cause.FAILED, tunnels.WORKER)


def close_tunnel(ports: Ports, world: Neighbours, effect: Effect) -> None:
    """Cut the sockets, kill the workspace, clear the hub, and record what is left: nothing.

    A hub or a gateway that is away does not keep a workspace alive; the hub is asked again when it is back.
    """
    tunnel: Tunnel = ports.store.peek([effect.target])[effect.target]
    if tunnel.state is not State.CLOSING:
        return
    with contextlib.suppress(GateUnavailableError):
        world.gate.cut(tunnel.id, tunnel.cause.value if tunnel.cause else "closed")
    found = world.workspaces.stop(tunnel.id) if world.workspaces.status(tunnel.id) is not None else None
    tunnels.ended(ports, tunnel.id, found)
    world.hub.stop(tunnel)


def inspect_output(ports: Ports, world: Neighbours, effect: Effect) -> None:
    """Check and rebuild a frozen file under its permit's disclosure profile."""
    output = ports.store.peek([effect.target])[effect.target]
    permit = ports.store.peek([output.permit])[output.permit]
    outputs.inspect(ports, world.inspector, world.profiles[permit.paper.profile], output.id)


def compare_release(ports: Ports, world: Neighbours, effect: Effect) -> None:
    """Look at the files of a release together, under its permit's disclosure profile."""
    release = ports.store.peek([effect.target])[effect.target]
    permit = ports.store.peek([release.permit])[release.permit]
    releases.compare(ports, world.inspector, world.profiles[permit.paper.profile], release.id)


def end_person(ports: Ports, effect: Effect) -> None:
    """End every live tunnel of somebody who left."""
    for tunnel in ports.store.find("tun", person=effect.target):
        tunnels.finish(ports, tunnel.id, Cause.LEFT, service("worker"))


@dataclass(slots=True)
class Watch:
    """The broker's clock: once a second it ends what is past its time, with or without a database."""

    ports: Ports
    world: Neighbours
    seal: Callable[[], object]
    _live: list[Tunnel] = field(default_factory=list)
    _ticks: int = 0

    def tick(self) -> None:
        """Take in what was spooled, end what is over, take in what ended by another clock, seal the ledger now and then.

        Raises:
            StoreUnavailableError: The database is away; what was live and is overdue has been ended all the same.
        """
        try:
            self.ports.store.replay(self.ports.clock.now(), effects_of)
            sweep(self.ports, self.world)
            self._live = tunnels.live(self.ports)
        except StoreUnavailableError:
            self._end_unseen()
            raise
        self._ticks += 1
        if self._ticks % SEAL_EVERY == 0:
            self.seal()

    def _end_unseen(self) -> None:
        """End overdue tunnels that were live when the database was last seen; the records wait in the spool."""
        now = self.ports.clock.now()
        for tunnel in [one for one in self._live if one.deadline is not None and now >= one.deadline]:
            with contextlib.suppress(GateUnavailableError):
                self.world.gate.cut(tunnel.id, Cause.DEADLINE.value)
            self.world.workspaces.stop(tunnel.id)
            authority = mandate(tunnel.id, tunnel.opened_by, tunnels.CLOCK, "tunnel.deadline")
            self.ports.store.spool(authority, list(close(tunnel, Cause.DEADLINE, now)), now)
            self._live.remove(tunnel)


def sweep(ports: Ports, world: Neighbours) -> None:
    """End what is past its time, and take in what ended by another clock."""
    tunnels.sweep(ports)
    now = ports.clock.now()
    for permit in ports.store.find("per", state=["active", "suspended"]):
        if now >= permit.paper.ends:
            permits.expire(ports, permit)
    for tunnel in tunnels.live(ports):
        found = world.workspaces.status(tunnel.id)
        if isinstance(found, EndRecord) or (found is None and tunnel.state is not State.REQUESTED):
            tunnels.ended(ports, tunnel.id, found)
