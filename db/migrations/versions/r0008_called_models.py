"""Add the index that tells which models were ever called for a type, however many days the statistics have."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_index("ix_daily_cost_stats_model", "daily_cost_stats", ["provider_id", "model_id", "usage_type"])
