"""The ledger in the database: grows at its end, proves itself, keeps secrets out, and shows whoever touches it."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from broker.store import beside
from broker.store.store import SqlStore
from broker.store.unit import Database
from broker.store.verify import verify
from sulku import applications, datasets, ids, nouns, permits, tunnels
from sulku.clearance import LIFETIME
from sulku.crypto import seal, sign
from sulku.crypto.keys import Keyring, SigningKey
from sulku.errors import CommitmentError, IntegrityError, LedgerBrokenError, NotFoundError, RuleError, StaleError
from sulku.events import Erased, Happened
from sulku.ledger import checkpoint, keyrings, tree
from sulku.ledger import verify as offline
from tests.servers import postgres
from tests.store import deeds
from tests.store.deeds import AINO, AT, SAGA, cleared, closing, do

KEY = SigningKey.generate("sulku.example/ledger")


def note(size: int, root: bytes) -> bytes:
    return checkpoint.make(checkpoint.Checkpoint(KEY.name, size, root), KEY)


def entry(store: SqlStore, index: int) -> dict[str, object]:
    return orjson.loads(next(store.ledger.entries(index, index + 1)))  # type: ignore[no-any-return]


def test_an_empty_ledger_is_whole(store: SqlStore) -> None:
    assert store.ledger.head() == (0, tree.EMPTY)
    assert list(store.ledger.entries()) == []
    assert verify(store.database).entries == 0


def test_every_event_is_one_entry_and_the_head_is_their_tree(store: SqlStore) -> None:
    deeds.tunnel(store, tunnels.ClosureProved(1, 1, "0" * 64), tunnels.Opened(AT))
    entries = list(store.ledger.entries())
    assert [orjson.loads(each)["type"] for each in entries] == ["tunnel.requested", "tunnel.closure-proved", "tunnel.opened"]
    assert [orjson.loads(each)["version"] for each in entries] == [1, 2, 3]
    leaves = [tree.hash_leaf(each) for each in entries]
    assert store.ledger.head() == (3, tree.root_of(3, tree.nodes_of(leaves)))
    assert list(store.ledger.entries(1, 2)) == entries[1:2]


def test_entries_come_in_pages(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.store.ledger.PAGE", 2)
    deeds.tunnel(store, *(tunnels.BudgetLeased(n, 0) for n in range(4)))
    assert [orjson.loads(each)["index"] for each in store.ledger.entries()] == [0, 1, 2, 3, 4]
    assert [orjson.loads(each)["index"] for each in store.ledger.entries(1, 4)] == [1, 2, 3]


def test_an_entry_is_never_dated_before_the_one_above_it(store: SqlStore) -> None:
    identifier = deeds.tunnel(store, at=AT)
    deeds.end(store, identifier, closing(), at=AT - timedelta(hours=1))  # a clock jumped, or a change had to wait
    assert [entry(store, n)["at"] for n in (0, 1)] == ["2026-03-01T09:00:00.000Z"] * 2
    deeds.tunnel(store, at=AT + timedelta(seconds=1))
    assert entry(store, 2)["at"] == "2026-03-01T09:00:01.000Z"


def test_personal_data_and_free_text_are_only_committed_to(store: SqlStore) -> None:
    deeds.person(store, AINO.id, name="Aino Ahonen", subject="https://id.example|1")
    body = entry(store, 0)["body"]
    assert b"Ahonen" not in b"".join(store.ledger.entries())
    assert b"example.org" not in b"".join(store.ledger.entries())
    assert b"id.example" not in b"".join(store.ledger.entries())
    assert isinstance(body, dict)
    assert body["organisation"] == "thl"
    with store.database.read() as connection:
        rows = connection.execute(text("SELECT field, salt, text FROM ledger_private ORDER BY field")).all()
    told = [("email", "aino@example.org"), ("name", "Aino Ahonen"), ("subject", "https://id.example|1")]
    assert [(row.field, orjson.loads(row.text)) for row in rows] == told
    for row in rows:
        seal.open_commitment(body[row.field], bytes(row.salt), row.text)


def test_equal_texts_have_unlike_commitments(store: SqlStore) -> None:
    deeds.person(store, AINO.id)
    deeds.person(store, SAGA.id)
    assert entry(store, 0)["body"]["name"] != entry(store, 1)["body"]["name"]  # type: ignore[index]


def test_a_field_that_would_burst_an_entry_is_committed_to(store: SqlStore) -> None:
    variables = tuple(datasets.Variable(f"v{n}", "integer", "ä" * 50) for n in range(2000))
    edition = datasets.Edition("1", "0" * 64, (), variables, 10, "id")
    target = ids.new("dst")
    listed = datasets.Catalogued("falls", "Falls", "ö" * 20_000, "THL", (), datasets.Sensitivity.SPECIAL, "", "", edition)
    do(store, SAGA, target, listed)
    assert len(next(store.ledger.entries())) < 2000
    assert verify(store.database).records == 1
    assert store.peek([target])[target].editions == (edition,)


def test_a_checkpoint_is_signed_once_for_each_head(store: SqlStore) -> None:
    assert store.latest_checkpoint() == ""
    deeds.tunnel(store)
    assert store.ledger.unsealed() == 1
    first = store.ledger.checkpoint(note, AT)
    assert store.ledger.checkpoint(lambda *_: pytest.fail("signed again"), AT) == first
    deeds.tunnel(store)
    second = store.ledger.checkpoint(note, AT)
    assert store.ledger.checkpoints() == [first, second]
    assert (store.ledger.latest_checkpoint(), store.latest_checkpoint()) == (second, second.decode())
    assert store.ledger.unsealed() == 0
    ring = Keyring().add(KEY.public, AT)
    said = checkpoint.verify(second, ring, KEY.name)[0]
    assert (said.size, said.root) == store.ledger.head()


def test_no_checkpoint_is_signed_over_a_ledger_that_contradicts_the_last(store: SqlStore) -> None:
    deeds.tunnel(store)
    store.ledger.checkpoint(note, AT)
    with store.database.write() as connection:
        connection.execute(text("UPDATE ledger_head SET frontier = :f"), {"f": tree.Frontier().dump()})
    with pytest.raises(IntegrityError, match="contradicts"):
        store.ledger.checkpoint(note, AT)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_entry_is_proved_against_the_latest_checkpoint(store: SqlStore, size: int) -> None:
    deeds.tunnel(store, *(tunnels.BudgetLeased(n, 0) for n in range(size - 1)))
    store.ledger.checkpoint(note, AT)
    deeds.tunnel(store)
    for index in range(size):
        proof = store.ledger.inclusion(index)
        root = checkpoint.parse(proof.checkpoint).checkpoint.root
        tree.verify_inclusion(tree.hash_leaf(proof.entry), index, proof.size, root, proof.hashes)
    for index in (-1, size):
        with pytest.raises(NotFoundError):
            store.ledger.inclusion(index)


def signed_permit(store: SqlStore) -> str:
    identifier = ids.new("per")
    paper = permits.Document(
        permits.SCHEMA, identifier, 1, "app_a000000000000000", "Falls", "To see", "thl", (AINO.id,), (deeds.grant(),),
        AT, AT + timedelta(days=9), permits.Limits(), "default", (), AT, store.latest_checkpoint(),
    )  # fmt: skip
    payload = orjson.dumps(permits.payload(paper), option=orjson.OPT_SORT_KEYS)
    envelope = sign.sign(sign.PERMIT, payload, KEY).decode()
    do(store, SAGA, identifier, permits.Issued(paper, envelope, seal.fingerprint(payload), 1, paper.application))
    return identifier


@pytest.mark.parametrize("private", [False, True])
def test_the_auditors_bundle_verifies_without_us(store: SqlStore, private: bool) -> None:
    deeds.person(store, AINO.id, name="Aino Ahonen")
    store.ledger.checkpoint(note, AT)
    signed_permit(store)
    deeds.tunnel(store, *(tunnels.CodeExecuted(f"x = {n}", "k") for n in range(3)))
    deeds.end(store, store.find("tun")[0].id, closing())
    ring = keyrings.publish(Keyring().add(KEY.public, AT - timedelta(days=1)), AT, KEY)
    out = io.BytesIO()
    store.ledger.bundle(out, sign=note, at=AT, key=KEY, keyrings=[ring], policies=[b"{}"], private=private)
    report = offline.verify(out.getvalue(), [KEY.public])
    assert (report.size, report.root) == (store.ledger.head()[0], store.ledger.head()[1].hex())
    assert (b"Ahonen" in out.getvalue()) is private


TAMPERS: dict[str, tuple[str, type[IntegrityError], str]] = {
    "an entry": ("UPDATE ledger_entries SET entry = :other WHERE seq = 1", LedgerBrokenError, "record 1 "),
    "an entry with its hash": ("UPDATE ledger_entries SET entry = :other, leaf = :leaf WHERE seq = 1", LedgerBrokenError, "signed over others"),
    "who did it": ("UPDATE ledger_entries SET actor = 'usr_x000000000000000' WHERE seq = 1", LedgerBrokenError, "record 1 "),
    "under which decision": ("UPDATE ledger_entries SET decision = 'dec_x' WHERE seq = 1", LedgerBrokenError, "record 1 "),
    "the last entry": ("DELETE FROM ledger_entries WHERE seq = 2", LedgerBrokenError, "the head has 3 entries"),
    "an entry in between": ("DELETE FROM ledger_entries WHERE seq = 1", LedgerBrokenError, "record 1: missing"),
    "the head": ("UPDATE ledger_head SET frontier = :empty", LedgerBrokenError, "gone"),
    "a private text": ("UPDATE ledger_private SET text = '\"Eve\"' WHERE field = 'name'", CommitmentError, "record 0 "),
    "a row's body": ("UPDATE tunnels SET body = replace(body, '\"minutes\"\\:60', '\"minutes\"\\:61')", IntegrityError, "not what its entries"),
    "a row's state": ("UPDATE tunnels SET state = 'open'", IntegrityError, "not what its entries"),
    "what a row is found by": ("UPDATE tunnels SET deadline = '2999'", IntegrityError, "found by"),
    "a text that is gone": ("DELETE FROM ledger_private WHERE field = 'name'", LedgerBrokenError, "record 0 .*no erasure accounts for"),
    "a decision that is gone": ("DELETE FROM decisions WHERE id = (SELECT min(id) FROM decisions)", LedgerBrokenError, "1 decisions are gone"),
    "who a record names": ("INSERT INTO named VALUES ('usr_a000000000000000', 'role', 'steward')", IntegrityError, "found by"),
    "a row": ("DELETE FROM tunnels", IntegrityError, "has no row"),
    "a row from nowhere": ("INSERT INTO datasets (id, version, state, body, created, updated) VALUES ('dst_x000000000000000', 1, 'listed', '{}', '', '')", IntegrityError, "in no entry"),
}  # fmt: skip


def unguard(store: SqlStore) -> None:
    """Take the triggers away, as somebody who owns the database can."""
    with store.database.write() as connection:
        if store.database.dialect == "sqlite":
            for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("SET session_replication_role = replica"))


@pytest.mark.parametrize("what", TAMPERS)
def test_whoever_touches_it_is_shown(store: SqlStore, what: str) -> None:
    deeds.person(store, AINO.id)
    identifier = deeds.tunnel(store)
    deeds.end(store, identifier, closing())
    store.ledger.checkpoint(note, AT)
    found = verify(store.database)
    assert (found.entries, found.checkpoints, found.records, found.erased) == (3, 1, 2, 0)
    other = list(store.ledger.entries())[1].replace(b'"minutes":60', b'"minutes":61')
    values = {"other": other, "leaf": tree.hash_leaf(other), "empty": tree.Frontier().dump()}
    statement, error, said = TAMPERS[what]
    unguard(store)
    with store.database.write() as connection:
        if store.database.dialect == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
        if what == "the last entry":  # with the texts behind it, as somebody thorough would
            connection.execute(text("DELETE FROM ledger_private WHERE seq = 2"))
        changed = connection.execute(text(statement), {name: value for name, value in values.items() if f":{name}" in statement})
        assert changed.rowcount == 1
        if what == "an entry with its hash":  # and the head, made to fit
            frontier = tree.Frontier()
            for row in connection.execute(text("SELECT entry FROM ledger_entries ORDER BY seq")):
                frontier.append(bytes(row.entry))
            connection.execute(text("UPDATE ledger_head SET frontier = :f"), {"f": frontier.dump()})
    with pytest.raises(error, match=said):
        verify(store.database)


def test_a_lawful_erasure_breaks_nothing_else(store: SqlStore) -> None:
    deeds.person(store, AINO.id, name="Aino Ahonen")
    deeds.tunnel(store)
    store.ledger.checkpoint(note, AT)
    entries = list(store.ledger.entries())
    deeds.erase(store, AINO.id)
    assert list(store.ledger.entries())[:-1] == entries
    assert b"Ahonen" not in repr(deeds.everything(store)).encode()
    found = verify(store.database)
    assert (found.entries, found.records, found.erased) == (3, 2, 1)
    ring = keyrings.publish(Keyring().add(KEY.public, AT - timedelta(days=1)), AT, KEY)
    for private in (False, True):
        out = io.BytesIO()
        store.ledger.bundle(out, sign=note, at=AT, key=KEY, keyrings=[ring], private=private)
        assert offline.verify(out.getvalue(), [KEY.public]).size == 3


def test_an_erasure_that_says_another_number_than_it_takes_takes_nothing(store: SqlStore) -> None:
    deeds.person(store, AINO.id)
    before = deeds.everything(store)
    (held,) = beside.held(store.database, [AINO.id])
    for wrong in (replace(held, texts=held.texts + 1), replace(held, decisions=0), replace(held, kinds=())):
        with pytest.raises(StaleError, match="meanwhile"):
            do(store, SAGA, AINO.id, Erased(wrong.kinds, wrong.texts, wrong.decisions, "GDPR Art. 17"))
    assert deeds.everything(store) == before
    deeds.erase(store, AINO.id)
    assert verify(store.database).erased == 1


def test_a_mandate_erases_nothing(store: SqlStore) -> None:
    tunnel = deeds.tunnel(store)
    with pytest.raises(RuleError, match="endings only"):
        deeds.end(store, tunnel, Erased((), 0, 0, "GDPR Art. 17"))


def test_what_stands_beside_an_entry_is_shown_with_its_commitment_and_after_an_erasure_with_who_and_when(store: SqlStore) -> None:
    deeds.person(store, AINO.id, name="Aino Ahonen")
    deeds.tunnel(store)
    shown = beside.opened(store.database, 0, texts=True)
    assert {one.field: (one.text, one.fits) for one in shown.texts if one.field != "subject"} == {
        "name": ('"Aino Ahonen"', True),
        "email": ('"aino@example.org"', True),
    }
    assert (shown.erased, shown.asked) == (None, True)
    closed = beside.opened(store.database, 0, texts=False)
    assert {(one.text, one.fits) for one in closed.texts} == {(None, True)}
    assert beside.opened(store.database, 1, texts=True).texts == ()
    deeds.erase(store, AINO.id, at=deeds.LATER)
    gone = beside.opened(store.database, 0, texts=True)
    assert {(one.text, one.fits) for one in gone.texts} == {(None, None)}
    assert gone.erased is not None
    assert (gone.erased["index"], gone.erased["by"]["id"], gone.erased["at"]) == (2, SAGA.id, "2026-03-01T09:05:00.000Z")
    assert gone.asked is False
    with pytest.raises(NotFoundError):
        beside.opened(store.database, 3, texts=True)


def test_a_text_that_does_not_open_its_commitment_is_shown_as_such(store: SqlStore) -> None:
    deeds.person(store, AINO.id)
    unguard(store)
    with store.database.write() as connection:
        if store.database.dialect == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text("UPDATE ledger_private SET text = '\"Eve\"' WHERE field = 'name'"))
    fits = {one.field: one.fits for one in beside.opened(store.database, 0, texts=True).texts}
    assert (fits["name"], fits["email"]) == (False, True)


def test_the_history_of_a_record_is_what_it_was_made_of(store: SqlStore) -> None:
    application = deeds.submitted(store, applications.Returned(SAGA.id, ("say which tables",)))
    deeds.person(store, AINO.id)
    told = list(beside.history(store.database, application))
    assert [one.TYPE for one in told] == ["application.drafted", "application.submitted", "application.returned"]
    assert nouns.replay(application, told) == store.peek([application])[application]
    deeds.erase(store, application)
    empty = list(beside.history(store.database, application))
    assert [one.TYPE for one in empty][-1] == "record.erased"
    assert nouns.replay(application, empty) == store.peek([application])[application]
    assert list(beside.history(store.database, ids.new("app"))) == []


GUARDED: dict[str, str] = {
    "change an entry": "UPDATE ledger_entries SET actor = 'x'",
    "remove an entry": "DELETE FROM ledger_entries",
    "change a checkpoint": "UPDATE checkpoints SET note = note",
    "remove a checkpoint": "DELETE FROM checkpoints",
    "change a private text": "UPDATE ledger_private SET text = 'x'",
    "change a decision": "UPDATE decisions SET allowed = 1",
    "remove the head": "DELETE FROM ledger_head",
}


@pytest.mark.parametrize("what", GUARDED)
def test_the_database_itself_refuses_to(store: SqlStore, what: str) -> None:
    deeds.person(store, AINO.id)
    store.ledger.checkpoint(note, AT)
    before = deeds.everything(store)
    with pytest.raises(DBAPIError, match="append-only"), store.database.engine.begin() as connection:
        connection.execute(text(GUARDED[what]))
    assert deeds.everything(store) == before


def test_sqlite_lets_no_entry_in_but_at_the_end(sqlite_url: str, tmp_path: Path) -> None:
    store = SqlStore(sqlite_url, tmp_path / "spool")
    deeds.person(store, AINO.id)
    for verb, seq in (("INSERT OR REPLACE", 0), ("INSERT", 2), ("INSERT", -1)):
        columns = f"SELECT {seq}, leaf, entry, type, record, actor, person, permit, kind, decision, at FROM ledger_entries"
        with pytest.raises(DBAPIError, match="grows at its end"), store.database.engine.begin() as connection:
            connection.execute(text(f"{verb} INTO ledger_entries {columns}"))
    deeds.tunnel(store)
    store.close()


def test_postgres_refuses_to_empty_the_ledger(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(DBAPIError, match="append-only"), database.engine.begin() as connection:
        connection.execute(text("TRUNCATE ledger_entries CASCADE"))
    database.close()


def test_the_brokers_role_has_no_right_to_change_the_ledger_and_every_right_that_it_needs(
    cluster: postgres.Cluster, postgres_url: str, tmp_path: Path
) -> None:
    name = postgres_url.split("@/")[1].split("?", maxsplit=1)[0]
    role = name.replace("led_", "broker_")
    cluster.sql(f"CREATE ROLE {role} LOGIN")
    roles = Path(__file__).parents[2] / "broker" / "store" / "postgres_roles.sql"
    cluster.psql(name, "-v", f"role={role}", "-f", str(roles))
    store = SqlStore(cluster.url(name, role), tmp_path / "spool")
    for statement in (*GUARDED.values(), "TRUNCATE ledger_entries CASCADE", "DROP TRIGGER ledger_entries_frozen ON ledger_entries"):
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"), store.database.engine.begin() as connection:
            connection.execute(text(statement))
    deeds.person(store, AINO.id)
    identifier = deeds.tunnel(store, tunnels.EntryGranted("d", "n", AT + LIFETIME, 1, AINO.id))
    with store.begin(cleared(store, SAGA, identifier), at=AT, key="k") as unit:
        unit.spend_ticket("d", "n", AT)
        unit.record([Happened(identifier, closing())])
    store.ledger.checkpoint(note, AT)
    for claimed in store.outbox.claim(AT, most=9):
        store.outbox.done(claimed, AT)
    store.end_session("s", AT, AT)
    store.end_session("t", AT + LIFETIME, AT)
    store.notices.put("n", [AINO.id], "x", identifier, AT)
    store.notices.read(AINO.id, 1, AT)
    deeds.erase(store, AINO.id)
    assert verify(store.database).records == 2
    store.close()


