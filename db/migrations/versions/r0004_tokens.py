"""Add the tokens of the HTTP API, and what calls under way hold of a quota."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.tables import create, instant, text
from db.types import Money

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    create(
        "api_tokens",
        text("name"),
        text("token_hash"),
        text("scopes"),
        text("created_by"),
        instant("created_at"),
        instant("expires_at", null=True),
        instant("revoked_at", null=True),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("token_hash", name="uq_api_tokens_hash"),
    )
    create(
        "holds",
        text("provider_id"),
        text("request_id"),
        text("user_id"),
        text("model_id"),
        text("usage_type"),
        sa.Column("amount", Money(), nullable=False),
        instant("expires_at"),
        sa.PrimaryKeyConstraint("provider_id", "request_id"),
        sa.ForeignKeyConstraint(["user_id"], ["user_quotas.user_id"]),
        sa.CheckConstraint("amount >= 0", name="ck_holds_amount"),
    )
    op.create_index("ix_holds_user", "holds", ["user_id"])
