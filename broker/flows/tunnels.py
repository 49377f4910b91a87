"""What people and our own parts do with tunnels. Opening needs a clearance; ending needs only what the opening carried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.flows.act import Intent, act, clear, command, end
from broker.flows.see import about_self, scoped, show
from sulku import ids, mounts, permits, tunnels
from sulku.clearance import Clearance, mandate
from sulku.closure import ClosureReport
from sulku.codec import Plain
from sulku.crypto import seal
from sulku.errors import DeniedError, NotFoundError, RefusalError, RuleError
from sulku.events import Event, Happened, Refused
from sulku.ledger import canonical
from sulku.mounts import Mount
from sulku.people import Actor, Role, service
from sulku.permits import Permit
from sulku.plan import EndRecord
from sulku.ports import Facts, Ports, Receipt
from sulku.texts import clean
from sulku.tunnels import LIVE, Cause, State, Tunnel

TICKET_LIFETIME: Final = timedelta(seconds=30)
MAX_SLICE: Final = 8 * 2**20  # bytes leased to a gateway at once
WORKER: Final = service("worker")
GATEWAY: Final = service("gateway")
CLOCK: Final = service("clock")


def open_(ports: Ports, by: Actor, permit: str, minutes: int, key: str | None = None) -> Receipt:
    """Ask for a tunnel under ``permit``; the worker opens it, and the deadline counts from now.

    Raises:
        PermitNotLiveError: The permit does not hold now.
        RuleError: Too long, too many at once, past the permit's end, or the asker is not on it.
    """
    wanted = tunnels.Open(ids.parse(permit, "per"), minutes)
    known: Permit = ports.store.peek([permit])[permit]
    grants = known.paper.grants if known.version else ()
    about = {**about_self(by), "permit": permit, **{f"dataset.{n}": grant.dataset for n, grant in enumerate(grants)}}
    target = ids.new("tun")

    def decide(facts: Facts, clearance: Clearance, at: datetime) -> Sequence[Happened]:
        mine = ports.store.find("tun", permit=permit, person=by.id)  # the permit's row is locked: nobody else opens one now
        live = sum(one.state in LIVE for one in mine)
        leased = sum(one.leased for one in mine)
        decision = clearance.basis.decision
        return [tunnels.request(target, wanted, facts[permit], by.id, live, leased, decision=decision, at=at)]

    return act(ports, Intent(by, wanted.ACTION, target, wanted, about, key), decide)


def prove(ports: Ports, tunnel: str, report: ClosureReport) -> Receipt:
    """Record that the probe inside found no way out; anything less ends the tunnel.

    Raises:
        RuleError: The probe got out, or its controls did not answer; the tunnel is ending.
    """
    if not report.closed:
        finish(ports, tunnel, Cause.NOT_CLOSED, WORKER, "; ".join(report.problems)[:900])
        raise RuleError("closure-not-proved", "the workspace could not be proved closed", "Operators have been told; try again later.")
    digest = seal.fingerprint(canonical.canonical(report.document()))
    proved = tunnels.ClosureProved(len(report.attempts), len(report.controls), digest)
    return _serve(ports, WORKER, "tunnel.prove", tunnel, proved, tunnels.Move.PROVE)


def opened(ports: Ports, tunnel: str) -> Receipt:
    """Record that the workspace answers; people may enter from here on."""
    return _serve(ports, WORKER, "tunnel.opened", tunnel, None, tunnels.Move.OPEN)


def _serve(ports: Ports, by: Actor, action: str, tunnel: str, event: Event | None, move: tunnels.Move) -> Receipt:
    known: Tunnel = ports.store.peek([tunnel])[tunnel]

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        tunnels.MACHINE.after(facts[tunnel].state, move)
        return [Happened(tunnel, event or tunnels.Opened(at))]

    return act(ports, Intent(by, action, tunnel, command(action), {"permit": known.permit}), decide)


def enter(ports: Ports, by: Actor, tunnel: str, nonce: str) -> str:
    """Return a single-use ticket for ``by``, bound to the browser whose cookie hashes to ``nonce`` (SHA-256, hex).

    Raises:
        DeniedError: Not theirs, signed in too long ago, or the permit has changed.
        RuleError: The tunnel is not open.
    """
    target = ids.parse(tunnel, "tun")
    known: Tunnel = ports.store.peek([target])[target]
    about = {**about_self(by), **({"permit": known.permit} if known.permit else {})}
    ticket = seal.token()

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        now: Tunnel = facts[target]
        tunnels.require_enterable(now, at)
        given = tunnels.EntryGranted(seal.digest(ticket), nonce, at + TICKET_LIFETIME, now.epoch, by.id)
        return [Happened(target, given)]

    act(ports, Intent(by, tunnels.Enter.ACTION, target, tunnels.Enter(nonce), about), decide)
    return ticket


def redeem(ports: Ports, ticket: str, nonce: str, tunnel: str) -> Tunnel:
    """Use a ticket up, for the gateway, and return the tunnel that it opens.

    Raises:
        NotFoundError: Unknown, used, expired, for another tunnel, another browser or an earlier epoch.
        RuleError: The tunnel is not open any more.
    """
    target = ids.parse(tunnel, "tun")
    intent = Intent(GATEWAY, "tunnel.entered", target, command("redeem", ticket=seal.digest(ticket)))
    clearance = clear(ports, intent)
    at = ports.clock.now()
    with ports.store.begin(clearance, at=at) as unit:
        now: Tunnel = unit.lock([target])[target]
        given = unit.spend_ticket(seal.digest(ticket), nonce, at)
        if given["noun"] != target or given["epoch"] != now.epoch:
            raise NotFoundError("this ticket opens nothing")
        tunnels.require_enterable(now, at)
        unit.record([Happened(target, tunnels.Entered(seal.digest(ticket), now.epoch))])
    return now


def lease(ports: Ports, tunnel: str, epoch: int, want: int, spent: int) -> tuple[int, Tunnel]:
    """Lease a slice of the egress budget to a gateway, before any of its bytes flow; 0 when there is none left."""
    target = ids.parse(tunnel, "tun")
    known: Tunnel = ports.store.peek([target])[target]
    granted = 0

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        nonlocal granted
        now: Tunnel = facts[target]
        tunnels.require_enterable(now, at)
        if now.epoch != epoch:
            raise RuleError("old-epoch", "the tunnel has moved on")
        granted = max(0, min(want, MAX_SLICE, now.budget))
        return [Happened(target, tunnels.BudgetLeased(granted, max(0, spent)))] if granted else []

    intent = Intent(GATEWAY, "tunnel.lease", target, command("lease", want=want, spent=spent), {"permit": known.permit})
    receipt = act(ports, intent, decide)
    return granted, receipt.facts[target]


def top_up(ports: Ports, by: Actor, tunnel: str, size: int, reason: str) -> Receipt:
    """Add ``size`` bytes to a live tunnel's egress budget, as a steward.

    Raises:
        RuleError: The tunnel is over, or no reason is given.
    """
    target = ids.parse(tunnel, "tun")
    wanted = tunnels.TopUp(size, reason.strip())
    known: Tunnel = ports.store.peek([target])[target]
    about = {**about_self(by), **({"permit": known.permit} if known.permit else {})}

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        tunnels.require_enterable(facts[target], at)
        if size <= 0 or len(wanted.reason) < 10:
            raise RuleError("reason-needed", "say how much and why, in at least 10 characters")
        return [Happened(target, tunnels.ToppedUp(size, wanted.reason))]

    return act(ports, Intent(by, wanted.ACTION, target, wanted, about), decide)


@dataclass(frozen=True, slots=True)
class Reported:
    """One thing that a gateway saw: ``refused``, ``executed`` or ``cut``.

    Attributes:
        run: One life of one gateway's process, drawn by itself: never a person's to choose, as a message's id is.
        number: 1, 2, … within the run, rising.
    """

    kind: str
    code: str
    detail: str
    run: str
    number: int
    count: int = 1


def report(ports: Ports, tunnel: str, seen: Sequence[Reported]) -> None:
    """Record, once, what a gateway saw in ``tunnel``: code that ran, and attempts that it refused.

    A gateway whose answer was lost says everything again; what its run has numbered no higher than before is known.

    Raises:
        StaleError: The tunnel moved on meanwhile; say it again.
    """
    target = ids.parse(tunnel, "tun")
    intent = Intent(GATEWAY, "tunnel.report", target, command("report", count=len(seen)))
    clearance = clear(ports, intent)
    with ports.store.begin(clearance, at=ports.clock.now()) as unit:
        person = unit.lock([target])[target].person
        upto = {run: max(one.number for one in seen if one.run == run) for run in {one.run for one in seen}}
        before = {run: unit.note_reports(target, run, number) for run, number in upto.items()}
        fresh = {(one.run, one.number): one for one in seen if one.number > before[one.run]}
        unit.record([Happened(target, _event(one, person)) for one in fresh.values()])


def _event(one: Reported, person: str) -> Event:
    if one.kind == "executed":
        return tunnels.CodeExecuted(one.detail, one.code)
    return Refused(f"gateway.{one.kind}", (one.code,), f"{person}: {one.detail}", one.count)


def close(ports: Ports, by: Actor, tunnel: str) -> None:
    """End a tunnel, as its person; needs no fresh decision, so that it works when policy is away.

    Raises:
        NotFoundError: There is none that the asker may end.
    """
    target = ids.parse(tunnel, "tun")
    known: Tunnel = ports.store.peek([target])[target]
    if by.id != known.person or not by.id:
        raise NotFoundError(f"there is no tunnel {target} of yours")
    finish(ports, target, Cause.PERSON, by)


def halt(ports: Ports, by: Actor, scope: str, identifier: str, reason: str) -> list[str]:
    """End every live tunnel of a ``scope`` (tunnel, person, permit, dataset, everything) at once, as a steward.

    Returns:
        The tunnels that were ended, the ending recorded.

    Raises:
        DeniedError: Only stewards may halt.
        RuleError: No reason, or no such scope.
    """
    if by.role is not Role.STEWARD:  # a steward needs no policy engine to stop something; anybody else is told no by it
        clear(ports, Intent(by, "tunnel.halt", ids.LEDGER, command("halt", scope=scope), about_self(by)))
        raise DeniedError("tunnel.halt", ["role-not-allowed"])
    if len(reason.strip()) < 10:
        raise RuleError("reason-needed", "say why, in at least 10 characters", "The people in the tunnels will read it.")
    ended = [one.id for one in concerned(ports, scope, identifier)]
    for one in ended:
        finish(ports, one, Cause.HALT, by, clean(reason, most=1000))
    return ended


def concerned(ports: Ports, scope: str, identifier: str) -> list[Tunnel]:
    """Return the live tunnels that a halt of ``scope`` would end.

    Raises:
        RuleError: No such scope.
    """
    return [one for one in live(ports) if _within(ports, one, scope, identifier)]


def _within(ports: Ports, tunnel: Tunnel, scope: str, identifier: str) -> bool:
    match scope:
        case "tunnel":
            return tunnel.id == identifier
        case "person":
            return tunnel.person == identifier
        case "permit":
            return tunnel.permit == identifier
        case "dataset":
            permit: Permit = ports.store.peek([tunnel.permit])[tunnel.permit]
            return identifier in {grant.dataset for grant in permit.paper.grants}
        case "everything":
            return True
        case _:
            raise RuleError("no-such-scope", f"nothing is called {scope[:20]!r}", "Halt a tunnel, person, permit, dataset or everything.")


def leave(ports: Ports, person: str, by: Actor) -> None:
    """End every session inside the open tunnels of ``person``, as their sign-in is over; the tunnels stay and wait for them."""
    for one in ports.store.find("tun", person=person, state=State.OPEN.value):
        authority = mandate(one.id, one.opened_by, by, "tunnel.leave")

        def decide(facts: Facts, at: datetime, tunnel: str = one.id) -> Sequence[Happened]:
            return [Happened(tunnel, tunnels.Left(at))] if facts[tunnel].state is State.OPEN else []

        end(ports, authority, decide)


def live(ports: Ports) -> list[Tunnel]:
    """Return every tunnel that has not begun to end."""
    return ports.store.find("tun", state=[state.value for state in LIVE])


def finish(ports: Ports, tunnel: str, cause: Cause, by: Actor = CLOCK, reason: str = "") -> None:
    """Record the end of a tunnel, whoever and whatever ends it; nothing if it is ending already.

    Raises:
        StoreUnavailableError: The record must wait; the clocks end the tunnel all the same.
    """
    known: Tunnel = ports.store.peek([tunnel])[tunnel]
    if known.state not in LIVE:
        return
    authority = mandate(tunnel, known.opened_by, by, f"tunnel.{cause.value}")
    end(ports, authority, lambda facts, at: tunnels.close(facts[tunnel], cause, at, reason))


def ended(ports: Ports, tunnel: str, found: EndRecord | None) -> None:
    """Record what was destroyed, and that every mount is gone; ends the tunnel first if a clock of its own did.

    ``None`` is a workspace that never ran, or of which nothing is left to tell. A tunnel of which there is no record is told
    of once, in the ledger.
    """
    known: Tunnel = ports.store.peek([tunnel])[tunnel]
    if found is not None and known.version == 0:
        _stray(ports, found)
        return
    if known.state in LIVE:
        finish(ports, tunnel, Cause.DEADLINE if found is not None and found.cause == "deadline" else Cause.LOST)
        known = ports.store.peek([tunnel])[tunnel]
    if known.state is not State.CLOSING:
        return
    attached: list[Mount] = ports.store.find("mnt", tunnel=tunnel)

    def decide(facts: Facts, at: datetime) -> Sequence[Happened]:
        if facts[tunnel].state is not State.CLOSING:
            return []
        gone = [one for mount in attached for one in mounts.detach(facts[mount.id], at)]
        return [*gone, Happened(tunnel, _closing_record(found, at))]

    authority = mandate(tunnel, known.opened_by, WORKER, "tunnel.ended")
    end(ports, authority, decide, also=[mount.id for mount in attached])


def _stray(ports: Ports, found: EndRecord) -> None:
    told = tunnels.StrayEnded(found.tunnel, found.at, found.processes_left, found.mounts_left, found.cause, found.detail)
    intent = Intent(WORKER, "ledger.alarm", ids.LEDGER, command("alarm", tunnel=found.tunnel), key=f"stray {found.tunnel}")
    act(ports, intent, lambda *_: [Happened(ids.LEDGER, told)])


def _closing_record(found: EndRecord | None, at: datetime) -> tunnels.Ended:
    if found is None:
        return tunnels.Ended(at, 0, 0, "never-ran", "no workspace was found")
    return tunnels.Ended(found.at, found.processes_left, found.mounts_left, found.cause, found.detail)


def sweep(ports: Ports) -> list[str]:
    """End what is past its time: tunnels at their deadline, tunnels whose permit moved on. Returns the tunnels ended."""
    now = ports.clock.now()
    over = []
    for one in live(ports):
        permit: Permit = ports.store.peek([one.permit])[one.permit]
        if one.deadline is not None and now >= one.deadline:
            over.append((one.id, Cause.DEADLINE))
        elif not _holds(permit, now) or permit.version != one.permit_version:
            over.append((one.id, Cause.PERMIT))
    for identifier, cause in over:
        finish(ports, identifier, cause)
    return [identifier for identifier, _ in over]


def _holds(permit: Permit, at: datetime) -> bool:
    try:
        permits.require_live(permit, at)
    except RefusalError:
        return False
    return True


def listing(ports: Ports, by: Actor, **where: Plain) -> list[Tunnel]:
    """Return the tunnels that ``by`` may see, newest first."""
    every = scoped(ports, by, "tunnel.list")
    return ports.store.find("tun", **where) if every else ports.store.find("tun", **{**where, "person": by.id})


def view(ports: Ports, by: Actor, tunnel: str) -> Tunnel:
    """Return one tunnel.

    Raises:
        NotFoundError: There is none, or the reader may not know that there is.
    """
    return show(ports, by, "tunnel.view", ids.parse(tunnel, "tun"))  # type: ignore[no-any-return]
