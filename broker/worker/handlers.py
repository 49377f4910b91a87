"""What each effect does. Every handler may be repeated, and does nothing when its record has moved on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from broker.flows import outputs, people, permits, releases, tunnels
from broker.flows.effects import effects_of
from sulku.clearance import mandate
from sulku.codec import Plain
from sulku.errors import (
    ClusterUnavailableError,
    GateUnavailableError,
    HubUnavailableError,
    PolicyUnavailableError,
    StaleError,
    StoreUnavailableError,
    SulkuError,
)
from sulku.people import service
from sulku.plan import EndRecord
from sulku.ports import Effect, Gate, Hub, Inspector, Ports, Workspaces
from sulku.tunnels import LIVE, Cause, State, Tunnel, close

SEAL_EVERY: Final = 10  # sweeps between two checkpoints of the ledger
REMIND_EVERY: Final = 60  # sweeps between two looks at what waits for the stewards
PATIENCE: Final = 3  # sweeps that the worker has for ending a tunnel; then the clock does it
OPENING: Final = timedelta(minutes=1)  # from the request, in which an opening is tried again that met a part which is away
AWAY: Final = (ClusterUnavailableError, GateUnavailableError, HubUnavailableError, PolicyUnavailableError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Everything outside the database that effects reach.

    Attributes:
        workspaces: What ends workspaces; ``None`` in a part that has no hands on them, where another's clock does it.
        wipe: Destroys the homes that were kept under a permit; may be repeated.
        furnish: Raises the workspace of a requested tunnel before the hub is asked; does nothing where the hub's order raises it.
    """

    hub: Hub
    gate: Gate
    workspaces: Workspaces | None
    inspector: Inspector
    profiles: Mapping[str, Mapping[str, Plain]]
    tell: Callable[[str, str, str], None]
    wipe: Callable[[str], None]
    furnish: Callable[[str], None] = lambda _: None


def handlers(ports: Ports, world: Neighbours) -> dict[str, Callable[[Effect], None]]:
    """Return what to call for each kind of effect."""
    return {
        "open-tunnel": lambda effect: open_tunnel(ports, world, effect),
        "close-tunnel": lambda effect: close_tunnel(ports, world, effect),
        "inspect-output": lambda effect: inspect_output(ports, world, effect),
        "compare-release": lambda effect: compare_release(ports, world, effect),
        "deliver-release": lambda effect: void(releases.deliver(ports, effect.target)),
        "end-person": lambda effect: people.finish_tunnels(ports, effect.target, tunnels.WORKER),
        "end-sessions": lambda effect: tunnels.leave(ports, effect.target, tunnels.WORKER),
        "end-permit": lambda effect: end_permit(ports, world, effect),
        "notify": lambda effect: world.tell(effect.body["to"], effect.body["what"], effect.target),
    }


def void(_: object) -> None:
    """Drop a result."""


def open_tunnel(ports: Ports, world: Neighbours, effect: Effect) -> None:
    """Have the workspace raised and known to the hub; then people may enter.

    If the tunnel has ended meanwhile, what an interrupted opening may have left of it is destroyed. A part that is away for a moment
    costs a moment: the outbox has it tried again, and it goes on where it was left.

    Raises:
        SulkuError: One of ``AWAY``, and there is still time; or nothing can be recorded, or somebody acted meanwhile.
    """
    tunnel: Tunnel = ports.store.peek([effect.target])[effect.target]
    if tunnel.state not in LIVE:
        abandon(world, tunnel)
    if tunnel.epoch != effect.epoch or tunnel.state not in {State.REQUESTED, State.PROVED}:
        return
    try:
        world.furnish(tunnel.id)
        world.hub.start(tunnel)
        tunnels.opened(ports, tunnel.id)
    except (StaleError, StoreUnavailableError):
        raise
    except SulkuError as error:
        now: Tunnel = ports.store.peek([tunnel.id])[tunnel.id]
        if now.state is State.OPEN:
            return  # another worker did it, when our lease was over
        asked = tunnel.requested_at
        if isinstance(error, AWAY) and now.state in LIVE and asked is not None and ports.clock.now() < asked + OPENING:
            raise
        log.warning("tunnel.not-opened", tunnel=tunnel.id, code=error.code, why=str(error))
        tunnels.finish(ports, tunnel.id, Cause.FAILED, tunnels.WORKER)
        abandon(world, tunnel)


def abandon(world: Neighbours, tunnel: Tunnel) -> None:
    """Destroy what an opening left of a tunnel that is over: it may have ended before its workspace began. May be repeated."""
    destroy(world, tunnel.id)
    world.hub.stop(tunnel)


def close_tunnel(ports: Ports, world: Neighbours, effect: Effect) -> None:
    """Cut the sockets, kill the workspace, clear the hub, and record what is left: nothing.

    A hub or a gateway that is away does not keep a workspace alive; the hub is asked again when it is back.
    """
    tunnel: Tunnel = ports.store.peek([effect.target])[effect.target]
    end_workspace(ports, world, tunnel)
    wipe_homes(ports, world, tunnel.permit)
    world.hub.stop(tunnel)


