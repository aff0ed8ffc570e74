"""Add operators, limits, approvals and the audit log, and copies of what balances are made of, which triggers keep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.tables import append_only, create, ident, instant, text
from db.types import Money

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BALANCES = {
    "resource_pools": {"total_balance": "total_check", "used_amount": "used_check"},
    "user_quotas": {"granted_amount": "granted_check", "used_amount": "used_check"},
}
"""The amounts that a balance is made of, and the column that holds each negated."""


def upgrade() -> None:
    """Apply the revision."""
    _people()
    _approvals()
    _audit()
    for table in ("approval_requests", "approval_decisions", "audit_log"):
        append_only(table)
    _chain()
    for table, columns in BALANCES.items():
        _checks(table, columns)
    _outbox_copies()
    for table in ("recharges", "quota_grants"):
        op.create_index(f"ix_{table}_operator", table, ["operator", "created_at"])


def _people() -> None:
    create(
        "operators",
        text("name"),
        sa.Column("uid", sa.BigInteger(), nullable=True),
        text("role"),
        text("added_by"),
        instant("added_at"),
        sa.PrimaryKeyConstraint("name"),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="ck_operators_role"),
    )
    create(
        "limits",
        text("name"),
        sa.Column("amount", Money(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.CheckConstraint(
            "name IN ('per_operation', 'per_operator_day', 'per_pool_day', 'approval_above')", name="ck_limits_name"
        ),
        sa.CheckConstraint("amount > 0", name="ck_limits_amount"),
    )


def _approvals() -> None:
    create(
        "approval_requests",
        ident(),
        text("kind"),
        text("subject"),
        sa.Column("amount", Money(), nullable=False),
        text("reference"),
        text("note"),
        text("idempotency_key"),
        sa.Column("reverses_id", sa.BigInteger(), nullable=True),
        text("operator"),
        instant("created_at"),
        instant("expires_at"),
        sa.UniqueConstraint("idempotency_key", name="uq_approval_requests_key"),
        sa.CheckConstraint("kind IN ('recharge', 'reversal', 'grant')", name="ck_approval_requests_kind"),
    )
    create(
        "approval_decisions",
        sa.Column(
            "request_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("approved", sa.Boolean(), nullable=False),
        text("reason"),
        text("operator"),
        instant("created_at"),
        sa.ForeignKeyConstraint(["request_id"], ["approval_requests.id"]),
    )


def _audit() -> None:
    create(
        "audit_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False),
        instant("created_at"),
        text("operator"),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        text("account"),
        sa.Column("login_uid", sa.BigInteger(), nullable=True),
        text("tty", null=True),
        text("ssh_client", null=True),
        text("host"),
        text("action"),
        text("target"),
        text("outcome"),
        text("reason"),
        text("before", null=True),
        text("after", null=True),
        text("proof", null=True),
        text("previous_hash"),
        text("hash"),
        sa.CheckConstraint("outcome IN ('done', 'refused')", name="ck_audit_log_outcome"),
    )


def _chain() -> None:
    """Let the database take only the row that follows the last one: a second writer or a forged row breaks the chain.

    SQLite runs this before it looks for the row that INSERT OR REPLACE would delete past every other trigger.
    """
    wrong = (
        "NEW.id <> COALESCE((SELECT MAX(id) FROM audit_log), 0) + 1 OR NEW.previous_hash <>"
        " COALESCE((SELECT hash FROM audit_log ORDER BY id DESC LIMIT 1), '')"
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER audit_log_chain BEFORE INSERT ON audit_log"
            f" WHEN {wrong} BEGIN SELECT RAISE(ABORT, 'audit_log is a chain'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION keep_chain() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF {wrong} THEN RAISE EXCEPTION 'audit_log is a chain' USING ERRCODE = '40001';"
        " END IF; RETURN NEW; END $$"
    )
    op.execute("CREATE TRIGGER audit_log_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION keep_chain()")


def _checks(table: str, columns: dict[str, str]) -> None:
    for column, check in columns.items():
        op.add_column(table, sa.Column(check, Money(), nullable=True))
        op.execute(f"UPDATE {table} SET {check} = -{column}")
    copies = ", ".join(f"{check} = -{column}" for column, check in columns.items())
    if op.get_bind().dialect.name == "sqlite":
        key = "provider_id" if table == "resource_pools" else "user_id"
        for name, when in (("insert", "INSERT"), ("update", f"UPDATE OF {', '.join(columns)}")):
            op.execute(
                f"CREATE TRIGGER {table}_check_{name} AFTER {when} ON {table}"
                f" BEGIN UPDATE {table} SET {copies} WHERE {key} = NEW.{key}; END"
            )
        return
    body = " ".join(f"NEW.{check} := -NEW.{column};" for column, check in columns.items())
    op.execute(
        f"CREATE FUNCTION {table}_check() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_check BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_check()"
    )


def _outbox_copies() -> None:
    """Let each entry of the outbox say what the call that waits there looked like: live balances go by it."""
    for column in (
        sa.Column("usage_check", sa.BigInteger(), nullable=True),
        sa.Column("provider_check", sa.Text(), nullable=True),
        sa.Column("cost_check", Money(), nullable=True),
    ):
        op.add_column("usage_outbox", column)
    copied = {"usage_check": "-id", "provider_check": "provider_id", "cost_check": "-cost_amount"}
    for name, value in copied.items():
        op.execute(
            f"UPDATE usage_outbox SET {name} ="
            f" (SELECT {value} FROM usage_records WHERE usage_records.id = usage_outbox.usage_id)"
        )
    into = "INSERT INTO usage_outbox (usage_id, usage_check, provider_check, cost_check)"
    into += " VALUES (NEW.id, -NEW.id, NEW.provider_id, -NEW.cost_amount)"
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER usage_records_outbox")
        op.execute(
            "CREATE TRIGGER usage_records_outbox AFTER INSERT ON usage_records WHEN NEW.counted_by_settler"
            f" BEGIN {into}; END"
        )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION usage_to_outbox() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {into}; RETURN NULL; END $$"
    )
