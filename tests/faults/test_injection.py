"""A fault at every call that an effect makes: done again, it ends in the right state, once in effect, and nothing is orphaned."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from broker.flows import outputs, permits, releases, tunnels
from broker.worker.handlers import Watch
from sulku import ids
from sulku.closure import WAYS
from sulku.errors import RefusalError, StaleError, StoreUnavailableError, SulkuError
from sulku.ports import Unit
from sulku.tunnels import Cause
from tests.faults.world import Broken, Broker, swapped


class KilledError(BaseException):
    """The process died here: nobody catches this, and a claimed effect stays claimed until its lease ends."""


@dataclass
class Trip:
    """Hears every call; while armed, it lets call number ``at`` of those that begin with ``only`` fail."""

    at: int = 0
    only: str = ""
    fault: type[BaseException] | None = None
    heard: list[str] = field(default_factory=list)
    fired: str = ""

    def arm(self, at: int, fault: type[BaseException], only: str) -> None:
        self.at, self.fault, self.only, self.heard, self.fired = at, fault, only, [], ""

    def __call__(self, step: str) -> None:
        if self.fault is None or not step.startswith(self.only):
            return
        self.heard.append(step)
        if len(self.heard) == self.at + 1:
            fault, self.fault, self.fired = self.fault, None, step
            raise fault(f"at {step}")


@dataclass
class Heard:
    """A port whose every call goes by the trip: before it, and after those that changed something."""

    inner: Any
    name: str
    trip: Trip

    def __getattr__(self, attribute: str) -> Any:
        found, step = getattr(self.inner, attribute), f"{self.name}.{attribute}"

        def call(*arguments: Any, **named: Any) -> Any:
            self.trip(step)
            answer = found(*arguments, **named)
            if step == "store.begin":
                return self._unit(answer)
            if attribute in {"put", "spool"}:
                self.trip(f"{step} done")
            return answer

        return call if callable(found) else found

    @contextmanager
    def _unit(self, begun: AbstractContextManager[Unit]) -> Iterator[Unit]:
        with begun as unit:
            yield unit
            self.trip("store.commit")
        self.trip("store.committed")


@pytest.fixture
def trip(made: Broker) -> Trip:
    """A trip that hears all that flows and handlers ask of the broker's ports and neighbours."""
    trip = Trip()
    names = ("policy", "store", "signer", "blobs", "archive")
    swapped(made, **{name: Heard(getattr(made.ports, name), name, trip) for name in names})
    made.world.fail = trip
    return trip


FAULTS = [(KilledError, ""), (Broken, ""), (StoreUnavailableError, "store."), (StoreUnavailableError, "blobs.")]
every_fault = pytest.mark.parametrize(("fault", "only"), FAULTS, ids=["killed", "broken", "store-away", "disk-full"])


def at_each_call(
    trip: Trip,
    fault: type[BaseException],
    only: str,
    *,
    prepare: Callable[[], str],
    do: Callable[[str], object],
    check: Callable[[str, str], None],
) -> int:
    """Prepare, do it with a fault at the first call, and check; then at the second, and so on; return how many calls there were."""
    at = 0
    while True:
        target = prepare()
        trip.arm(at, fault, only)
        with contextlib.suppress(KilledError, Broken, SulkuError):
            do(target)
        trip.fault = None
        check(target, f"{fault.__name__} at call {at}, {trip.fired}")
        if not trip.fired:
            return at
        at += 1


def recover(made: Broker) -> None:
    """Begin anew, as a process that starts again, and let every lease and pause pass."""
    made.watch = Watch(made.ports, made.neighbours, lambda: None, lambda: None)
    for seconds in (121, 5, 5):
        made.clock.at += timedelta(seconds=seconds)
        made.work()
        made.watch.tick()
    made.work()


def require_whole(made: Broker, why: str) -> None:
    """Require that nothing waits and nothing is orphaned: what lives is what the record says lives."""
    known = made.ports.store.find("tun")
    live = {one.id for one in known if one.state == "open"}
    assert {one.state for one in known} <= {"open", "closed"}, why
    assert made.world.alive == live, why
    assert set(made.world.volumes) == live, why
    assert made.world.served == live, why
    assert {one.tunnel for one in made.ports.store.find("mnt", state="attached")} == live, why
    assert made.store.outbox.waiting()[0] == 0, why
    assert not [one for one in made.store.outbox.troubles() if one.failed], why


def once(made: Broker, record: str, *types: str) -> None:
    """Require that each of ``types`` is in the ledger about ``record`` exactly once."""
    found = Counter(entry["type"] for entry in made.ledger(record=record))
    assert {one: found[one] for one in types} == dict.fromkeys(types, 1)