def end_workspace(ports: Ports, world: Neighbours, tunnel: Tunnel) -> None:
    """Cut the sockets and kill the workspace of a tunnel that is ending, and record what is left; may be repeated."""
    with contextlib.suppress(GateUnavailableError):
        world.gate.cut(tunnel.id, tunnel.cause.value if tunnel.cause else "closed")
    if world.workspaces is not None:
        tunnels.ended(ports, tunnel.id, destroy(world, tunnel.id))


def destroy(world: Neighbours, tunnel: str) -> EndRecord | None:
    """Kill what runs of ``tunnel`` and return what was found; ``None`` if it never ran here. May be repeated."""
    hands = world.workspaces
    return hands.stop(tunnel) if hands is not None and hands.status(tunnel) is not None else None


def end_permit(ports: Ports, world: Neighbours, effect: Effect) -> None:
    """End every live tunnel under a permit that was suspended or has ended, and then what people kept in them."""
    permits.finish_tunnels(ports, effect.target, service("worker"))
    wipe_homes(ports, world, effect.target)


def wipe_homes(ports: Ports, world: Neighbours, permit: str) -> None:
    """Destroy the homes of a permit that has ended for good; nothing while a tunnel under it has not: its end comes back here."""
    if permits.over(ports, permit):
        world.wipe(permit)
        permits.wiped(ports, permit)


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


@dataclass(slots=True)
class Watch:
    """The broker's clock: once a second it ends what is past its time, with or without a database.

    Attributes:
        keep: Looks after the live tunnels in one go, where asking for each would be dear: a cluster's.
    """

    ports: Ports
    world: Neighbours
    seal: Callable[[], object]
    remind: Callable[[], object]
    keep: Callable[[list[Tunnel]], object] | None = None
    _live: list[Tunnel] = field(default_factory=list)
    _spooled: set[str] = field(default_factory=set)  # tunnels that were ended while the database was away
    _closing: dict[str, int] = field(default_factory=dict)  # sweeps for which each has been ending
    _ticks: int = 0

    def tick(self) -> None:
        """Take in what was spooled, end what is over, take in what ended by another clock, seal the ledger and remind now and then.

        Raises:
            StoreUnavailableError: The database is away; what was live and is overdue has been ended all the same.
            PolicyUnavailableError: Nobody could be reminded; all else was done.
        """
        try:
            self._live = tunnels.live(self.ports)  # first: a database may be read and yet not be written
            try:
                self.ports.store.replay(self.ports.clock.now(), effects_of)
            finally:  # whatever is wrong with the spool, tunnels end
                sweep(self.ports, self.world, each_one=self.keep is None)
            self._end_left()
            if self.keep is not None:
                self.keep(self._live)
        except StoreUnavailableError:
            self._end_unseen()
            raise
        self._spooled.clear()
        self._ticks += 1
        if self._ticks % SEAL_EVERY == 0:
            self.seal()
        if self._ticks % REMIND_EVERY == 0:
            self.remind()

    def _end_unseen(self) -> None:
        """End overdue tunnels that were live when the database was last seen; the records wait in the spool."""
        now = self.ports.clock.now()
        over = [one for one in self._live if one.deadline is not None and now >= one.deadline]
        each([one for one in over if one.id not in self._spooled], lambda one: self._end_one(one, now))

    def _end_one(self, tunnel: Tunnel, now: datetime) -> None:
        with contextlib.suppress(GateUnavailableError):
            self.world.gate.cut(tunnel.id, Cause.DEADLINE.value)
        destroy(self.world, tunnel.id)
        authority = mandate(tunnel.id, tunnel.opened_by, tunnels.CLOCK, "tunnel.deadline")
        self.ports.store.spool(authority, list(close(tunnel, Cause.DEADLINE, now)), now)
        self._spooled.add(tunnel.id)

    def _end_left(self) -> None:
        """End the workspaces that the worker leaves alive: it may be dead, or its clock may have jumped back."""
        closing: list[Tunnel] = self.ports.store.find("tun", state=State.CLOSING.value)
        self._closing = {one.id: self._closing.get(one.id, 0) + 1 for one in closing}
        each([one for one in closing if self._closing[one.id] > PATIENCE], lambda one: end_workspace(self.ports, self.world, one))


def each(things: Iterable[Any], do: Callable[[Any], object]) -> None:
    """Do it for each of ``things``, the others also when one fails; raise the first failure afterwards."""
    failures = []
    for one in things:
        try:
            do(one)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next tunnel must end
            failures.append(error)
    if failures:
        raise failures[0]


def sweep(ports: Ports, world: Neighbours, *, each_one: bool = True) -> None:
    """End what is past its time, and with a look at ``each_one`` take in what ended by another clock."""
    tunnels.sweep(ports)
    now = ports.clock.now()
    ending = [one for one in ports.store.find("per", state=["active", "suspended"]) if now >= one.paper.ends]
    each(ending, lambda permit: permits.expire(ports, permit))
    if each_one and (hands := world.workspaces) is not None:
        each(tunnels.live(ports), lambda tunnel: take_in(ports, hands, tunnel))


def take_in(ports: Ports, workspaces: Workspaces, tunnel: Tunnel) -> None:
    """Record the end of a live tunnel whose workspace another clock has ended."""
    found = workspaces.status(tunnel.id)
    if isinstance(found, EndRecord) or (found is None and tunnel.state is not State.REQUESTED):
        tunnels.ended(ports, tunnel.id, found)
