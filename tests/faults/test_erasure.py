"""A lawful erasure takes texts and nothing else: on record, once, by an operator whom they do not name; the ledger still holds."""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from sqlalchemy import text

from broker.flows import applications, erasure, ledger, outputs, people, permits, releases, tunnels
from broker.store.tables import METADATA
from sulku import erasure as core
from sulku import ids, nouns
from sulku.codec import typed
from sulku.crypto.keys import PublicKey
from sulku.errors import DeniedError, IllegalMoveError, IntegrityError, InvalidInputError, LedgerBrokenError, NotFoundError, RuleError
from sulku.events import REGISTRY, Erased, Event
from sulku.ledger import verify as offline
from sulku.people import Actor, Register, Role
from sulku.reviews import Mark, Reason, Verdict
from tests.faults.test_reminders import TABLE
from tests.faults.world import Broker

GROUND = "GDPR Art. 17(1)(a), request 2026/41"


@pytest.fixture(autouse=True)
def _sealed(made: Broker) -> None:
    """Every paper names a checkpoint, so there is one before the first paper."""
    made.ports.archive.checkpoint()  # type: ignore[attr-defined]


def left(made: Broker, who: str = "eve") -> str:
    people.leave(made.ports, made.by("olli"), made.ids[who], "moved to another country")
    return made.ids[who]


def erase(made: Broker, record: str, by: str = "olli", ground: str = GROUND) -> Any:
    return erasure.erase(made.ports, made.by(by), record, ground)


def refused_application(made: Broker) -> str:
    application = made.submitted()
    for who in ("bo", "cy"):
        applications.judge(made.ports, made.by(who), application, applications.Verdict.REFUSE, "Ada's own mother is in the data")
    return application


def anywhere(made: Broker, words: str) -> list[str]:
    """Return the tables in which ``words`` can be read."""
    found = []
    with made.store.database.read() as connection:
        for table in METADATA.sorted_tables:
            rows = connection.execute(text(f'SELECT * FROM "{table.name}"')).all()
            if any(words.encode() in (cell if isinstance(cell, bytes) else str(cell).encode()) for row in rows for cell in row):
                found.append(table.name)
    return found


def whole(made: Broker) -> None:
    """Require that the ledger, its rows and both bundles still verify, offline too."""
    made.ports.archive.verify()
    key: PublicKey = made.ports.archive.keys.key.public  # type: ignore[attr-defined]
    for private in (False, True):
        report = offline.verify(made.ports.archive.export(private=private), [key])
        assert report.size == made.ports.archive.head()[0]


def test_a_person_who_left_is_erased_and_everything_still_verifies(made: Broker) -> None:
    made.submitted()
    eve = left(made)
    assert anywhere(made, "eve@example.org")
    before = made.ledger()
    done = erase(made, eve)
    (entry,) = made.ledger(type="record.erased")
    assert (entry["id"], entry["by"]["id"], entry["index"]) == (eve, made.ids["olli"], done.entries[0])
    assert entry["body"] == {
        "kinds": ["person.left.reason", "person.registered.email", "person.registered.name", "person.registered.subject"],
        "texts": done.texts,
        "decisions": done.decisions,
        "ground": GROUND,
    }
    assert (done.texts, done.decisions) == (4, 2), "what policy was asked when they were registered and when they left"
    assert [anywhere(made, words) for words in ("eve@example.org", '"Eve"', "another country")] == [[], [], []]
    assert made.ledger()[1:] == before, "no entry was touched"
    seen = made.read(eve)
    assert (seen.name, seen.email, seen.state, seen.organisation) == ("", "", "left", "college")
    whole(made)


def test_what_is_erased_is_not_left_in_the_file_of_the_database(made: Broker) -> None:
    def on_disk() -> list[str]:
        with made.store.database.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        return [one.name for one in made.state.glob("sulku.db*") if b"eve@example.org" in one.read_bytes()]

    eve = left(made)
    assert on_disk() == ["sulku.db"]
    erase(made, eve)
    assert on_disk() == []


