"""Create the ledger: tables, the usage screen's indexes, the outbox trigger, triggers that keep facts unchanged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.tables import append_only, create, ident, instant, text
from db.types import Money, Percent, Quantity

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

USAGE_TYPES = "('text_generation', 'image_generation', 'audio_tts', 'audio_stt', 'video_generation')"

APPEND_ONLY = ("recharges", "quota_grants", "prices", "usage_imports")


def upgrade() -> None:
    """Apply the revision."""
    _catalogue()
    _usage()
    _pools()
    _quotas()
    _usage_indexes()
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_triggers()
    else:
        _postgresql_triggers()


def _catalogue() -> None:
    create("ledger_info", text("name"), text("value"), sa.PrimaryKeyConstraint("name"))
    create(
        "providers", text("provider_id"), text("name"), instant("created_at"), sa.PrimaryKeyConstraint("provider_id")
    )
    create(
        "models",
        text("provider_id"),
        text("model_id"),
        text("name"),
        instant("disabled_at", null=True),
        text("disabled_by", null=True),
        text("disabled_reason", null=True),
        instant("created_at"),
        sa.PrimaryKeyConstraint("provider_id", "model_id"),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.provider_id"]),
    )
    create(
        "prices",
        ident(),
        text("provider_id"),
        text("model_id"),
        text("usage_type"),
        text("unit"),
        sa.Column("input_price", Money(), nullable=False),
        sa.Column("output_price", Money(), nullable=False),
        sa.Column("cached_input_price", Money(), nullable=True),
        instant("effective_from"),
        text("source_currency", null=True),
        text("exchange_rate", null=True),
        text("operator"),
        instant("created_at"),
        sa.ForeignKeyConstraint(["provider_id", "model_id"], ["models.provider_id", "models.model_id"]),
        sa.UniqueConstraint("provider_id", "model_id", "usage_type", "effective_from", name="uq_prices_effective"),
        sa.CheckConstraint(f"usage_type IN {USAGE_TYPES}", name="ck_prices_usage_type"),
        sa.CheckConstraint(
            "unit IN ('1m_tokens', 'image', '1k_characters', 'second', 'minute')", name="ck_prices_unit"
        ),
        sa.CheckConstraint(
            "input_price >= 0 AND output_price >= 0 AND (cached_input_price IS NULL OR cached_input_price >= 0)",
            name="ck_prices_not_negative",
        ),
    )


def _usage() -> None:
    create(
        "usage_imports",
        ident(),
        text("file_name"),
        text("source_currency", null=True),
        text("exchange_rate", null=True),
        text("operator"),
        instant("created_at"),
    )
    counts = [
        sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        for name in ("input_tokens", "cached_input_tokens", "output_tokens", "total_tokens")
    ]
    create(
        "usage_records",
        ident(),
        text("request_id"),
        text("user_id", null=True),
        text("provider_id"),
        text("model_id"),
        text("usage_type"),
        *counts,
        sa.Column("quantity", Quantity(), nullable=False, server_default=sa.text("0")),
        sa.Column("cost_amount", Money(), nullable=True),
        sa.Column("price_id", sa.BigInteger(), nullable=True),
        text("status"),
        text("error_message", null=True),
        instant("created_at"),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column("counted_by_settler", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.UniqueConstraint("provider_id", "request_id", name="uq_usage_records_request"),
        sa.CheckConstraint(f"usage_type IN {USAGE_TYPES}", name="ck_usage_records_usage_type"),
        sa.CheckConstraint("status IN ('success', 'failed')", name="ck_usage_records_status"),
        sa.CheckConstraint(
            "input_tokens >= 0 AND cached_input_tokens >= 0 AND output_tokens >= 0 AND total_tokens >= 0"
            " AND quantity >= 0 AND cached_input_tokens <= input_tokens AND (cost_amount IS NULL OR cost_amount >= 0)",
            name="ck_usage_records_not_negative",
        ),
    )
    create(
        "usage_outbox",
        sa.Column(
            "usage_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
    )
    create(
        "daily_cost_stats",
        sa.Column("stat_date", sa.Date(), nullable=False),
        text("provider_id"),
        text("model_id"),
        text("usage_type"),
        sa.Column("total_usage", Quantity(), nullable=False),
        sa.Column("total_cost", Money(), nullable=False),
        sa.Column("call_count", sa.BigInteger(), nullable=False),
        sa.Column("failed_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stat_date", "provider_id", "model_id", "usage_type"),
    )


def _pools() -> None:
    create(
        "resource_pools",
        text("provider_id"),
        instant("opened_at", null=True),
        sa.Column("total_balance", Money(), nullable=False),
        sa.Column("used_amount", Money(), nullable=False),
        sa.Column("low_threshold", Percent(), nullable=True),
        instant("suspended_at", null=True),
        instant("last_recharge_at", null=True),
        instant("last_check_at", null=True),
        sa.PrimaryKeyConstraint("provider_id"),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.provider_id"]),
    )
    create(
        "recharges",
        ident(),
        text("provider_id"),
        sa.Column("amount", Money(), nullable=False),
        text("reference"),
        text("note"),
        text("idempotency_key"),
        sa.Column("reverses_id", sa.BigInteger(), nullable=True),
        sa.Column("total_after", Money(), nullable=False),
        sa.Column("available_after", Money(), nullable=False),
        text("operator"),
        instant("created_at"),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.provider_id"]),
        sa.ForeignKeyConstraint(["reverses_id"], ["recharges.id"]),
        sa.UniqueConstraint("idempotency_key", name="uq_recharges_key"),
        sa.UniqueConstraint("reverses_id", name="uq_recharges_reverses"),
        sa.CheckConstraint("(amount > 0) = (reverses_id IS NULL) AND amount <> 0", name="ck_recharges_sign"),
    )
    op.create_index("ix_recharges_provider", "recharges", ["provider_id", "id"])
    create(
        "balance_alerts",
        ident(),
        text("provider_id"),
        text("alert_type"),
        text("alert_level"),
        sa.Column("balance_percentage", Percent(), nullable=False),
        sa.Column("available_balance", Money(), nullable=False),
        instant("created_at"),
        instant("updated_at"),
        instant("resolved_at", null=True),
        sa.ForeignKeyConstraint(["provider_id"], ["resource_pools.provider_id"]),
        sa.CheckConstraint("alert_type IN ('low_balance', 'insufficient_balance')", name="ck_balance_alerts_type"),
        sa.CheckConstraint("alert_level IN ('warning', 'critical')", name="ck_balance_alerts_level"),
    )
    still_open = sa.text("resolved_at IS NULL")
    op.create_index(
        "uq_balance_alerts_open",
        "balance_alerts",
        ["provider_id"],
        unique=True,
        sqlite_where=still_open,
        postgresql_where=still_open,
    )
    op.create_index("ix_balance_alerts_created", "balance_alerts", ["created_at"])


def _quotas() -> None:
    create(
        "user_quotas",
        text("user_id"),
        sa.Column("granted_amount", Money(), nullable=True),
        sa.Column("used_amount", Money(), nullable=False),
        instant("created_at"),
        instant("updated_at"),
        sa.PrimaryKeyConstraint("user_id"),
    )
    create(
        "quota_grants",
        ident(),
        text("user_id"),
        sa.Column("amount", Money(), nullable=False),
        text("reference"),
        text("idempotency_key"),
        sa.Column("granted_after", Money(), nullable=False),
        sa.Column("remaining_after", Money(), nullable=False),
        text("operator"),
        instant("created_at"),
        sa.ForeignKeyConstraint(["user_id"], ["user_quotas.user_id"]),
        sa.UniqueConstraint("idempotency_key", name="uq_quota_grants_key"),
        sa.CheckConstraint("amount <> 0", name="ck_quota_grants_sign"),
    )
    op.create_index("ix_quota_grants_user", "quota_grants", ["user_id", "id"])


def _usage_indexes() -> None:
    """Three orders, each again for failed calls alone: with them every filter is a few seeks at 10 million rows.

    SQLite ends every index with the row id by itself.
    """
    tail = [] if op.get_bind().dialect.name == "sqlite" else ["id"]
    failed = sa.text("status = 'failed'")
    for name, leading in (
        ("created", []),
        ("model", ["provider_id", "model_id"]),
        ("user", ["user_id", "provider_id", "model_id"]),
    ):
        columns = [*leading, "created_at", *tail]
        op.create_index(f"ix_usage_{name}", "usage_records", columns)
        op.create_index(
            f"ix_usage_failed_{name}", "usage_records", columns, sqlite_where=failed, postgresql_where=failed
        )
    unpriced = sa.text("cost_amount IS NULL")
    op.create_index(
        "ix_usage_unpriced",
        "usage_records",
        ["provider_id", "model_id", "id"],
        sqlite_where=unpriced,
        postgresql_where=unpriced,
    )


USAGE_FACT = (
    "id",
    "request_id",
    "user_id",
    "provider_id",
    "model_id",
    "usage_type",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "total_tokens",
    "quantity",
    "status",
    "error_message",
    "created_at",
    "import_id",
    "counted_by_settler",
)
"""What never changes in a usage record; its cost and price alone may be filled in, once."""


def _sqlite_triggers() -> None:
    op.execute(
        "CREATE TRIGGER usage_records_outbox AFTER INSERT ON usage_records WHEN NEW.counted_by_settler"
        " BEGIN INSERT INTO usage_outbox (usage_id) VALUES (NEW.id); END"
    )
    changed = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in USAGE_FACT)
    op.execute(
        "CREATE TRIGGER usage_records_no_update BEFORE UPDATE ON usage_records"
        f" WHEN OLD.cost_amount IS NOT NULL OR NEW.cost_amount IS NULL OR {changed}"
        " BEGIN SELECT RAISE(ABORT, 'usage_records is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER usage_records_no_delete BEFORE DELETE ON usage_records"
        " BEGIN SELECT RAISE(ABORT, 'usage_records is append-only'); END"
    )
    for table in APPEND_ONLY:
        append_only(table)


def _postgresql_triggers() -> None:
    op.execute(
        "CREATE FUNCTION usage_to_outbox() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO usage_outbox (usage_id) VALUES (NEW.id); RETURN NULL; END $$"
    )
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE TRIGGER usage_records_outbox AFTER INSERT ON usage_records FOR EACH ROW"
        " WHEN (NEW.counted_by_settler) EXECUTE FUNCTION usage_to_outbox()"
    )
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in USAGE_FACT)
    op.execute(
        "CREATE TRIGGER usage_records_no_update BEFORE UPDATE ON usage_records FOR EACH ROW"
        f" WHEN (OLD.cost_amount IS NOT NULL OR NEW.cost_amount IS NULL OR {changed}) EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER usage_records_no_delete BEFORE DELETE ON usage_records FOR EACH ROW"
        " EXECUTE FUNCTION refuse_change()"
    )
    for table in APPEND_ONLY:
        append_only(table)
