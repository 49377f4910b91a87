"""What breaks in the middle: whatever happens between any two statements, ledger and rows agree afterwards, and it goes on."""

# ruff: noqa: PT012  # a change is a with block, and what refuses is inside it

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from broker.flows.effects import effects_of
from broker.store.store import SqlStore
from broker.store.verify import verify
from sulku import ids, mounts, tunnels
from sulku.errors import IntegrityError, StaleError, StoreUnavailableError
from sulku.events import Happened
from tests.servers import postgres
from tests.store import deeds
from tests.store.deeds import AINO, AT, SAGA, cleared, closing, everything


@contextmanager
def failing(store: SqlStore, at: int) -> Iterator[list[str]]:
    """Let statement number ``at`` (from 0), or the commit after the last, fail as a lost connection would."""
    sent: list[str] = []

    def fail(*arguments: Any) -> None:
        sent.append(str(arguments[2]) if len(arguments) > 2 else "COMMIT")
        if len(sent) == at + 1:
            raise OperationalError("injected", None, Exception("gone"))

    event.listen(store.database.engine, "before_cursor_execute", fail)
    event.listen(store.database.engine, "commit", fail)
    try:
        yield sent
    finally:
        event.remove(store.database.engine, "before_cursor_execute", fail)
        event.remove(store.database.engine, "commit", fail)


def test_a_fault_between_any_two_statements_leaves_nothing_behind(store: SqlStore) -> None:
    tunnel = deeds.tunnel(store, tunnels.ClosureProved(1, 1, "0" * 64))
    mount = ids.new("mnt")
    happened = [
        Happened(mount, mounts.Attached(tunnel, deeds.grant(), AT)),
        Happened(tunnel, tunnels.EntryGranted("digest", "nonce", AT, 1, AINO.id)),
        Happened(tunnel, tunnels.CodeExecuted("x = 1", "k")),
        Happened(tunnel, closing()),
    ]
    clearance, before = cleared(store, SAGA, tunnel, mount), everything(store)

    def attempt(at: int) -> tuple[bool, list[str]]:
        with failing(store, at) as sent:
            try:
                with store.begin(clearance, at=AT, key="k") as unit:
                    unit.lock([tunnel, mount])
                    unit.record(happened, effects_of)
            except StoreUnavailableError:
                return False, sent
            return True, sent

    at = 0
    while True:
        done, sent = attempt(at)
        if done:
            break
        at += 1
        assert len(sent) == at
        assert everything(store) == before, f"after a fault at {sent[-1]}"
    assert len(sent) >= 10
    assert sent[-1] == "COMMIT"
    after = everything(store)
    changed = {"ledger_entries", "ledger_private", "ledger_head", "tunnels", "mounts", "tickets", "decisions", "keys", "outbox"}
    assert {name for name in after if after[name] != before[name]} == changed
    assert verify(store.database).records == 2