def test_what_others_did_can_still_be_replayed(made: Broker) -> None:
    application = made.submitted()
    (judged,) = made.ledger(type="application.submitted")
    erase(made, left(made))
    assert ledger.replay(made.ports, made.by("tove"), judged["clearance"]["decision"]).same
    assert made.read(application).form.title


def test_what_a_person_decided_can_still_be_replayed_after_their_name_is_gone(made: Broker) -> None:
    application = made.submitted()
    applications.judge(made.ports, made.by("bo"), application, applications.Verdict.APPROVE)
    (entry,) = made.ledger(type="application.judged")
    erase(made, left(made, "bo"))
    assert anywhere(made, "bo@example.org") == []
    replay = ledger.replay(made.ports, made.by("tove"), entry["clearance"]["decision"])
    assert replay.same
    assert made.ids["bo"] in replay.asked


def test_an_application_is_erased_with_what_was_said_about_it(made: Broker) -> None:
    application = refused_application(made)
    assert set(anywhere(made, "mother is in the data")) == {"applications", "decisions", "ledger_private"}
    erase(made, application)
    title = "Light chains"
    assert (anywhere(made, "mother is in the data"), anywhere(made, title + " and survival")) == ([], [])
    seen = made.read(application)
    assert (seen.state, seen.applicant, len(seen.judgements), seen.form.title) == ("refused", made.ids["ada"], 2, "")
    whole(made)


def test_a_release_takes_the_files_of_every_round_with_it(made: Broker) -> None:
    tunnel = made.tunnel()
    release = made.release(tunnel, TABLE, b"c,3\n")
    first = [item.output for item in made.read(release).items]
    for who in ("bo", "cy"):
        said = (Verdict.CHANGE, Reason.UNCLEAR, "who is Kalle?")
        releases.judge(made.ports, made.by(who), release, tuple(Mark(one.output, one.rebuilt, *said) for one in made.read(release).items))
    releases.consolidate(made.ports, made.by("bo"), release, let_out=False, points=("who is Kalle?",))
    again = outputs.freeze(made.ports, tunnel, "s9", "kalle.csv", TABLE + b"d,200\n", {"says": "Kalle"})
    releases.submit(made.ports, tunnel, "A table", "without Kalle", (again.id,), release)
    made.work()
    releases.withdraw(made.ports, made.by("ada"), release)
    second = [item.output for item in made.read(release).items]
    assert made.read(first[1]).name == "t1.csv"
    erase(made, release)
    assert (anywhere(made, "Kalle"), anywhere(made, "A table")) == ([], [])
    assert [made.read(one).name for one in (*first, *second)] == [""] * 3
    assert made.read(first[0]).sha256
    whole(made)


def test_code_that_was_run_is_erased_with_its_tunnel(made: Broker) -> None:
    tunnel = made.tunnel()
    tunnels.report(made.ports, tunnel, [tunnels.Reported("executed", "kernel", "kalle = 'my neighbour'", "run", 1)])
    tunnels.close(made.ports, made.by("ada"), tunnel)
    made.work()
    assert anywhere(made, "my neighbour") == ["ledger_private"]
    done = erase(made, tunnel)
    assert anywhere(made, "my neighbour") == []
    assert done.texts
    assert len(made.ledger(record=tunnel, type="tunnel.code-executed")) == 1
    whole(made)


def test_erasing_again_does_nothing_and_says_so(made: Broker) -> None:
    eve = left(made)
    erase(made, eve)
    size, _ = made.ports.archive.head()
    again = erase(made, eve)
    assert (again.texts, again.decisions, again.entries) == (0, 0, ())
    assert made.ports.archive.head()[0] == size
    whole(made)


def test_what_was_written_since_is_erased_by_the_next(made: Broker) -> None:
    application = refused_application(made)
    erase(made, application)
    with pytest.raises(IllegalMoveError):
        applications.judge(made.ports, made.by("di"), application, applications.Verdict.REFUSE, "my cousin Kalle is in it")
    assert anywhere(made, "Kalle") == ["decisions"], "what somebody tried to say is in the question to policy, and only there"
    assert erase(made, application).decisions == 1
    assert anywhere(made, "Kalle") == []
    whole(made)


