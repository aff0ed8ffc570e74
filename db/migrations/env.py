"""Runs the migrations on the connection that the caller hands over; Alembic loads this file by name."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import db.schema  # noqa: F401  (fills the metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
