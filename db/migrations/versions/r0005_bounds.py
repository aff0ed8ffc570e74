"""Let the database refuse usage that no call can have made, from whoever inserts it without the services."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "total_tokens")
WORDS = "a number or a time in this call is beyond what a call can have"


def upgrade() -> None:
    """Apply the revision; it looks at new rows only, and settling passes over old ones."""
    for statement in statements(op.get_bind().dialect.name):
        op.execute(statement)


def statements(dialect: str) -> list[str]:
    """Return the statements for an engine; the bounds are those of services/settlement.py."""
    beyond = [f"NEW.{column} > 1000000000000" for column in TOKENS]
    beyond += ["NEW.quantity > 1000000000000000", "COALESCE(NEW.cost_amount, 0) > 10000000000000000"]
    if dialect == "sqlite":
        day, hour = "substr(NEW.created_at, 1, 10)", "substr(NEW.created_at, 12, 2)"
        beyond += [f"{day} < '0002-01-01'", f"{day} > '9998-12-30'", f"{hour} > '23'"]
        beyond.append(f"date({day}, '+0 days') IS NOT {day}")
        # After the insert: the checks of the table come first, and say more.
        return [
            "CREATE TRIGGER usage_records_bounds AFTER INSERT ON usage_records"
            f" WHEN NEW.counted_by_settler AND ({' OR '.join(beyond)})"
            f" BEGIN SELECT RAISE(ABORT, '{WORDS}'); END"
        ]
    beyond += ["NEW.created_at < '0002-01-01 00:00:00+00'", "NEW.created_at > '9998-12-31 00:00:00+00'"]
    return [
        "CREATE FUNCTION usage_beyond() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{WORDS}' USING ERRCODE = '23514'; END $$",
        "CREATE TRIGGER usage_records_bounds AFTER INSERT ON usage_records FOR EACH ROW"
        f" WHEN (NEW.counted_by_settler AND ({' OR '.join(beyond)})) EXECUTE FUNCTION usage_beyond()",
    ]
