"""What stewards do with permits, the status list that offline verifiers use, and the public register."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from broker.flows import tunnels
from broker.flows.act import Intent, act, end
from broker.flows.see import about_self, scoped, show
from sulku import ids, permits, standing
from sulku.clearance import mandate
from sulku.codec import Plain
from sulku.crypto import sign
from sulku.events import Happened
from sulku.ledger import canonical
from sulku.people import PUBLIC, Actor, service
from sulku.permits import Permit
from sulku.ports import Facts, Ports, Receipt
from sulku.records import Search
from sulku.tunnels import Cause
from sulku.tunnels import State as TunnelState


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the public register: no names of people."""

    permit: str
    title: str
    purpose: str
    organisation: str
    datasets: tuple[str, ...]
    starts: datetime
    ends: datetime
    state: str


def suspend(ports: Ports, by: Actor, permit: str, reason: str) -> Receipt:
    """Stop all work under a permit for now; its live tunnels close at once."""
    return _stop(ports, by, permit, permits.Suspend(reason))


def revoke(ports: Ports, by: Actor, permit: str, reason: str) -> Receipt:
    """End a permit for good; its live tunnels close at once."""
    return _stop(ports, by, permit, permits.Revoke(reason))


def resume(ports: Ports, by: Actor, permit: str) -> Receipt:
    """End a suspension. Tunnels that it closed stay closed."""
    return _do(ports, by, permit, permits.Resume())


def _stop(ports: Ports, by: Actor, permit: str, command: permits.Suspend | permits.Revoke) -> Receipt:
    receipt = _do(ports, by, permit, command)
    finish_tunnels(ports, permit, by)
    return receipt


def finish_tunnels(ports: Ports, permit: str, by: Actor) -> None:
    """End every live tunnel under ``permit``; may be repeated."""
    for tunnel in ports.store.find("tun", permit=permit):
        tunnels.finish(ports, tunnel.id, Cause.PERMIT, by)


def _do(ports: Ports, by: Actor, permit: str, command: permits.Command) -> Receipt:
    target = ids.parse(permit, "per")
    intent = Intent(by, command.ACTION, target, command, about_self(by))
    return act(ports, intent, lambda facts, _, at: permits.decide(facts[target], command))


def expire(ports: Ports, permit: Permit) -> None:
    """Record that a permit's last day has passed, and end what still lives under it."""
    clock = service("clock")

    def decide(facts: Facts, at: datetime) -> tuple[Happened, ...]:
        now = facts[permit.id]
        open_ = now.state in {permits.State.ACTIVE, permits.State.SUSPENDED}
        return (Happened(permit.id, permits.Expired(at)),) if open_ and at >= now.paper.ends else ()

    end(ports, mandate(permit.id, permit.paper.application, clock, "permit.expire"), decide)
    finish_tunnels(ports, permit.id, clock)


def over(ports: Ports, permit: str) -> bool:
    """Return whether ``permit`` and every tunnel under it have ended for good."""
    known: Permit = ports.store.peek([permit])[permit]
    return known.state in permits.OVER and all(one.state is TunnelState.CLOSED for one in ports.store.find("tun", permit=permit))


def wiped(ports: Ports, permit: str) -> None:
    """Record, once, that the homes of a permit that has ended are destroyed; may be repeated."""
    kind = permits.HomesWiped.TYPE
    if ports.archive.search(Search(record=permit, type=kind), before=None, most=1).entries:
        return
    known: Permit = ports.store.peek([permit])[permit]
    authority = mandate(permit, known.paper.application, service("worker"), kind)
    end(ports, authority, lambda _, at: [Happened(permit, permits.HomesWiped(at))])


def listing(ports: Ports, by: Actor, **where: Plain) -> list[Permit]:
    """Return the permits that ``by`` may see, newest first."""
    every = scoped(ports, by, "permit.list")
    return [one for one in ports.store.find("per", **where) if every or by.id in one.paper.people]


def view(ports: Ports, by: Actor, permit: str) -> Permit:
    """Return one permit, with its signed envelope.

    Raises:
        NotFoundError: There is none, or the reader may not know that there is.
    """
    return show(ports, by, "permit.view", ids.parse(permit, "per"))  # type: ignore[no-any-return]


def register(ports: Ports) -> list[Listed]:
    """Return the public register, newest first."""
    scoped(ports, PUBLIC, "register.view")
    rows = []
    for one in ports.store.find("per"):
        paper = one.paper
        names = tuple(f"{grant.name} {grant.version}" for grant in paper.grants)
        rows.append(Listed(one.id, paper.title, paper.purpose, paper.organisation, names, paper.starts, paper.ends, one.state))
    return rows


def status_list(ports: Ports) -> str:
    """Return the signed list of every permit's state, good for a day, which an offline verifier checks papers against."""
    body = standing.write(ports.store.find("per"), ports.clock.now(), ports.store.latest_checkpoint())
    return ports.signer.sign(sign.STATUS, canonical.canonical(body))
