"""A tunnel ends at its time whatever else is down: policy, database, worker, hub, gateway, or the clock beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from broker.flows import people, permits, tunnels
from broker.worker import handlers
from broker.worker.handlers import Watch
from sulku.clearance import Query
from sulku.codec import unstamp
from sulku.errors import (
    GateUnavailableError,
    HubUnavailableError,
    PolicyUnavailableError,
    RefusalError,
    SandboxError,
    StoreUnavailableError,
)
from sulku.tunnels import Cause
from tests.faults.world import Broken, Broker, swapped

PAST = timedelta(minutes=61)  # beyond the deadline of a tunnel of an hour


class Dead:
    """A policy engine that is down."""

    def ask(self, query: Query) -> Any:
        raise PolicyUnavailableError("nobody answers")


@dataclass
class Line:
    """The line to the database; while it is cut, only the spool, on a disk of its own, takes anything."""

    store: Any
    cut: bool = False

    def __getattr__(self, name: str) -> Any:
        if self.cut and name != "spool":
            raise StoreUnavailableError("nobody answers")
        return getattr(self.store, name)


@pytest.fixture
def line(made: Broker) -> Line:
    """The line between this broker and its database."""
    line = Line(made.ports.store)
    swapped(made, store=line)
    return line


def ticks(made: Broker, count: int = 1) -> None:
    for _ in range(count):
        made.clock.at += timedelta(seconds=1)
        made.watch.tick()


def told(made: Broker, record: str) -> Counter[str]:
    return Counter(entry["type"] for entry in made.ledger(record=record))


def require_ended(made: Broker, tunnel: str, cause: Cause) -> None:
    """Require that ``tunnel`` ended for ``cause``, said once, and that nothing of it is left."""
    seen = made.read(tunnel)
    assert (seen.state, seen.cause) == ("closed", cause)
    types = told(made, tunnel)
    assert (types["tunnel.closing"], types["tunnel.ended"]) == (1, 1)
    assert tunnel not in made.world.alive
    assert tunnel not in made.world.volumes
    assert not made.ports.store.find("mnt", tunnel=tunnel, state="attached")


def test_before_its_deadline_a_tunnel_is_left_alone(made: Broker) -> None:
    tunnel = made.tunnel()
    made.clock.at += timedelta(minutes=59)
    ticks(made, 5)
    made.work()
    assert made.read(tunnel).state == "open"
    assert made.world.alive == {tunnel}
    assert "gate.cut" not in made.world.asked


def test_at_its_deadline_it_is_cut_killed_and_recorded(made: Broker) -> None:
    tunnel = made.tunnel()
    made.clock.at += PAST
    ticks(made)
    made.work()
    require_ended(made, tunnel, Cause.DEADLINE)
    assert made.world.asked.index("gate.cut") < made.world.asked.index("workspace.stop")
    assert not made.world.served
    assert all(one.state == "detached" for one in made.ports.store.find("mnt", tunnel=tunnel))


# --- policy is down ---------------------------------------------------------------------------------------------------


def test_without_policy_a_tunnel_still_ends_by_its_deadline_its_person_and_a_steward(made: Broker) -> None:
    permit = made.permit()
    first, second = made.tunnel(permit), made.tunnel(permit, who="aki")
    swapped(made, policy=Dead())
    tunnels.close(made.ports, made.by("ada"), first)
    tunnels.halt(made.ports, made.by("bo"), "tunnel", second, "a complaint was made")
    made.work()
    require_ended(made, first, Cause.PERSON)
    require_ended(made, second, Cause.HALT)


def test_without_policy_a_deadline_and_the_end_of_a_permit_still_come(made: Broker) -> None:
    permit = made.permit()
    tunnel = made.tunnel(permit)
    swapped(made, policy=Dead())
    made.clock.at += PAST
    ticks(made)
    made.work()
    require_ended(made, tunnel, Cause.DEADLINE)
    made.clock.at = made.read(permit).paper.ends
    ticks(made)
    made.work()
    assert made.read(permit).state == "expired"
    assert made.world.wiped == [permit]


# --- the database is away ---------------------------------------------------------------------------------------------


def spooled(made: Broker) -> int:
    path = made.state / "spool.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_without_a_database_what_is_overdue_ends_and_is_recorded_once_later(made: Broker, line: Line) -> None:
    permit = made.permit()
    short, long = made.tunnel(permit, 60), made.tunnel(permit, 240, who="aki")
    ticks(made)
    line.cut = True
    made.clock.at += PAST
    ended = made.clock.at
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            ticks(made)
    assert made.world.alive == {long}
    assert made.world.asked.count("gate.cut") == made.world.asked.count("workspace.stop") == 1
    assert spooled(made) == 1
    made.clock.at += timedelta(minutes=10)
    line.cut = False
    ticks(made, 3)
    made.work()
    ticks(made)
    require_ended(made, short, Cause.DEADLINE)
    entry = next(entry for entry in made.ledger(record=short) if entry["type"] == "tunnel.closing")
    assert abs(unstamp(entry["clearance"]["spooled"]) - ended) < timedelta(seconds=2)
    assert made.read(long).state == "open"
    assert spooled(made) == 0
    made.ports.archive.verify()


def test_a_broker_that_dies_after_ending_it_unseen_records_it_once_all_the_same(made: Broker, line: Line) -> None:
    tunnel = made.tunnel()
    ticks(made)
    line.cut = True
    made.clock.at += PAST
    with pytest.raises(StoreUnavailableError):
        ticks(made)
    made.watch = Watch(made.ports, made.neighbours, lambda: None, lambda: None)  # another process, which remembers nothing
    with pytest.raises(StoreUnavailableError):
        ticks(made)
    line.cut = False
    ticks(made)
    made.work()
    require_ended(made, tunnel, Cause.DEADLINE)


def test_a_database_that_can_only_be_read_does_not_keep_a_tunnel_alive(made: Broker) -> None:
    tunnel = made.tunnel()

    def full(*_: object, **__: object) -> Any:
        raise StoreUnavailableError("the disk is full")

    begin, made.store.begin = made.store.begin, full  # type: ignore[method-assign]
    made.clock.at += PAST
    with pytest.raises(StoreUnavailableError):  # the first look of a broker that has just started
        ticks(made)
    assert not made.world.alive
    made.store.begin = begin  # type: ignore[method-assign]
    ticks(made)
    made.work()
    require_ended(made, tunnel, Cause.DEADLINE)


def test_one_workspace_that_cannot_be_killed_keeps_no_other_alive(made: Broker, line: Line) -> None:
    permit = made.permit()
    made.tunnel(permit), made.tunnel(permit, who="aki")
    ticks(made)
    stubborn: list[str] = []

    def fail(what: str) -> None:
        if what == "workspace.stop" and not stubborn:
            stubborn.append(what)
            raise Broken

    made.world.fail = fail
    line.cut = True
    made.clock.at += PAST
    with pytest.raises((Broken, StoreUnavailableError)):
        ticks(made)
    assert len(made.world.alive) == 1
    with pytest.raises(StoreUnavailableError):
        ticks(made)
    assert not made.world.alive


def test_a_spool_that_cannot_be_read_keeps_no_tunnel_alive(made: Broker) -> None:
    tunnel = made.tunnel()
    spool = made.state / "spool.jsonl"
    spool.mkdir()
    (spool / "what-is-this").write_text("?")
    made.clock.at += PAST
    with pytest.raises(OSError, match="directory"):
        ticks(made)
    made.work()
    require_ended(made, tunnel, Cause.DEADLINE)


# --- the worker, the hub, the gateway or the broker is down -----------------------------------------------------------


def test_without_a_worker_the_clock_ends_what_was_closed(made: Broker) -> None:
    tunnel = made.tunnel()
    tunnels.close(made.ports, made.by("ada"), tunnel)
    ticks(made, handlers.PATIENCE)
    assert made.world.alive == {tunnel}  # the worker has its time
    ticks(made)
    require_ended(made, tunnel, Cause.PERSON)
    made.work()  # it is back
    require_ended(made, tunnel, Cause.PERSON)
    assert not made.world.served


def test_the_supervisors_own_end_is_taken_in(made: Broker) -> None:
    tunnel = made.tunnel()
    made.clock.at += PAST
    made.world.end(tunnel, "deadline")  # nobody else was there
    at = made.world.records[tunnel].at
    made.clock.at += timedelta(hours=5)
    ticks(made)
    made.work()
    ticks(made)
    require_ended(made, tunnel, Cause.DEADLINE)
    assert made.read(tunnel).ended_at == at


def test_a_workspace_that_died_is_noticed_and_another_can_be_opened(made: Broker) -> None:
    permit = made.permit()
    tunnel = made.tunnel(permit)
    made.world.end(tunnel, "crashed")
    ticks(made)
    made.work()
    require_ended(made, tunnel, Cause.LOST)
    assert made.tunnel(permit)


@pytest.mark.parametrize(("who", "error"), [("hub.stop", HubUnavailableError), ("gate.cut", GateUnavailableError)])
def test_a_neighbour_that_is_away_keeps_nothing_alive_and_is_asked_again(made: Broker, who: str, error: type[Exception]) -> None:
    tunnel = made.tunnel()
    away = True

    def fail(what: str) -> None:
        if away and what == who:
            raise error("it is away")

    made.world.fail = fail
    tunnels.close(made.ports, made.by("ada"), tunnel)
    made.work()
    require_ended(made, tunnel, Cause.PERSON)
    away = False
    made.clock.at += timedelta(minutes=1)
    made.work()
    require_ended(made, tunnel, Cause.PERSON)
    assert not made.world.served
    assert made.store.outbox.waiting()[0] == 0


# --- the person or the permit ends ------------------------------------------------------------------------------------


def test_a_person_who_leaves_loses_every_tunnel_and_nobody_else_does(made: Broker) -> None:
    permit = made.permit()
    hers, his = made.tunnel(permit), made.tunnel(permit, who="aki")
    people.leave(made.ports, made.by("olli"), made.ids["ada"], "the project has ended")
    made.work()
    require_ended(made, hers, Cause.LEFT)
    assert made.read(his).state == "open"
    with pytest.raises(RefusalError):
        made.requested(permit)


def test_a_person_who_left_while_the_broker_died_loses_them_when_it_is_back(made: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel = made.tunnel()
    with monkeypatch.context() as patch:
        patch.setattr(tunnels, "finish", _die)
        with pytest.raises(Broken):
            people.leave(made.ports, made.by("olli"), made.ids["ada"], "the project has ended")
    assert made.read(tunnel).state == "open"
    made.work()
    require_ended(made, tunnel, Cause.LEFT)


def test_a_sign_in_that_is_released_is_cut_off_inside_its_tunnels_which_wait_for_the_next_one(made: Broker) -> None:
    permit = made.permit()
    hers, his = made.tunnel(permit), made.tunnel(permit, who="aki")
    for who in ("ada", "aki"):
        people.sign_in(made.ports, f"https://id.example|{who}", f"{who}@example.org", made.clock.now())
    ticket = tunnels.enter(made.ports, made.by("ada"), hers, "a" * 64)
    epochs = made.read(hers).epoch, made.read(his).epoch
    people.unbind(made.ports, made.by("olli"), made.ids["ada"], "the university gave her a new account")
    made.work()
    assert (made.read(hers).epoch, made.read(his).epoch) == (epochs[0] + 1, epochs[1])
    with pytest.raises(RefusalError):
        tunnels.redeem(made.ports, ticket, "a" * 64, hers)
    people.sign_in(made.ports, "https://id.example|anew", "ada@example.org", made.clock.now())
    again = tunnels.enter(made.ports, made.by("ada"), hers, "a" * 64)
    assert tunnels.redeem(made.ports, again, "a" * 64, hers).id == hers


def _die(*_: object) -> None:
    raise Broken


def test_a_suspension_ends_tunnels_and_keeps_the_work(made: Broker) -> None:
    permit = made.permit()
    tunnel = made.tunnel(permit)
    permits.suspend(made.ports, made.by("bo"), permit, "a complaint was made")
    made.work()
    require_ended(made, tunnel, Cause.PERMIT)
    assert not made.world.wiped
    permits.resume(made.ports, made.by("bo"), permit)
    assert made.tunnel(permit)
    assert made.read(tunnel).state == "closed"


def test_an_expired_permit_ends_its_tunnel_and_then_what_was_kept(made: Broker) -> None:
    other, permit = made.permit(), made.permit()
    made.clock.at = made.read(permit).paper.ends - timedelta(minutes=30)
    tunnel = made.tunnel(permit, 29)
    ticks(made)
    assert not made.world.wiped
    made.clock.at = made.read(permit).paper.ends
    ticks(made)
    made.work()
    ticks(made, 3)
    made.work()
    require_ended(made, tunnel, Cause.DEADLINE)
    assert set(made.world.wiped) == {permit, other}
    assert made.world.asked.index("workspace.stop") < made.world.asked.index("homes.wipe")
    assert told(made, permit)["permit.expired"] == told(made, permit)["permit.homes-wiped"] == 1


def test_homes_wait_for_the_last_tunnel(made: Broker) -> None:
    permit = made.permit()
    tunnel = made.tunnel(permit)
    alive: list[bool] = []
    made.world.fail = lambda what: alive.append(bool(made.world.alive)) if what == "homes.wipe" else None
    permits.revoke(made.ports, made.by("bo"), permit, "a complaint was true")
    made.work()
    assert alive
    assert not any(alive)
    require_ended(made, tunnel, Cause.PERMIT)


def test_homes_that_cannot_be_destroyed_are_tried_again_and_recorded_when_they_are(made: Broker) -> None:
    permit = made.permit()

    def fail(what: str) -> None:
        if what == "homes.wipe":
            raise SandboxError("still attached")

    made.world.fail = fail
    permits.revoke(made.ports, made.by("bo"), permit, "a complaint was true")
    for _ in range(9):
        made.clock.at += timedelta(minutes=2)
        made.work()
    assert not told(made, permit)["permit.homes-wiped"]
    assert made.store.outbox.troubles()
    made.world.fail = lambda what: None
    made.clock.at += timedelta(minutes=2)
    made.work()
    assert told(made, permit)["permit.homes-wiped"] == 1
    assert not made.store.outbox.troubles()
