"""Signing in: people are found by their e-mail address, a sign-in can be taken off, and what people signed out of is kept."""

from __future__ import annotations

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
PEOPLE = sa.table("people", sa.column("id"), sa.column("state"), sa.column("subject"), sa.column("email"), sa.column("body"))


def upgrade() -> None:
    """Add the fact and the table, and bring every person to what this version makes of their entries."""
    op.add_column("people", sa.Column("email", TEXT, nullable=False, server_default=""))
    op.create_index("ix_people_email", "people", ["email"])
    for row in _people():
        body = {**orjson.loads(row.body), "unbound": None}
        if row.state == "left":
            body["subject"] = ""
        _save(row.id, body, subject=body["subject"], email=body["email"].lower())
    op.create_table(
        "sessions_ended",
        sa.Column("session", TEXT, nullable=False),
        sa.Column("until", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("session", name="pk_sessions_ended"),
    )
    op.create_index("ix_sessions_ended_until", "sessions_ended", ["until"])


def downgrade() -> None:
    """Take both away; sign-ins that were bound stay bound."""
    op.drop_table("sessions_ended")
    for row in _people():
        body = orjson.loads(row.body)
        del body["unbound"]
        _save(row.id, body)
    op.drop_index("ix_people_email", "people")
    op.drop_column("people", "email")


def _people() -> list[sa.Row[tuple[str, str, str]]]:
    return list(op.get_bind().execute(sa.select(PEOPLE.c.id, PEOPLE.c.state, PEOPLE.c.body)))


def _save(identifier: str, body: dict[str, object], **facts: object) -> None:
    op.get_bind().execute(sa.update(PEOPLE).where(PEOPLE.c.id == identifier).values(body=orjson.dumps(body).decode(), **facts))
