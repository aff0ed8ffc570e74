"""Add the tokens of the HTTP API."""

from __future__ import annotations

import sqlalchemy as sa

from db.migrations.tables import create, instant, text

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
