"""Policy, database, disk and clock fail in the middle of things: a clear no, a record of it, nothing changed, nothing lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.adapters import policy as adapter
from broker.adapters.policy_opa import OpaPolicy
from broker.adapters.policy_regorus import RegorusPolicy
from broker.flows import applications, outputs, permits, releases, tunnels
from broker.worker.handlers import OPENING
from sulku import ids, policies
from sulku.applications import Verdict
from sulku.clearance import Clearance, Query
from sulku.errors import DeniedError, PolicyUnavailableError, RuleError, StoreUnavailableError
from sulku.tunnels import Cause
from tests.faults import world
from tests.faults.world import ROOT, Broker, swapped
from tests.servers import opa, postgres

RULES = adapter.read(ROOT / "policies")
HOUR = timedelta(hours=1)
PAST = timedelta(minutes=61)


def told(made: Broker, record: str) -> Counter[str]:
    return Counter(entry["type"] for entry in made.ledger(record=record))


# --- policy -----------------------------------------------------------------------------------------------------------


@dataclass
class Answering:
    """A policy port whose engine answers by ``answer``; all else is the real adapter's."""

    answer: Callable[[str], str]
    bundle: policies.Bundle = RULES
    engine: str = "silly"

    def ask(self, query: Query) -> Clearance:
        return adapter.mint(query, self, ids.new)

    def evaluate(self, asked: str) -> str:
        return self.answer(asked)


def down(asked: str) -> str:
    raise PolicyUnavailableError("nobody answers")


def undefined() -> RegorusPolicy:
    """The real engine on rules that decide nothing."""
    return RegorusPolicy(policies.bundle({**RULES.files, "main.rego": "package sulku\n\ndecision := input.nothing\n"}))


def denying() -> RegorusPolicy:
    """The real engine on rules that know no action."""
    return RegorusPolicy(policies.bundle({**RULES.files, "data/roles.json": '{"actions":{}}'}))


SILENT = {
    "down": lambda: Answering(down),
    "empty": lambda: Answering(lambda asked: policies.settle(b"")),
    "words": lambda: Answering(lambda asked: policies.settle(b"yes")),
    "null": lambda: Answering(lambda asked: policies.settle(b"null")),
    "truth-as-text": lambda: Answering(lambda asked: policies.settle(b'{"allow":"true","reasons":[],"obligations":{}}')),
    "yes-with-reasons": lambda: Answering(lambda asked: policies.settle(b'{"allow":true,"reasons":["no"],"obligations":{}}')),
    "no-without-reasons": lambda: Answering(lambda asked: policies.settle(b'{"allow":false,"reasons":[],"obligations":{}}')),
    "undefined": undefined,
    "unknown-action": denying,
}


@pytest.mark.parametrize("how", SILENT)
def test_without_an_answer_nothing_begins_everything_ends_and_the_attempt_is_recorded(made: Broker, how: str) -> None:
    permit, application = made.permit(), made.submitted()
    tunnel = made.tunnel(permit)
    before, real = made.ports.store.peek([permit, application, tunnel]), made.ports.policy
    swapped(made, policy=SILENT[how]())
    attempts = [
        lambda: made.requested(permit, who="aki"),
        lambda: applications.judge(made.ports, made.by("bo"), application, Verdict.APPROVE),
        lambda: permits.revoke(made.ports, made.by("bo"), permit, "a complaint was true"),
        lambda: tunnels.enter(made.ports, made.by("ada"), tunnel, "a" * 64),
        lambda: outputs.freeze(made.ports, tunnel, "s", "t.csv", b"n\n20\n", {}),
    ]
    for attempt in attempts:
        with pytest.raises((PolicyUnavailableError, DeniedError)) as refused:
            attempt()
        assert refused.value.remedy()
        assert refused.value.code == ("denied" if how == "unknown-action" else "policy-unavailable")
    assert made.ports.store.peek([permit, application, tunnel]) == before
    assert len(made.ports.store.find("tun")) == 1
    assert Counter(made.refusals()) == {"unknown-action" if how == "unknown-action" else "policy-unavailable": len(attempts)}
    tunnels.close(made.ports, made.by("ada"), tunnel)
    made.work()
    assert made.read(tunnel).state == "closed"
    swapped(made, policy=real)  # it is back
    assert made.tunnel(permit, who="aki")


