"""The migrations and the models describe the same schema, on both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

import db.migrations
from billing_console.services.ledger import Ledger
from db.revision import HEAD, REVISIONS
from db.schema import UsageRecord
from db.types import FixedPoint
from tests.factories import query


def test_the_migrations_end_at_the_revision_that_the_program_knows() -> None:
    scripts = ScriptDirectory(str(Path(db.migrations.__path__[0])))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)
    assert scripts.get_heads() == [HEAD]


def in_migrations_alone(item: Any, _name: object, kind: str, *_rest: object) -> bool:
    """How usage records are kept differs by engine, so only the migrations know their keys and partitions."""
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
