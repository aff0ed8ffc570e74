"""Add the keys of requests that are done once, with their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.tables import create, instant, text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    create(
        "request_keys",
        text("operator"),
        text("key"),
        text("fingerprint"),
        sa.Column("status", sa.BigInteger(), nullable=False),
        text("answer"),
        instant("created_at"),
        sa.PrimaryKeyConstraint("operator", "key"),
    )
    op.create_index("ix_request_keys_created", "request_keys", ["created_at"])
