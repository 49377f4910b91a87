"""Where the workspaces are that another part of the broker started, on a cluster."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "places",
        sa.Column("tunnel", TEXT, nullable=False),
        sa.Column("address", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("tunnel", name="pk_places"),
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("places")
