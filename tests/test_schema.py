"""The migrations and the models describe the same schema, on both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

import db.migrations
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger
from db.revision import HEAD, REVISIONS
from db.schema import UsageRecord
from db.types import FixedPoint
from tests.factories import execute, pool, query, spend


def test_the_migrations_end_at_the_revision_that_the_program_knows() -> None:
    scripts = ScriptDirectory(str(Path(db.migrations.__path__[0])))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)
    assert scripts.get_heads() == [HEAD]


def in_migrations_alone(item: Any, _name: object, kind: str, *_rest: object) -> bool:
    """How usage records are kept differs by engine, and what an index has a condition for is told each by itself."""
    if item.name == "uq_balance_alerts_open":
        return False
    if kind == "table":
        return not str(item.name).startswith(("usage_records_", "usage_request_ids"))
    return not (kind in ("index", "unique_constraint") and item.table.name == UsageRecord.__tablename__)


def same_type(_context: object, _found_column: object, _column: object, found: object, declared: object) -> bool | None:
    """A fixed-point column is found as the whole number it is stored as."""
    if isinstance(declared, FixedPoint):
        return "INT" not in str(found).upper()
    return None


def test_migrating_gives_the_schema_of_the_models(ledger: Ledger) -> None:
    with ledger.database.writing() as session:
        options = {"compare_type": same_type, "include_object": in_migrations_alone}
        context = MigrationContext.configure(session.connection(), opts=options)
        assert compare_metadata(context, SQLModel.metadata) == []


def test_a_pool_has_one_open_alert_at_most(ledger: Ledger) -> None:
    pool(ledger, amount="10")
    spend(ledger, "10")
    check_pools(ledger)
    again = (
        "INSERT INTO balance_alerts (provider_id, alert_type, alert_level, balance_percentage, available_balance,"
        " created_at, updated_at, resolved_at) SELECT provider_id, alert_type, alert_level, balance_percentage,"
        " available_balance, created_at, updated_at, {} FROM balance_alerts WHERE resolved_at IS NULL"
    )
    with pytest.raises(IntegrityError):
        execute(ledger, again.format("resolved_at"))
    execute(ledger, again.format("updated_at"))
    assert query(ledger, "SELECT COUNT(*), COUNT(resolved_at) FROM balance_alerts") == [(2, 1)]


def test_the_checks_of_the_models_are_in_the_database(ledger: Ledger) -> None:
    """Alembic does not compare checks."""
    declared = {
        str(constraint.name)
        for table in SQLModel.metadata.tables.values()
        for constraint in table.constraints
        if str(constraint.name).startswith("ck_")
    }
    if ledger.database.is_sqlite:
        said = " ".join(str(row[0]) for row in query(ledger, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
        assert {name for name in declared if name not in said} == set()
    else:
        assert declared <= {row[0] for row in query(ledger, "SELECT conname FROM pg_constraint WHERE contype = 'c'")}
    assert len(declared) >= 10