@pytest.mark.parametrize("seconds", [11, 3600, -2, -3600])
def test_a_decision_that_is_slow_or_from_another_time_is_worth_nothing(made: Broker, seconds: int) -> None:
    """A slow engine and a wall clock that jumps between the question and the record look alike, and get the same no."""
    permit, real = made.permit(), made.ports.policy

    class Slow:
        def ask(self, query: Query) -> Clearance:
            clearance = real.ask(query)
            made.clock.at += timedelta(seconds=seconds)
            return clearance

    swapped(made, policy=Slow())
    with pytest.raises(RuleError) as refused:
        tunnels.open_(made.ports, made.by("ada"), permit, 60, key="k")
    assert refused.value.rule == "clearance-expired"
    assert refused.value.remedy() == "Try again; nothing was changed."
    assert not made.ports.store.find("tun")
    assert made.refusals() == ["clearance-expired"]
    swapped(made, policy=real)
    assert tunnels.open_(made.ports, made.by("ada"), permit, 60, key="k").facts  # the key was not used up
    made.ports.archive.verify()


def test_a_decision_of_some_seconds_ago_still_counts(made: Broker) -> None:
    permit, real = made.permit(), made.ports.policy

    class Leisurely:
        def ask(self, query: Query) -> Clearance:
            clearance = real.ask(query)
            made.clock.at += timedelta(seconds=8)
            return clearance

    swapped(made, policy=Leisurely())
    assert made.requested(permit)


def test_a_policy_server_killed_in_the_middle_of_an_opening_lets_no_data_in(made: Broker) -> None:
    permit, embedded = made.permit(), made.ports.policy
    with ExitStack() as server:
        remote = OpaPolicy(server.enter_context(opa.serving()), RULES, timeout=20)
        remote.publish()
        swapped(made, policy=remote)
        first = made.tunnel(permit)  # liveness: with the server, all of it works
        tunnel = made.requested(permit, who="aki")
        made.world.fail = lambda what: server.close() if what == "vault.materialise" else None
        made.work()
        made.clock.at += OPENING
        made.work()
        assert made.read(tunnel).cause is Cause.FAILED
        assert "workspace.release" not in made.world.asked[made.world.asked.index("workspace.stop") - 2 :]
        assert tunnel not in made.world.volumes
        assert made.world.alive == {first}
        assert made.refusals()[0] == "policy-unavailable"
        with pytest.raises(PolicyUnavailableError):
            made.requested(permit, who="aki")
        made.clock.at += PAST
        made.watch.tick()
        made.work()
        assert made.read(first).cause is Cause.DEADLINE
        assert not made.world.alive
        remote.close()
    swapped(made, policy=embedded)
    assert made.tunnel(permit)


# --- the database -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.running() as running:
        yield running


@pytest.fixture
def served(cluster: postgres.Cluster, tmp_path: Path) -> Iterator[Broker]:
    """A broker on PostgreSQL."""
    name = ids.new("led")
    cluster.sql(f"CREATE DATABASE {name}")  # type: ignore[arg-type]  # an id of ours
    with world.broker(tmp_path / "state", cluster.url(name)) as made:
        yield made


@pytest.fixture
def stopped(cluster: postgres.Cluster) -> Iterator[Callable[[], None]]:
    """Stop the server, once; it runs again when the test calls ``cluster.start`` or ends."""
    yield cluster.stop
    if not (cluster.folder / "data" / "postmaster.pid").exists():
        cluster.start()


def test_a_database_that_goes_away_in_a_request_refuses_and_remembers_that_somebody_tried(
    served: Broker, cluster: postgres.Cluster, stopped: Callable[[], None]
) -> None:
    permit, real = served.permit(), served.ports.policy

    class Unlucky:
        def ask(self, query: Query) -> Clearance:
            clearance = real.ask(query)
            stopped()
            return clearance

    swapped(served, policy=Unlucky())
    with pytest.raises(StoreUnavailableError) as refused:
        tunnels.open_(served.ports, served.by("ada"), permit, 60, key="k")
    assert "Try again" in refused.value.remedy()
    swapped(served, policy=real)
    with pytest.raises(StoreUnavailableError):
        served.requested(permit)
    cluster.start()
    assert not served.ports.store.find("tun")
    served.watch.tick()
    assert served.refusals() == ["store-unavailable"]
    once = tunnels.open_(served.ports, served.by("ada"), permit, 60, key="k")
    again = tunnels.open_(served.ports, served.by("ada"), permit, 60, key="k")
    assert again.repeated
    assert set(again.facts) == set(once.facts)
    assert len(served.ports.store.find("tun")) == 1
    served.ports.archive.verify()


