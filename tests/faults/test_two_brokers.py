"""Two brokers at once on one PostgreSQL, each with a store, keys and a policy engine of its own: as if there were one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.adapters import policy
from broker.adapters.keys import FileKeys, secret
from broker.adapters.policy_regorus import RegorusPolicy
from broker.flows import outputs, releases, tunnels
from broker.flows.effects import effects_of
from broker.store.archive import Archive
from broker.store.store import SqlStore
from broker.worker.handlers import Watch
from sulku import ids
from sulku.errors import RefusalError, SulkuError
from sulku.outputs import Output
from tests.faults import world
from tests.faults.test_together import together
from tests.faults.world import Broker
from tests.servers import postgres

NONCE = hashlib.sha256(b"nonce").hexdigest()
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.running() as running:
        yield running


@pytest.fixture
def two(cluster: postgres.Cluster, tmp_path: Path) -> Iterator[tuple[Broker, Broker]]:
    name = ids.new("led")
    cluster.sql(f"CREATE DATABASE {name}")
    url = cluster.url(name)
    with world.broker(tmp_path / "state", url) as first:
        store = SqlStore(url, tmp_path / "second" / "spool.jsonl", timeout=30)
        keys = FileKeys(tmp_path / "state" / "keys")
        archive = Archive(store, keys, first.ports.blobs, first.ports.archive.policies, first.clock.now)  # type: ignore[attr-defined]
        rules = RegorusPolicy(policy.read(world.ROOT / "policies"))
        ports = replace(first.ports, policy=rules, store=store, signer=keys, archive=archive)
        watch = Watch(ports, first.neighbours, archive.checkpoint, lambda: None)
        yield first, replace(first, ports=ports, store=store, watch=watch)
        store.close()
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


def patiently(act: object, *given: object) -> object:
    """Do it as its caller does, who comes again when somebody else was first."""
    while True:
        try:
            return act(*given)  # type: ignore[operator]
        except RefusalError as error:
            if error.code != "stale":
                raise


def counted(made: Broker, record: str) -> Counter[str]:
    return Counter(entry["type"] for entry in made.ledger(record=record))


def test_a_tunnel_that_both_see_overdue_ends_once_on_record(two: tuple[Broker, Broker]) -> None:
    first, second = two
    tunnel = first.tunnel(minutes=5)
    first.clock.at += timedelta(minutes=6)

    def tick(made: Broker) -> None:
        try:
            made.watch.tick()
        except SulkuError as error:
            assert error.code == "stale"  # the other one was first; the next tick finds nothing to do

    for _ in range(4):
        together(lambda: tick(first), lambda: tick(second))
        together(first.work, second.work)
    assert first.read(tunnel).state == second.read(tunnel).state == "closed"
    kinds = counted(first, tunnel)
    assert (kinds["tunnel.closing"], kinds["tunnel.ended"]) == (1, 1)
    first.ports.archive.verify()


def test_what_is_due_is_done_by_one_of_them(two: tuple[Broker, Broker]) -> None:
    first, second = two
    permit = first.permit()
    first.work()
    opened = [first.requested(permit, who=who) for who in ("ada", "aki")]
    together(first.work, second.work, first.work, second.work)
    assert [first.read(one).state for one in opened] == ["open", "open"]
    assert Counter(first.world.asked)["hub.start"] == 2


def test_both_seal_one_head_by_one_checkpoint(two: tuple[Broker, Broker]) -> None:
    first, second = two
    for who in ("ada", "aki", "ada"):
        first.submitted(people=[first.ids["aki" if who == "ada" else "ada"]])
        notes = together(*[made.ports.archive.checkpoint for made in (first, second) * 4])  # type: ignore[attr-defined]
        assert len(set(notes)) == 1, notes
    assert len(first.store.ledger.checkpoints()) == len(second.store.ledger.checkpoints()) == 3


def test_a_ticket_is_taken_by_one_of_them(two: tuple[Broker, Broker]) -> None:
    first, second = two
    tunnel = first.tunnel()
    ticket = tunnels.enter(first.ports, first.by("ada"), tunnel, NONCE)
    answers = together(*[lambda made=made: patiently(tunnels.redeem, made.ports, ticket, NONCE, tunnel) for made in (first, second) * 3])
    assert len([one for one in answers if not isinstance(one, RefusalError)]) == 1, answers


def test_both_lease_from_one_budget(two: tuple[Broker, Broker]) -> None:
    first, second = two
    tunnel = first.tunnel()
    total, epoch = first.read(tunnel).budget, first.read(tunnel).epoch
    want = tunnels.MAX_SLICE

    def lease(made: Broker) -> int:
        return patiently(tunnels.lease, made.ports, tunnel, epoch, want, 0)[0]  # type: ignore[index,no-any-return]

    granted = 0
    while more := sum(together(*[lambda made=made: lease(made) for made in (first, second) * 2])):  # type: ignore[arg-type]
        granted += more
    assert granted == total, "all of it, and no byte more"
    assert first.read(tunnel).budget == 0


def test_a_file_that_two_gateways_pull_at_once_is_one_output_and_one_release(two: tuple[Broker, Broker]) -> None:
    first, second = two
    tunnel = first.tunnel()

    def pull(made: Broker) -> tuple[str, str]:
        frozen: Output = patiently(outputs.freeze, made.ports, tunnel, "s", "t.csv", b"n\n20\n", {})  # type: ignore[assignment]
        release = patiently(releases.submit, made.ports, tunnel, "A table", "", (frozen.id,), None, f"{tunnel}:s")
        return frozen.id, release.id  # type: ignore[attr-defined]

    answers = together(*[lambda made=made: pull(made) for made in (first, second) * 3])
    assert len(set(answers)) == 1, answers
    assert len(first.ports.store.find("out")) == len(first.ports.store.find("rel")) == 1


def test_secrets_that_several_make_at_once_are_one(tmp_path: Path) -> None:
    found = together(*[lambda n=n: secret(tmp_path / "secrets" / "hub", f"drawn by {n}") for n in range(16)])
    assert len(set(found)) == 1
    assert (tmp_path / "secrets" / "hub").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["hub"]


def test_an_ending_that_both_spooled_while_the_database_was_away_is_recorded_once(two: tuple[Broker, Broker]) -> None:
    first = two[0]
    tunnel = first.tunnel(minutes=5)
    for made in two:
        made.watch.tick()
    first.clock.at += timedelta(minutes=6)
    for made in two:
        made.watch._end_unseen()
    assert tunnel not in first.world.alive, "ended at once, whatever the database does"
    assert first.read(tunnel).state == "open"
    answers = together(*[lambda made=made: patiently(made.store.replay, made.clock.now(), effects_of) for made in two])
    assert answers == [1, 1]
    for made in two:
        made.watch.tick()
        made.work()
    kinds = counted(first, tunnel)
    assert (first.read(tunnel).state, kinds["tunnel.closing"], kinds["tunnel.ended"]) == ("closed", 1, 1)
    first.ports.archive.verify()
