"""The tables: one a noun, the ledger, the outbox and what guards them; migrations must lead exactly here."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
TEXT: Final = String().with_variant(String(collation="C"), "postgresql")  # ids and times compare byte by byte everywhere
COUNT: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite's row id is INTEGER or it is no row id


def _noun(name: str, *facts: Column[str]) -> Table:
    """Return the table of a noun: its snapshot as JSON, and the facts that queues and lists look for."""
    return Table(
        name,
        METADATA,
        Column("id", TEXT, primary_key=True),
        Column("version", Integer, nullable=False),
        Column("state", TEXT, nullable=False),
        *facts,
        Column("body", Text, nullable=False),
        Column("created", TEXT, nullable=False),
        Column("updated", TEXT, nullable=False),
        Index(None, "state", "created"),
        CheckConstraint("version > 0", name="version"),
    )


def _fact(name: str, *, index: bool = True) -> Column[str]:
    return Column(name, TEXT, nullable=False, server_default="", index=index)


PEOPLE: Final = _noun("people", _fact("subject", index=False), _fact("organisation", index=False), _fact("email"))
DATASETS: Final = _noun("datasets", _fact("name"), _fact("controller", index=False))
APPLICATIONS: Final = _noun("applications", _fact("applicant"), _fact("organisation", index=False), _fact("permit"))
PERMITS: Final = _noun("permits", _fact("application"), _fact("organisation", index=False), _fact("starts"), _fact("ends"))
TUNNELS: Final = _noun("tunnels", _fact("permit"), _fact("person"), _fact("deadline"))
MOUNTS: Final = _noun("mounts", _fact("tunnel"), _fact("dataset"), _fact("edition", index=False))
OUTPUTS: Final = _noun("outputs", _fact("tunnel"), _fact("permit"), _fact("person"), _fact("submission"))
RELEASES: Final = _noun(
    "releases", _fact("author"), _fact("permit"), _fact("tunnel"), _fact("organisation", index=False)
)
NOUNS: Final = {
    "usr": PEOPLE,
    "dst": DATASETS,
    "app": APPLICATIONS,
    "per": PERMITS,
    "tun": TUNNELS,
    "mnt": MOUNTS,
    "out": OUTPUTS,
    "rel": RELEASES,
}
Index("uq_people_subject", PEOPLE.c.subject, unique=True, sqlite_where=PEOPLE.c.subject != "", postgresql_where=PEOPLE.c.subject != "")

NAMED: Final = Table(  # facts of which a record has several: its people, its datasets, its reviewers
    "named",
    METADATA,
    Column("record", TEXT, primary_key=True),
    Column("part", TEXT, primary_key=True),
    Column("value", TEXT, primary_key=True),
    Index(None, "part", "value"),
)

LEDGER: Final = Table(
    "ledger_entries",
    METADATA,
    Column("seq", COUNT, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),  # RFC 6962 leaf hash of entry, 32 bytes
    Column("entry", LargeBinary, nullable=False),  # canonical JSON; the columns after it only find it
    Column("type", TEXT, nullable=False, index=True),
    Column("record", TEXT, nullable=False, index=True),
    Column("actor", TEXT, nullable=False, index=True),
    Column("person", TEXT, nullable=False, index=True),  # whom the record belongs to
    Column("permit", TEXT, nullable=False, index=True),  # under which permit
    Column("kind", TEXT, nullable=False),  # clearance, refusal or mandate
    Column("decision", TEXT, nullable=False),
    Column("at", TEXT, nullable=False),  # never falls with the number, so a time is found by bisection
)
HEAD: Final = Table(  # one row; locked last in every change
    "ledger_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("at", TEXT, nullable=False),
    CheckConstraint("id = 1", name="one"),
)
CHECKPOINTS: Final = Table(
    "checkpoints",
    METADATA,
    Column("size", COUNT, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
    Column("at", TEXT, nullable=False),
)
PRIVATE: Final = Table(  # what opens the commitments in the ledger; a lawful erasure deletes rows here
    "ledger_private",
    METADATA,
    Column("seq", COUNT, ForeignKey(LEDGER.c.seq), primary_key=True, autoincrement=False),
    Column("field", TEXT, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),  # JSON of the field's plain value
)
DECISIONS: Final = Table(
    "decisions",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("action", TEXT, nullable=False),
    Column("target", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("allowed", Integer, nullable=False),
    Column("policy", TEXT, nullable=False),
    Column("engine", TEXT, nullable=False),
    Column("asked", Text, nullable=False),
    Column("answered", Text, nullable=False),
    Column("at", TEXT, nullable=False),
)
KEYS: Final = Table(  # idempotency keys, with the name of their actor in front
    "keys",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("digest", TEXT, nullable=False),
    Column("records", Text, nullable=False),
    Column("entries", Text, nullable=False),
    Column("at", TEXT, nullable=False),
)
TICKETS: Final = Table(
    "tickets",
    METADATA,
    Column("digest", TEXT, primary_key=True),
    Column("tunnel", TEXT, nullable=False, index=True),
    Column("person", TEXT, nullable=False),
    Column("nonce", TEXT, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("expires", TEXT, nullable=False),
    Column("spent", TEXT, nullable=False, server_default=""),
)
SESSIONS_ENDED: Final = Table(  # signed out of before their time; a row goes when its time has come
    "sessions_ended",
    METADATA,
    Column("session", TEXT, primary_key=True),  # id of a cookie's session, or SHA-256 of what a token signs
    Column("until", TEXT, nullable=False, index=True),
)
REPORTED: Final = Table(  # how far a run of a gateway has reported on a tunnel: one row, however much it reports
    "reported",
    METADATA,
    Column("tunnel", TEXT, primary_key=True),
    Column("run", TEXT, primary_key=True),
    Column("number", COUNT, nullable=False),
    Column("at", TEXT, nullable=False, index=True),
)
PLACES: Final = Table(  # where the workspaces are that another part started; a row goes with its tunnel
    "places",
    METADATA,
    Column("tunnel", TEXT, primary_key=True),
    Column("address", TEXT, nullable=False),
    Column("at", TEXT, nullable=False),
)
OUTBOX: Final = Table(
    "outbox",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("seq", COUNT, nullable=False),  # ledger index of the change that it follows
    Column("kind", TEXT, nullable=False),
    Column("target", TEXT, nullable=False, index=True),
    Column("epoch", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", TEXT, nullable=False),  # waiting, done or failed; a claimed one waits with a lease
    Column("due", TEXT, nullable=False),  # not before; while claimed, when the lease ends
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
    Column("created", TEXT, nullable=False),
    Column("ended", TEXT, nullable=False, server_default=""),
    Index(None, "state", "due"),
    CheckConstraint("state IN ('waiting', 'done', 'failed')", name="state"),
    CheckConstraint("(state = 'waiting') = (ended = '')", name="ended"),
)
NOTICES: Final = Table(
    "notices",
    METADATA,
    Column("id", COUNT, primary_key=True, autoincrement=True),
    Column("name", TEXT, nullable=False),  # of the effect that made it, so that a repeated one makes no second
    Column("person", TEXT, nullable=False),
    Column("what", TEXT, nullable=False),
    Column("about", TEXT, nullable=False),
    Column("at", TEXT, nullable=False),
    Column("seen", TEXT, nullable=False, server_default=""),
    UniqueConstraint("name", "person"),
    Index(None, "person", "id"),
)

FROZEN: Final = {  # table -> which statements a trigger refuses, whoever sends them
    "ledger_entries": ("UPDATE", "DELETE"),
    "checkpoints": ("UPDATE", "DELETE"),
    "ledger_private": ("UPDATE",),
    "decisions": ("UPDATE",),
    "ledger_head": ("DELETE",),
}


def guards(dialect: str) -> list[str]:
    """Return the statements that make the ``FROZEN`` tables refuse, for ``sqlite`` or ``postgresql``."""
    if dialect == "sqlite":
        at_end = (  # INSERT OR REPLACE deletes without asking a DELETE trigger, so an entry may only go to the end
            "CREATE TRIGGER ledger_entries_at_end BEFORE INSERT ON ledger_entries "
            "WHEN NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM ledger_entries) "
            "BEGIN SELECT RAISE(ABORT, 'ledger_entries grows at its end'); END"
        )
        made = [
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for table, verbs in FROZEN.items()
            for verb in verbs
        ]
        return [*made, at_end]
    function = (
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END$$"
    )
    return [
        function,
        *(
            f"CREATE TRIGGER {table}_frozen BEFORE {' OR '.join(verbs)} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
            for table, verbs in FROZEN.items()
        ),
        *(
            f"CREATE TRIGGER {table}_kept BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            for table in FROZEN
        ),
    ]