def test_a_database_that_is_away_at_the_deadline_keeps_no_tunnel_alive(
    served: Broker, cluster: postgres.Cluster, stopped: Callable[[], None]
) -> None:
    permit = served.permit()
    short, long = served.tunnel(permit, 60), served.tunnel(permit, 240, who="aki")
    served.watch.tick()
    stopped()
    served.clock.at += PAST
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            served.watch.tick()
    assert served.world.alive == {long}
    cluster.start()
    served.watch.tick()
    served.work()
    served.watch.tick()
    assert (served.read(short).state, served.read(short).cause) == ("closed", Cause.DEADLINE)
    assert (told(served, short)["tunnel.closing"], told(served, short)["tunnel.ended"]) == (1, 1)
    assert served.read(long).state == "open"
    served.ports.archive.verify()


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Broker]:
    """A broker whose disk is small; its spool is on the same one."""
    if os.geteuid():
        pytest.skip("only root mounts a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", str(disk)], check=True)
    try:
        with world.broker(disk / "state") as made:
            yield made
    finally:
        subprocess.run(["/usr/bin/umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    assert not shutil.disk_usage(disk).free
    return ballast


def test_a_full_disk_refuses_loses_nothing_and_keeps_no_tunnel_alive(small: Broker) -> None:
    permit = small.permit()
    tunnel = small.tunnel(permit)
    release = small.release(tunnel, b"n\n20\n")
    small.watch.tick()
    before = small.ports.store.peek([permit, tunnel, release])
    size, _ = small.ports.archive.head()
    ballast = fill(small.state.parent)
    attempts = [
        lambda: outputs.freeze(small.ports, tunnel, "s2", "big.csv", b"n\n" + b"20\n" * 50_000, {}),
        lambda: small.requested(permit, who="aki"),
        lambda: small.judge(release, "bo"),
    ]
    for attempt in attempts:
        with pytest.raises(StoreUnavailableError) as refused:
            attempt()
        assert refused.value.remedy()
    assert small.ports.store.peek([permit, tunnel, release]) == before
    assert small.ports.archive.head()[0] == size
    small.clock.at += PAST
    with pytest.raises(StoreUnavailableError):
        small.watch.tick()
    assert not small.world.alive

    ballast.unlink()
    small.watch.tick()
    small.work()
    assert (small.read(tunnel).state, small.read(tunnel).cause) == ("closed", Cause.DEADLINE)
    assert (told(small, tunnel)["tunnel.closing"], told(small, tunnel)["tunnel.ended"]) == (1, 1)
    small.judge(release, "bo", "cy")
    releases.consolidate(small.ports, small.by("cy"), release, let_out=True)
    small.work()
    assert small.read(release).state == "released"
    small.ports.archive.verify()


# --- the clock --------------------------------------------------------------------------------------------------------


def test_a_clock_that_jumped_ahead_and_back_does_not_hold_up_an_ending(made: Broker) -> None:
    tunnel = made.tunnel(minutes=240)
    made.clock.at += HOUR
    tunnels.halt(made.ports, made.by("bo"), "tunnel", tunnel, "a complaint was made")
    made.clock.at -= HOUR  # the worker's orders are an hour ahead now
    made.work()
    for _ in range(5):
        made.clock.at += timedelta(seconds=1)
        made.watch.tick()
    assert made.read(tunnel).state == "closed"
    assert not made.world.alive
    made.clock.at += HOUR
    made.work()
    assert not made.world.served
    made.ports.archive.verify()


def test_a_clock_that_jumped_back_opens_nothing_again_and_ends_what_was_over(made: Broker) -> None:
    permit = made.permit()
    tunnel = made.tunnel(permit)
    made.clock.at += PAST
    made.watch.tick()
    made.clock.at -= HOUR
    for _ in range(5):
        made.watch.tick()
    made.work()
    assert made.read(tunnel).state == "closed"
    ada = made.by("ada")
    with pytest.raises((RuleError, DeniedError)):
        tunnels.enter(made.ports, replace(ada, signed_in=made.clock.at), tunnel, "a" * 64)
    assert made.tunnel(permit)
    made.ports.archive.verify()
