"""Keep usage records in monthly partitions on PostgreSQL, where a table of requests keeps each unique.

The records there are become one partition, up to the end of this month, where they lie: none of them is copied.
On both engines it makes the tables that stand for records which were moved to files.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from alembic import op

from db.migrations.tables import append_only, ident, instant
from db.migrations.tables import create as create_table
from db.migrations.tables import text as column_of_text
from db.migrations.versions.r0001_ledger import USAGE_FACT
from db.migrations.versions.r0005_bounds import statements as bounds
from db.partitions import BEFORE, LATER, attach, create
from db.types import Money, Quantity

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = {
    f"ix_usage_{kind}{name}": f"({columns}){where}"
    for kind, where in (("", ""), ("failed_", " WHERE status = 'failed'"))
    for name, columns in (
        ("created", "created_at, id"),
        ("model", "provider_id, model_id, created_at, id"),
        ("user", "user_id, provider_id, model_id, created_at, id"),
    )
} | {"ix_usage_unpriced": "(provider_id, model_id, id) WHERE cost_amount IS NULL"}


def upgrade() -> None:
    """Apply the revision."""
    _archives()
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_triggers()
        return
    _set_aside()
    _partitioned()
    _request_ids()
    _take_in()
    _triggers()


def _archives() -> None:
    create_table(
        "usage_archives",
        ident(),
        *(column_of_text(name) for name in ("file_name", "sha256", "operator")),
        *(instant(name) for name in ("starts_at", "ends_at", "created_at")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("last_id", "calls", "removed")),
        sa.Column("cost_amount", Money(), nullable=False),
    )
    create_table(
        "archived_stats",
        sa.Column("stat_date", sa.Date(), primary_key=True),
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("provider_id", "model_id", "usage_type")),
        sa.Column("total_usage", Quantity(), nullable=False),
        sa.Column("total_cost", Money(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("call_count", "failed_count")),
    )
    create_table(
        "archived_costs",
        sa.Column("user_id", sa.Text(), primary_key=True),
        sa.Column("cost_amount", Money(), nullable=False),
    )
    create_table(
        "archived_requests",
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("provider_id", "request_id")),
        sa.Column("usage_id", sa.BigInteger(), nullable=False),
        instant("created_at"),
    )
    append_only("archived_requests")


def _sqlite_triggers() -> None:
    """Let a record go that is archived, and let no archived one come again."""
    same = "a.provider_id = {0}.provider_id AND a.request_id = {0}.request_id"
    archived = f"EXISTS (SELECT 1 FROM archived_requests AS a WHERE {same})"
    op.execute("DROP TRIGGER usage_records_no_delete")
    op.execute(
        f"CREATE TRIGGER usage_records_no_delete BEFORE DELETE ON usage_records WHEN NOT {archived.format('OLD')}"
        " BEGIN SELECT RAISE(ABORT, 'usage_records is append-only'); END"
    )
    op.execute(
        f"CREATE TRIGGER usage_records_archived BEFORE INSERT ON usage_records WHEN {archived.format('NEW')}"
        " BEGIN SELECT RAISE(IGNORE); END"
    )


def _set_aside() -> None:
    """Take its name and those of its indexes from the old table, and what a partition cannot have."""
    for trigger in ("outbox", "bounds", "no_update", "no_delete"):
        op.execute(f"DROP TRIGGER usage_records_{trigger} ON usage_records")
    op.execute("ALTER TABLE usage_records DROP CONSTRAINT usage_records_pkey")
    op.execute(
        "ALTER TABLE usage_records RENAME CONSTRAINT uq_usage_records_request TO uq_usage_records_request_before"
    )
    op.execute("ALTER TABLE usage_records RENAME TO usage_records_before")
    for name in INDEXES:
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_old")


def _partitioned() -> None:
    op.execute(
        "CREATE TABLE usage_records (LIKE usage_records_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS,"
        " CONSTRAINT usage_records_pkey PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)"
    )
    op.execute("ALTER SEQUENCE usage_records_id_seq OWNED BY usage_records.id")
    for name, columns in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON usage_records {columns}")


def _request_ids() -> None:
    """Make the key over all partitions; a second one keeps an id that a writer chose from being taken twice."""
    op.execute(
        "CREATE TABLE usage_request_ids (provider_id text NOT NULL, request_id text NOT NULL, usage_id bigint NOT NULL,"
        " created_at timestamptz NOT NULL)"
    )
    op.execute("INSERT INTO usage_request_ids SELECT provider_id, request_id, id, created_at FROM usage_records_before")
    op.execute(
        "ALTER TABLE usage_request_ids"
        " ADD CONSTRAINT uq_usage_records_request PRIMARY KEY (provider_id, request_id),"
        " ADD CONSTRAINT uq_usage_records_id UNIQUE (usage_id)"
    )
    append_only("usage_request_ids")


def _triggers() -> None:
    """Put back what keeps records as they are; what others insert claims its request before it enters the outbox.

    The trigger acts for the owner of the ledger, so that a gateway needs no right but to insert its calls.
    """
    connection = op.get_bind()
    schema = connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    op.execute(
        "CREATE OR REPLACE FUNCTION usage_to_outbox() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        f" SET search_path = pg_catalog, {schema}, pg_temp AS $$ BEGIN"
        " INSERT INTO usage_request_ids (provider_id, request_id, usage_id, created_at)"
        " VALUES (NEW.provider_id, NEW.request_id, NEW.id, NEW.created_at);"
        " INSERT INTO usage_outbox (usage_id, usage_check, provider_check, cost_check)"
        " VALUES (NEW.id, -NEW.id, NEW.provider_id, -NEW.cost_amount); RETURN NULL; END $$"
    )
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', COALESCE(TG_ARGV[0], TG_TABLE_NAME); END $$"
    )
    op.execute(
        "CREATE TRIGGER usage_records_outbox AFTER INSERT ON usage_records FOR EACH ROW"
        " WHEN (NEW.counted_by_settler) EXECUTE FUNCTION usage_to_outbox()"
    )
    for statement in bounds(connection.dialect.name)[1:]:
        op.execute(statement)
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in USAGE_FACT)
    op.execute(
        "CREATE TRIGGER usage_records_no_update BEFORE UPDATE ON usage_records FOR EACH ROW"
        f" WHEN (OLD.cost_amount IS NOT NULL OR NEW.cost_amount IS NULL OR {changed})"
        " EXECUTE FUNCTION refuse_change('usage_records')"
    )
    op.execute(
        "CREATE FUNCTION usage_stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT 1 FROM"
        " archived_requests AS a WHERE a.provider_id = OLD.provider_id AND a.request_id = OLD.request_id)"
        " THEN RETURN OLD; END IF; RAISE EXCEPTION 'usage_records is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER usage_records_no_delete BEFORE DELETE ON usage_records FOR EACH ROW"
        " EXECUTE FUNCTION usage_stays()"
    )


def _take_in() -> None:
    """Make the old table a partition, and give the new tables its rights; drop it where it is empty.

    No trigger is there yet: what lies after this month is moved, and its requests are known already.
    """
    connection = op.get_bind()
    granted = connection.execute(
        sa.text(
            "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role,"
            " privilege_type AS privilege FROM pg_class, aclexplode(relacl)"
            " WHERE pg_class.oid = to_regclass('usage_records_before') AND grantee <> relowner"
        )
    ).all()
    for role, privilege in granted:
        op.execute(f"GRANT {privilege} ON usage_records TO {role}")
        if privilege in ("SELECT", "INSERT"):
            op.execute(f"GRANT {privilege} ON usage_request_ids TO {role}")
    by_column = connection.execute(
        sa.text(
            "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role,"
            " privilege_type AS privilege, string_agg(quote_ident(attname), ', ') AS columns"
            " FROM pg_attribute, aclexplode(attacl) WHERE attrelid = to_regclass('usage_records_before') GROUP BY 1, 2"
        )
    ).all()
    for role, privilege, columns in by_column:
        op.execute(f"GRANT {privilege} ({columns}) ON usage_records TO {role}")
    if connection.execute(sa.text("SELECT 1 FROM usage_records_before LIMIT 1")).first() is None:
        # A new ledger, whose time zone is not known yet: who fills it makes the months of this one.
        op.execute("DROP TABLE usage_records_before")
        create(connection, BEFORE)
        attach(connection, BEFORE, None, None)
        return
    end = _end_of_month(connection)
    create(connection, LATER)
    op.execute(
        f"WITH later AS (DELETE FROM usage_records_before WHERE created_at >= '{end.isoformat()}' RETURNING *)"
        " INSERT INTO usage_records_later SELECT * FROM later"
    )
    attach(connection, BEFORE, None, end)
    attach(connection, LATER, end, None)


def _end_of_month(connection: sa.Connection) -> datetime:
    """Return the first instant after this month of the business time zone."""
    name = connection.execute(sa.text("SELECT value FROM ledger_info WHERE name = 'business_timezone'")).scalar_one()
    now = datetime.now(ZoneInfo(name))
    year, month = (now.year, now.month + 1) if now.month < 12 else (now.year + 1, 1)
    return datetime(year, month, 1, tzinfo=ZoneInfo(name)).astimezone(UTC)