@every_fault
def test_an_opening_goes_on_where_it_was_left_or_ends_whole(made: Broker, trip: Trip, fault: type[BaseException], only: str) -> None:
    permit, causes = made.permit(), Counter[str]()

    def check(tunnel: str, why: str) -> None:
        recover(made)
        require_whole(made, why)
        if made.read(tunnel).state == "open":
            once(made, tunnel, "tunnel.requested", "tunnel.closure-proved", "tunnel.opened")
            assert len(made.ports.store.find("mnt", tunnel=tunnel)) == 1, why
            tunnels.close(made.ports, made.by("ada"), tunnel)
            made.work()
            require_whole(made, why)
        once(made, tunnel, "tunnel.requested", "tunnel.closing", "tunnel.ended")
        causes[made.read(tunnel).cause] += 1

    calls = at_each_call(trip, fault, only, prepare=lambda: made.requested(permit), do=lambda _: made.work(), check=check)
    assert causes[Cause.PERSON]
    if fault in {KilledError, Broken}:
        assert calls >= 25
        assert set(causes) == {Cause.PERSON}, causes  # each of them opened in the end
    made.ports.archive.verify()


@every_fault
def test_a_closing_is_finished(made: Broker, trip: Trip, fault: type[BaseException], only: str) -> None:
    permit = made.permit()

    def close(tunnel: str) -> None:
        tunnels.close(made.ports, made.by("ada"), tunnel)
        made.work()

    def check(tunnel: str, why: str) -> None:
        recover(made)
        if made.read(tunnel).state == "open":  # that she wanted it closed was not recorded: she says it again
            assert made.world.alive == {tunnel}, why
            close(tunnel)
        require_whole(made, why)
        once(made, tunnel, "tunnel.closing", "tunnel.ended")
        assert made.read(tunnel).cause is Cause.PERSON
        assert not made.world.alive

    calls = at_each_call(trip, fault, only, prepare=lambda: made.tunnel(permit), do=close, check=check)
    assert calls > 8 or only == "blobs."
    made.ports.archive.verify()


@every_fault
def test_a_revoked_permit_leaves_neither_tunnels_nor_homes(made: Broker, trip: Trip, fault: type[BaseException], only: str) -> None:
    def prepare() -> str:
        permit = made.permit()
        made.tunnel(permit)
        return permit

    def revoke(permit: str) -> None:
        permits.revoke(made.ports, made.by("bo"), permit, "a complaint was true")
        made.work()

    def check(permit: str, why: str) -> None:
        recover(made)
        if made.read(permit).state == "active":  # it was not recorded: he says it again
            assert permit not in made.world.wiped, why
            revoke(permit)
        require_whole(made, why)
        assert not made.world.alive
        assert permit in made.world.wiped, why
        once(made, permit, "permit.revoked", "permit.homes-wiped")

    at_each_call(trip, fault, only, prepare=prepare, do=revoke, check=check)


def submitted(made: Broker) -> str:
    """Submit a table from whatever tunnel is open, or a new one."""
    live = made.ports.store.find("tun", state="open")
    tunnel = live[0].id if live else made.tunnel(minutes=480)
    frozen = outputs.freeze(made.ports, tunnel, ids.new("out"), "t.csv", b"n\n20\n", {})
    return releases.submit(made.ports, tunnel, "A table", "", (frozen.id,)).id


@every_fault
def test_a_file_is_inspected_and_compared_once(made: Broker, trip: Trip, fault: type[BaseException], only: str) -> None:
    def check(release: str, why: str) -> None:
        recover(made)
        seen = made.read(release)
        once(made, seen.items[0].output, "output.frozen", "output.inspected")
        once(made, release, "release.submitted", "release.item-rebuilt", "release.compared")
        made.judge(release, "bo", "cy")
        assert made.read(release).phase == "consolidating", why
        assert made.store.outbox.waiting()[0] == 0, why

    calls = at_each_call(trip, fault, only, prepare=lambda: submitted(made), do=lambda _: made.work(), check=check)
    assert calls >= (2 if only == "blobs." else 8)


@every_fault
def test_a_release_is_delivered_once(made: Broker, trip: Trip, fault: type[BaseException], only: str) -> None:
    def approved() -> str:
        release = submitted(made)
        made.work()
        made.judge(release, "bo", "cy")
        releases.consolidate(made.ports, made.by("cy"), release, let_out=True)
        return release

    def check(release: str, why: str) -> None:
        recover(made)
        output = made.read(release).items[0].output
        once(made, release, "release.approved", "release.delivered")
        once(made, output, "output.inspected", "output.released")
        assert releases.fetch(made.ports, made.by("aki"), release, output)[2] == b"N\n20\n", why
        assert made.store.outbox.waiting()[0] == 0, why

    calls = at_each_call(trip, fault, only, prepare=approved, do=lambda _: made.work(), check=check)
    assert calls >= (1 if only == "blobs." else 5)


# --- somebody acts in the middle --------------------------------------------------------------------------------------


