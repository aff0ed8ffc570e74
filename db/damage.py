"""A balance whose stored amount no longer agrees with its negated copy is damaged, and is never handed out."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from db.schema import ResourcePool, UserQuota

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


def _check(row: Any, *_context: object) -> None:
    for amount, copy in CHECKED[row.__tablename__].items():
        stored, negated = getattr(row, amount), getattr(row, copy)
        if (None if stored is None else -stored) != negated:
            raise DamagedBalance(row.provider_id if isinstance(row, ResourcePool) else row.user_id)


for model in (ResourcePool, UserQuota):
    event.listen(model, "load", _check)
    event.listen(model, "refresh", _check)