# --- who, and when ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["ada", "bo", "tove"])
def test_nobody_but_an_operator_erases(made: Broker, who: str) -> None:
    eve = left(made)
    with pytest.raises(DeniedError) as denied:
        erase(made, eve, by=who)
    assert denied.value.reasons == ("role-not-allowed",)
    assert made.read(eve).name == "Eve"


def test_nobody_erases_what_names_themselves(made: Broker) -> None:
    command = Register("Oda", "oda@example.org", "ops", (Role.OPERATOR, Role.RESEARCHER))
    receipt = people.register(made.ports, made.by("olli"), command)
    made.ids["oda"] = next(one for one in receipt.facts if one.startswith("usr") and one != made.ids["olli"])
    application = made.submitted(people=[made.ids["oda"]])
    applications.withdraw(made.ports, made.by("ada"), application)
    oda = Actor(made.ids["oda"], Role.OPERATOR, "oda", "ops", mfa=True, signed_in=made.clock.at)
    for record in (application, made.ids["oda"]):
        with pytest.raises(DeniedError) as denied:
            erasure.erase(made.ports, oda, record, GROUND)
        assert denied.value.reasons == ("own-traces",)
    assert erase(made, application).texts  # another operator can


def test_nothing_is_erased_that_somebody_still_needs(made: Broker) -> None:
    permit = made.permit()
    application = made.read(permit).paper.application
    tunnel = made.tunnel(permit)
    release = made.release(tunnel, TABLE)
    for record in (made.ids["ada"], application, tunnel, release, made.submitted()):
        with pytest.raises(RuleError) as refused:
            erase(made, record)
        assert refused.value.rule == "not-over"
    assert made.ledger(type="record.erased") == []
    permits.revoke(made.ports, made.by("bo"), permit, "the study is over")
    made.work()
    assert erase(made, application).texts
    assert made.read(permit).paper.title, "what the public register shows stays"
    whole(made)


@pytest.mark.parametrize("prefix", ["per", "dst", "mnt", "out", "led", "dec"])
def test_no_entry_and_nothing_public_can_be_erased(made: Broker, prefix: str) -> None:
    size, root = made.ports.archive.head()
    with pytest.raises(RuleError) as refused:
        erase(made, ids.LEDGER if prefix == "led" else ids.new(prefix))
    assert refused.value.rule == "not-erasable"
    assert made.ports.archive.head() == (size, root)


@pytest.mark.parametrize("index", ["0", "41", "", "usr_x", "*"])
def test_an_entry_has_no_name_under_which_it_could_be_erased(made: Broker, index: str) -> None:
    with pytest.raises(InvalidInputError):
        erase(made, index)


def test_what_is_not_there_is_not_erased(made: Broker) -> None:
    with pytest.raises(NotFoundError):
        erase(made, ids.new("usr"))


@pytest.mark.parametrize("ground", ["", "because", "x" * 501, "GDPR\nArt. 17", "GDPR \u202e Art. 17"])
def test_without_a_legal_ground_nothing_is_erased(made: Broker, ground: str) -> None:
    eve = left(made)
    with pytest.raises(InvalidInputError):
        erase(made, eve, ground=ground)
    assert made.read(eve).name == "Eve"


def test_policy_is_not_told_names_where_it_needs_none(made: Broker) -> None:
    """So that a decision can be kept, and replayed, after the person is erased."""
    made.clock.at += timedelta(minutes=1)
    since = made.ports.archive.head()[0]
    made.submitted()
    with made.store.database.read() as connection:
        asked = (
            connection.execute(text("SELECT asked FROM decisions WHERE action NOT LIKE 'person.%' AND action NOT LIKE 'dataset.%'"))
            .scalars()
            .all()
        )
    assert asked
    assert made.ports.archive.head()[0] > since
    assert not [one for one in asked if "example.org" in one or '"Ada"' in one]


# --- what an erasure that is none looks like --------------------------------------------------------------------------


def delete(made: Broker, statement: str) -> None:
    with made.store.database.write() as connection:
        assert connection.execute(text(statement)).rowcount


