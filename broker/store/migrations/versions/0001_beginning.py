"""The first schema: nouns, the ledger and its guards, the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from broker.store.tables import guards
from sulku.ledger.tree import Frontier

revision = "0001"
down_revision = None

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NOUNS = {  # table -> facts, and which of them have an index
    "people": {"subject": False, "organisation": False},
    "datasets": {"name": True, "controller": False},
    "applications": {"applicant": True, "organisation": False, "permit": True},
    "permits": {"application": True, "organisation": False, "starts": True, "ends": True},
    "tunnels": {"permit": True, "person": True, "deadline": True},
    "mounts": {"tunnel": True, "dataset": True, "edition": False},
    "outputs": {"tunnel": True, "permit": True, "person": True, "submission": True},
    "releases": {"author": True, "permit": True, "tunnel": True, "organisation": False},
}
ORDER = ("notices", "outbox", "tickets", "keys", "decisions", "ledger_private", "checkpoints", "ledger_head", "ledger_entries", "named")


def upgrade() -> None:
    """Make every table and the triggers that keep the ledger."""
    for name, facts in NOUNS.items():
        _noun(name, facts)
    op.create_index(
        "uq_people_subject", "people", ["subject"], unique=True,
        sqlite_where=sa.text("subject <> ''"), postgresql_where=sa.text("subject <> ''"),
    )  # fmt: skip
    _table("named", _text("record"), _text("part"), _text("value"), key=("record", "part", "value"))
    op.create_index("ix_named_part_value", "named", ["part", "value"])
    _ledger()
    _work()
    for statement in guards(op.get_bind().dialect.name):
        op.execute(statement)
    head = sa.table("ledger_head", sa.column("id"), sa.column("frontier", sa.LargeBinary), sa.column("at"))
    op.execute(sa.insert(head).values(id=1, frontier=Frontier().dump(), at=""))


def downgrade() -> None:
    """Drop everything, the ledger too."""
    for name in (*ORDER, *NOUNS):
        op.drop_table(name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")


def _text(name: str, *, empty: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=False, server_default="" if empty else None)


def _long(name: str, *, empty: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, server_default="" if empty else None)


def _number(name: str, kind: sa.types.TypeEngine[int] = COUNT) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, autoincrement=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _table(name: str, *parts: sa.Column[int] | sa.Column[str] | sa.Column[bytes] | sa.Constraint, key: tuple[str, ...]) -> None:
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"))


def _noun(name: str, facts: dict[str, bool]) -> None:
    _table(
        name,
        _text("id"),
        _number("version", sa.Integer()),
        _text("state"),
        *(_text(fact, empty=True) for fact in facts),
        _long("body"),
        _text("created"),
        _text("updated"),
        sa.CheckConstraint("version > 0", name=op.f(f"ck_{name}_version")),
        key=("id",),
    )
    op.create_index(f"ix_{name}_state_created", name, ["state", "created"])
    for fact, indexed in facts.items():
        if indexed:
            op.create_index(f"ix_{name}_{fact}", name, [fact])


def _ledger() -> None:
    found_by = ("type", "record", "actor", "person", "permit")
    columns = [_text(each) for each in (*found_by, "kind", "decision", "at")]
    _table("ledger_entries", _number("seq"), _bytes("leaf"), _bytes("entry"), *columns, key=("seq",))
    for each in found_by:
        op.create_index(f"ix_ledger_entries_{each}", "ledger_entries", [each])
    one = sa.CheckConstraint("id = 1", name=op.f("ck_ledger_head_one"))
    _table("ledger_head", _number("id", sa.Integer()), _bytes("frontier"), _text("at"), one, key=("id",))
    _table("checkpoints", _number("size"), _bytes("note"), _text("at"), key=("size",))
    of = sa.ForeignKeyConstraint(["seq"], ["ledger_entries.seq"], name="fk_ledger_private_seq")
    _table("ledger_private", _number("seq"), _text("field"), _bytes("salt"), _long("text"), of, key=("seq", "field"))


def _work() -> None:
    asked = (_text("action"), _text("target"), _text("actor"), _number("allowed", sa.Integer()), _text("policy"), _text("engine"))
    _table("decisions", _text("id"), *asked, _long("asked"), _long("answered"), _text("at"), key=("id",))
    _table("keys", _text("key"), _text("digest"), _long("records"), _long("entries"), _text("at"), key=("key",))
    given = (_text("tunnel"), _text("person"), _text("nonce"), _number("epoch", sa.Integer()), _text("expires"))
    _table("tickets", _text("digest"), *given, _text("spent", empty=True), key=("digest",))
    op.create_index("ix_tickets_tunnel", "tickets", ["tunnel"])
    _table(
        "outbox",
        _text("name"),
        _number("seq"),
        _text("kind"),
        _text("target"),
        _number("epoch", sa.Integer()),
        _long("body"),
        _text("state"),
        _text("due"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        _long("error", empty=True),
        _text("created"),
        _text("ended", empty=True),
        sa.CheckConstraint("state IN ('waiting', 'done', 'failed')", name=op.f("ck_outbox_state")),
        sa.CheckConstraint("(state = 'waiting') = (ended = '')", name=op.f("ck_outbox_ended")),
        key=("name",),
    )
    op.create_index("ix_outbox_target", "outbox", ["target"])
    op.create_index("ix_outbox_state_due", "outbox", ["state", "due"])
    told = (_text("name"), _text("person"), _text("what"), _text("about"), _text("at"), _text("seen", empty=True))
    once = sa.UniqueConstraint("name", "person", name="uq_notices_name_person")
    _table("notices", sa.Column("id", COUNT, nullable=False, autoincrement=True), *told, once, key=("id",))
    op.create_index("ix_notices_person_id", "notices", ["person", "id"])