def test_a_full_disk_refuses_and_a_freed_one_goes_on(sqlite_url: str, tmp_path: Path) -> None:
    store = SqlStore(sqlite_url, tmp_path / "spool")
    identifier = deeds.tunnel(store)
    before = everything(store)

    @event.listens_for(store.database.engine, "begin")
    def limit(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() if full else 2**30
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    full = True
    with pytest.raises(StoreUnavailableError, match="full"):
        deeds.do(store, SAGA, identifier, *(tunnels.CodeExecuted(f"{n}" * 20_000, "k") for n in range(9)))
    assert everything(store) == before
    full = False
    deeds.do(store, SAGA, identifier, tunnels.CodeExecuted("x" * 20_000, "k"))
    assert verify(store.database).entries == 2
    store.close()


def test_a_busy_database_is_given_up_on_in_time(store: SqlStore, url: str, tmp_path: Path) -> None:
    identifier = deeds.tunnel(store)
    other = SqlStore(url, tmp_path / "spool", timeout=1.0)
    with store.begin(cleared(store, AINO, identifier), at=AT) as unit:
        unit.lock([identifier])
        with pytest.raises(StoreUnavailableError):
            deeds.end(other, identifier, closing())
    deeds.end(other, identifier, closing())
    other.close()


def test_a_damaged_file_is_evidence_not_an_outage(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    path.write_bytes(b"not a database at all" * 500)
    store = SqlStore(sqlite_url, tmp_path / "spool")
    with pytest.raises(IntegrityError, match="damaged"):
        store.peek([ids.new("tun")])
    store.close()


def test_a_connection_cut_in_a_change_undoes_it_and_the_next_change_works(postgres_url: str, cluster: postgres.Cluster, tmp_path: Path) -> None:
    store = SqlStore(postgres_url, tmp_path / "spool")
    identifier = deeds.tunnel(store)
    before = everything(store)
    with pytest.raises(StoreUnavailableError), store.begin(deeds.mandate(identifier), at=AT) as unit:
        unit.lock([identifier])
        unit.record([Happened(identifier, closing())])
        name = postgres_url.split("@/")[1].split("?", maxsplit=1)[0]
        cluster.psql(name, "-c", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    assert everything(store) == before
    deeds.end(store, identifier, closing())
    assert verify(store.database).records == 1
    store.close()


def test_a_server_that_was_away_is_found_again(postgres_url: str, cluster: postgres.Cluster, tmp_path: Path) -> None:
    store = SqlStore(postgres_url, tmp_path / "spool", timeout=2.0)
    identifier = deeds.tunnel(store)
    cluster.stop()
    try:
        with pytest.raises(StoreUnavailableError):
            store.peek([identifier])
        with pytest.raises(StoreUnavailableError):
            deeds.end(store, identifier, closing())
    finally:
        cluster.start()
    deeds.end(store, identifier, closing())
    assert verify(store.database).entries == 2
    store.close()


def test_two_who_act_on_the_same_record_at_once_do_not_both_win(store: SqlStore) -> None:
    identifier = deeds.tunnel(store)
    outcomes: list[str] = []
    clearances = [cleared(store, AINO, identifier) for _ in range(8)]
    together = threading.Barrier(len(clearances))

    def act(n: int) -> None:
        together.wait()
        try:
            with store.begin(clearances[n], at=AT) as unit:
                unit.lock([identifier])
                unit.record([Happened(identifier, tunnels.BudgetLeased(n, 0))])
            outcomes.append("done")
        except StaleError:
            outcomes.append("stale")

    run([threading.Thread(target=act, args=(n,)) for n in range(len(clearances))])
    assert sorted(outcomes) == ["done"] + ["stale"] * 7
    assert store.peek([identifier])[identifier].version == 2


def test_the_head_never_forks_however_many_write(store: SqlStore) -> None:
    errors: list[BaseException] = []
    shared = [deeds.tunnel(store) for _ in range(3)]

    def act(n: int) -> None:
        try:
            for turn in range(8):
                deeds.tunnel(store)
                with store.begin(deeds.mandate(shared[n % 3]), at=AT) as unit:  # locked in any order: never a deadlock
                    order = shared[turn % 3 :] + shared[: turn % 3]
                    unit.lock(order)
                    unit.record([Happened(each, closing()) for each in order])
        except BaseException as error:
            errors.append(error)

    run([threading.Thread(target=act, args=(n,)) for n in range(6)])
    assert errors == []
    found = verify(store.database)
    assert (found.entries, found.records) == (3 + 6 * 8 * 4, 3 + 6 * 8)


def run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CHILD = """
import sys
from pathlib import Path
from broker.store.store import SqlStore
from tests.store import deeds
from sulku import tunnels
store = SqlStore(sys.argv[1], Path(sys.argv[2]))
while True:
    identifier = deeds.tunnel(store, tunnels.ClosureProved(1, 1, "0" * 64))
    print(identifier, flush=True)
"""


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_killed_broker_has_kept_what_it_said_it_kept(url: str, tmp_path: Path, after: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, url, str(tmp_path / "spool")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout
        said = [child.stdout.readline().strip() for _ in range(after)]
        os.kill(child.pid, signal.SIGKILL)
        said += [line.strip() for line in child.stdout]
    store = SqlStore(url, tmp_path / "spool")
    found = verify(store.database)
    assert found.entries >= 2 * len(said) >= 2 * after
    kept = store.peek(said)
    assert {one.version for one in kept.values()} == {2}
    deeds.tunnel(store)
    assert verify(store.database).entries == found.entries + 1
    with store.database.read() as connection:
        queued = connection.execute(text("SELECT count(*) FROM outbox WHERE kind = 'open-tunnel'")).scalar()
        begun = connection.execute(text("SELECT count(*) FROM tunnels")).scalar()
    assert queued == begun
    store.close()
