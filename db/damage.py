"""Damage that is seen when a balance is read: an amount that contradicts its copy, a file that contradicts itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlmodel import Session

from db.schema import ResourcePool, UserQuota
from db.statements import is_sqlite, table_of

CHECKED = {
    "resource_pools": {"total_balance": "total_check", "used_amount": "used_check"},
    "user_quotas": {"granted_amount": "granted_check", "used_amount": "used_check"},
}
"""The amounts of a balance, and the column in which a trigger keeps each negated."""


class DamagedBalance(Exception):
    """A stored balance contradicts its copy: a disk, a cable or a hand changed it past the database."""

    def __init__(self, where: str) -> None:
        """Keep whose balance it is."""
        super().__init__(where)
        self.where = where


class DamagedFile(Exception):
    """The pages of an SQLite file contradict each other, so that nothing read from it can be trusted."""


def require_sound(session: Session, *models: Any) -> None:
    """Raise DamagedFile where the pages of these tables, or of the whole file without any, do not hold together.

    A row that is missing, comes twice or is found under another one's key agrees with its copies all the same. SQLite
    alone is asked: it takes microseconds for the tables that balances are read from; PostgreSQL has checksums of pages.
    """
    if not is_sqlite(session):
        return
    for only in [f"('{table_of(model).name}')" for model in models] or ["(1)"]:
        found = session.connection().exec_driver_sql(f"PRAGMA integrity_check{only}").scalars().first()
        if found != "ok":
            raise DamagedFile(found)


def _check(row: Any, *_context: object) -> None:
    for amount, copy in CHECKED[row.__tablename__].items():
        stored, negated = getattr(row, amount), getattr(row, copy)
        if (None if stored is None else -stored) != negated:
            raise DamagedBalance(row.provider_id if isinstance(row, ResourcePool) else row.user_id)


for model in (ResourcePool, UserQuota):
    event.listen(model, "load", _check)
    event.listen(model, "refresh", _check)
