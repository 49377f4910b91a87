"""What every request asks of the store about who is there: by an index, the same in every process, and not for ever."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import Connection, Select, select, text

from broker.store import migrate, rows
from broker.store.store import SqlStore
from broker.store.tables import SESSIONS_ENDED
from broker.store.verify import verify
from sulku import people
from sulku.errors import StaleError
from sulku.people import Role
from tests.store import deeds
from tests.store.deeds import AINO, AT, LATER, SAGA, TUOMO, do

ADDRESS = "Äiti.Öhman@THL.example"


def plan(connection: Connection, query: Select[tuple[str]] | Select[tuple[str, str]]) -> str:
    """Return how the database would answer ``query`` as the store sends it: with parameters, whose values are not in the text."""
    made = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    if explain == "EXPLAIN":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # with few rows it would read them all
    found = connection.exec_driver_sql(f"{explain} {made}", made.params)
    return "\n".join(str(row[-1]) for row in found)


def person(store: SqlStore, identifier: str, email: str, subject: str = "") -> None:
    registered = people.Registered("Aino", email, "thl", (), (Role.RESEARCHER,), subject, None)
    do(store, people.service("setup"), identifier, registered)


def test_people_are_found_by_their_address_in_any_case_the_newest_first(store: SqlStore) -> None:
    person(store, AINO.id, ADDRESS)
    person(store, SAGA.id, "saga@thl.example")
    assert [one.id for one in store.find("usr", email=people.folded("äITI.öhman@thl.EXAMPLE"))] == [AINO.id]
    assert store.find("usr", email="aiti.ohman@thl.example") == []
    registered = people.Registered("Aino", ADDRESS.lower(), "thl", (), (), "", None)
    do(store, people.service("setup"), TUOMO.id, registered, at=LATER)
    assert [one.id for one in store.find("usr", email=people.folded(ADDRESS))] == [TUOMO.id, AINO.id]


def test_nobody_reads_the_directory_to_find_one_person(store: SqlStore) -> None:
    with store.database.read() as connection:
        assert "ix_people_email" in plan(connection, rows.query("usr", {"email": "a@b"}))
        assert "uq_people_subject" in plan(connection, rows.query("usr", {"subject": "https://id|1"}))
        by_name = plan(connection, rows.query("usr", {"organisation": "thl"}))
    assert "ix_people_email" not in by_name
    assert "uq_people_subject" not in by_name


def test_a_session_that_ended_is_known_to_every_process(store: SqlStore, url: str, tmp_path: Path) -> None:
    other = SqlStore(url, tmp_path / "other")
    store.end_session("one", LATER, AT)
    store.end_session("one", LATER, AT)
    assert (other.session_ended("one"), other.session_ended("two")) == (True, False)
    other.close()
    again = SqlStore(url, tmp_path / "again")
    assert again.session_ended("one")
    again.close()


def test_a_session_is_forgotten_when_it_would_have_ended_anyway_and_not_before(store: SqlStore) -> None:
    store.end_session("one", LATER, AT)
    store.end_session("two", LATER + timedelta(hours=1), LATER - timedelta(milliseconds=1))
    assert store.session_ended("one")
    store.end_session("three", LATER + timedelta(hours=1), LATER)
    assert [store.session_ended(one) for one in ("one", "two", "three")] == [False, True, True]


def test_whether_a_session_ended_is_one_look_into_an_index(store: SqlStore) -> None:
    with store.database.read() as connection:
        found = plan(connection, select(SESSIONS_ENDED.c.session).where(SESSIONS_ENDED.c.session == "one"))
    assert "pk_sessions_ended" in found or "sqlite_autoindex_sessions_ended_1" in found


def test_an_older_directory_is_brought_to_what_its_entries_say(store: SqlStore) -> None:
    person(store, AINO.id, ADDRESS, subject="https://id|1")
    person(store, SAGA.id, "saga@thl.example", subject="https://id|2")
    do(store, TUOMO, SAGA.id, people.Left("moved"))
    migrate.downgrade(store.database, "0001")
    with store.database.write() as connection:
        bodies = {row.id: orjson.loads(row.body) for row in connection.execute(text("SELECT id, body FROM people"))}
        assert not any("unbound" in body for body in bodies.values())
        older = orjson.dumps(bodies[SAGA.id] | {"subject": "https://id|2"}).decode()  # who left kept it then
        connection.execute(text("UPDATE people SET subject = 'https://id|2', body = :body WHERE id = :id"), {"body": older, "id": SAGA.id})
    migrate.upgrade(store.database)
    assert [one.id for one in store.find("usr", email=people.folded(ADDRESS))] == [AINO.id]
    assert [one.id for one in store.find("usr", subject=["https://id|1", "https://id|2"])] == [AINO.id]
    assert verify(store.database).records == 2


def test_a_first_sign_in_of_two_people_at_once_is_one_persons(store: SqlStore) -> None:
    deeds.person(store, AINO.id)
    deeds.person(store, SAGA.id)
    do(store, people.SIGN_IN, AINO.id, people.SignInBound("https://id|1"))
    with pytest.raises(StaleError):
        do(store, people.SIGN_IN, SAGA.id, people.SignInBound("https://id|1"))
    assert [one.id for one in store.find("usr", subject="https://id|1")] == [AINO.id]
    do(store, people.SIGN_IN, SAGA.id, people.SignInBound("https://id|2"))
    assert b"https://id" not in b"".join(store.ledger.entries())
    assert verify(store.database).records == 2
