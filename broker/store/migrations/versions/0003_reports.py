"""How far each gateway has reported on each tunnel, so that what it says twice is recorded once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "reported",
        sa.Column("tunnel", TEXT, nullable=False),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("number", COUNT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("tunnel", "run", name="pk_reported"),
    )
    op.create_index("ix_reported_at", "reported", ["at"])


def downgrade() -> None:
    """Take it away."""
    op.drop_table("reported")