def test_a_text_that_is_gone_without_an_erasure_is_found(made: Broker) -> None:
    eve = left(made)
    whole(made)
    delete(
        made,
        "DELETE FROM ledger_private WHERE field = 'email' AND seq = (SELECT seq FROM ledger_entries WHERE record = '"
        + eve
        + "' ORDER BY seq LIMIT 1)",
    )
    with pytest.raises(LedgerBrokenError, match="no erasure accounts for") as found:
        made.ports.archive.verify()
    assert found.value.record == eve
    erase(made, eve)
    made.ports.archive.verify()  # an erasure takes the rest, and says so


def test_a_text_of_what_only_the_ledger_holds_is_missed_too(made: Broker) -> None:
    with pytest.raises(DeniedError):
        erase(made, left(made), by="bo")
    with pytest.raises(RuleError):
        erase(made, made.ids["ada"])  # a refusal with words
    delete(made, "DELETE FROM ledger_private WHERE seq = (SELECT max(seq) FROM ledger_entries WHERE type = 'refusal.recorded')")
    with pytest.raises(LedgerBrokenError, match="no erasure accounts for"):
        made.ports.archive.verify()


def test_a_decision_that_is_gone_without_an_erasure_is_found(made: Broker) -> None:
    erase(made, left(made))
    whole(made)
    delete(made, "DELETE FROM decisions WHERE id = (SELECT min(id) FROM decisions)")
    with pytest.raises(LedgerBrokenError, match="decisions are gone"):
        made.ports.archive.verify()


def test_an_erased_text_that_is_back_is_found(made: Broker) -> None:
    eve = left(made)
    with made.store.database.read() as connection:
        (row,) = connection.execute(
            text("SELECT p.* FROM ledger_private p JOIN ledger_entries e ON e.seq = p.seq WHERE e.record = :r AND field = 'email'"),
            {"r": eve},
        ).all()
    erase(made, eve)
    with made.store.database.write() as connection:
        connection.execute(text("INSERT INTO ledger_private VALUES (:seq, :field, :salt, :text)"), row._asdict())
    with pytest.raises(LedgerBrokenError, match="is there again"):
        made.ports.archive.verify()


def test_a_row_that_was_not_emptied_is_found(made: Broker) -> None:
    eve = left(made)
    erase(made, eve)
    delete(made, f'UPDATE people SET body = replace(body, \'"name":""\', \'"name":"Eve"\') WHERE id = \'{eve}\'')
    with pytest.raises(IntegrityError, match="not what its entries make it"):
        made.ports.archive.verify()


@pytest.mark.parametrize("prefix", [*core.ERASABLE, "out"])
def test_no_row_keeps_what_the_ledger_forgets(prefix: str) -> None:
    """Whoever adds a private field to an event must empty it from the row too: each gets a text here, and none may stay."""
    record = nouns.begin(f"{prefix}_{'0' * 16}")
    for (kind, _), event in REGISTRY.items():
        if kind.partition(".")[0] == nouns.TABLE[prefix].name:
            record = nouns.TABLE[prefix].evolve(record, typed(event, filled(event)))
    assert SECRET in str(record)
    emptied = nouns.TABLE[prefix].evolve(record, Erased((), 0, 0, ""))
    assert (SECRET in str(emptied), emptied.version) == (False, record.version + 1)


SECRET = "kalle"


def filled(event: type[Event]) -> dict[str, Any]:
    """Return plain values for every field of ``event``, with the secret in each text that is private."""
    return {
        name: _filled(hint, SECRET if name in event.PRIVATE else "0")
        for name, hint in get_type_hints(event).items()
        if name in event.__dataclass_fields__
    }  # type: ignore[attr-defined]


def _filled(kind: Any, text_: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        return [_filled(args[0], text_)]
    if origin is dict:
        return {text_: text_}
    if origin is UnionType:
        return _filled(args[0], text_)
    if is_dataclass(kind):
        return {name: _filled(hint, text_) for name, hint in get_type_hints(kind).items()}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind)).value
    return {str: text_, int: 1, bool: True, datetime: "2026-01-01T00:00:00.000Z"}[kind]