def interrupted(made: Broker, at: int, act: Callable[[], None]) -> list[str]:
    """Act once, at call number ``at`` to a neighbour; return the calls."""
    calls: list[str] = []

    def heard(what: str) -> None:
        calls.append(what)
        if len(calls) == at + 1:
            act()

    made.world.fail = heard
    return calls


@pytest.mark.parametrize("ended", ["recorded", "done"])
def test_a_tunnel_that_is_halted_at_any_moment_of_its_opening_is_gone(made: Broker, ended: str) -> None:
    permit, at = made.permit(), 0
    while True:
        tunnel = made.requested(permit)

        def halt(tunnel: str = tunnel) -> None:
            made.world.fail = lambda what: None
            tunnels.halt(made.ports, made.by("bo"), "tunnel", tunnel, "a complaint was made")
            if ended == "done":  # another worker does it at once
                made.work()

        calls = interrupted(made, at, halt)
        made.work()
        made.world.fail = lambda what: None
        if len(calls) <= at:
            break
        recover(made)
        require_whole(made, f"halted at {calls[at]}")
        once(made, tunnel, "tunnel.closing", "tunnel.ended")
        assert made.read(tunnel).cause is Cause.HALT
        assert not made.world.alive
        at += 1
    assert at >= 6
    assert made.read(tunnel).state == "open"  # liveness: nobody halted this one
    assert made.world.alive == {tunnel}


def test_a_broker_that_dies_in_an_opening_that_was_over_leaves_no_workspace(made: Broker) -> None:
    tunnel = made.requested(made.permit())

    def late(what: str) -> None:
        if what == "workspace.start":  # it ends, and is found to have nothing running, just before its workspace begins
            made.world.fail = _dies_after_start
            tunnels.halt(made.ports, made.by("bo"), "tunnel", tunnel, "a complaint was made")
            made.work()
            assert made.read(tunnel).state == "closed"

    made.world.fail = late
    with pytest.raises(KilledError):
        made.work()
    assert made.world.alive == {tunnel}
    assert not made.world.volumes
    made.world.fail = lambda what: None
    recover(made)
    require_whole(made, "a workspace that nobody has a record of")
    assert not made.world.alive


def _dies_after_start(what: str) -> None:
    if what == "workspace.started":
        raise KilledError


def test_two_that_find_the_same_end_record_it_once(made: Broker, trip: Trip) -> None:
    tunnel = made.tunnel()
    tunnels.close(made.ports, made.by("ada"), tunnel)
    found = made.world.stop(tunnel)
    real, calls = made.ports.store.find, []

    def find(noun: str, **where: Any) -> Any:
        calls.append(noun)
        if noun == "mnt" and calls.count("mnt") == 1:  # between the look and the record, another clock records it
            tunnels.ended(made.ports, tunnel, found)
        return real(noun, **where)

    made.ports.store.find = find  # type: ignore[method-assign]
    tunnels.ended(made.ports, tunnel, found)
    once(made, tunnel, "tunnel.closing", "tunnel.ended")
    assert {one.state for one in real("mnt", tunnel=tunnel)} == {"detached"}


def test_a_clock_that_looks_at_any_moment_does_not_disturb_an_opening(made: Broker) -> None:
    made.world.fail = lambda what: made.watch.tick()
    tunnel = made.tunnel()
    once(made, tunnel, "tunnel.requested", "tunnel.closure-proved", "tunnel.opened")
    assert made.world.alive == {tunnel}


def test_an_opening_whose_lease_ended_does_not_close_what_another_worker_opened(made: Broker) -> None:
    permit = made.permit()
    tunnel = made.requested(permit)

    def again() -> None:
        made.world.fail = lambda what: None
        made.clock.at += timedelta(seconds=121)
        made.work()
        assert made.read(tunnel).state == "open"

    interrupted(made, 0, again)
    made.work()
    assert made.read(tunnel).state == "open"
    once(made, tunnel, "tunnel.opened")


def test_a_lost_race_at_the_last_step_of_an_opening_is_run_again(made: Broker, trip: Trip) -> None:
    made.world.fail = lambda what: trip.arm(0, StaleError, "store.commit") if what == "hub.started" else None
    tunnel = made.requested(made.permit())
    made.work()
    assert trip.fired
    assert made.read(tunnel).state == "proved"
    made.world.fail = lambda what: None
    recover(made)
    assert made.read(tunnel).state == "open"
    require_whole(made, "a lost race")


def test_a_workspace_that_is_not_closed_gets_no_data_and_ends(made: Broker) -> None:
    made.world.hole = min(WAYS)
    tunnel = made.requested(made.permit())
    made.work()
    assert made.read(tunnel).cause is Cause.NOT_CLOSED
    assert not [one for one in made.world.asked if one in {"vault.materialise", "workspace.release"}]
    assert not made.ports.store.find("mnt")
    require_whole(made, "a hole")
    with pytest.raises(RefusalError):
        tunnels.enter(made.ports, made.by("ada"), tunnel, "a" * 64)
