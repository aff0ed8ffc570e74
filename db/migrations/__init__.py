"""Alembic migrations, shipped with the package and run by `init` and `upgrade`."""
