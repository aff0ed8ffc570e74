"""Add thresholds by amount and days, acknowledged alerts, quota that expires or comes back each period, budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.tables import create, instant, text
from db.types import Money

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("resource_pools", sa.Column("low_amount", Money(), nullable=True))
    op.add_column("resource_pools", sa.Column("low_days", sa.BigInteger(), nullable=True))
    op.add_column("balance_alerts", text("acknowledged_by", null=True))
    op.add_column("balance_alerts", instant("acknowledged_at", null=True))
    op.add_column("quota_grants", instant("expires_at", null=True))
    op.add_column("quota_grants", sa.Column("used_before", Money(), nullable=True))
    op.add_column("quota_grants", sa.Column("expires_id", sa.BigInteger(), nullable=True))
    op.create_index("uq_quota_grants_expires", "quota_grants", ["expires_id"], unique=True)
    op.create_index("ix_quota_grants_expiry", "quota_grants", ["expires_at"])
    op.create_index("ix_quota_grants_user_expiry", "quota_grants", ["user_id", "expires_at"])
    create(
        "periodic_quotas",
        text("user_id"),
        text("period"),
        sa.Column("amount", Money(), nullable=False),
        text("operator"),
        instant("created_at"),
        sa.PrimaryKeyConstraint("user_id"),
        sa.ForeignKeyConstraint(["user_id"], ["user_quotas.user_id"]),
        sa.CheckConstraint("period IN ('day', 'week', 'month')", name="ck_periodic_quotas_period"),
        sa.CheckConstraint("amount > 0", name="ck_periodic_quotas_amount"),
    )
    create(
        "budgets",
        text("provider_id"),
        sa.Column("amount", Money(), nullable=False),
        sa.PrimaryKeyConstraint("provider_id"),
        sa.CheckConstraint("amount > 0", name="ck_budgets_amount"),
    )
