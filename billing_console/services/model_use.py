"""How much each model was called lately, and how often that failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import case, func, select

from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.schema import UsageRecord
from db.statements import table_of
from db.values import CallStatus

LAST = timedelta(hours=24)

MOST_CALLS = 200_000
"""So many of the newest calls are looked at: at more a day the counts are no longer the last 24 hours', and say so."""

RECORDS = table_of(UsageRecord).c


@dataclass(frozen=True, slots=True)
class ModelUse:
    """Calls of a model, how many of them failed, and what they cost in yuan; unpriced ones cost nothing yet."""

    calls: int = 0
    failures: int = 0
    cost: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class RecentUse:
    """The last 24 hours by (provider, model), those never called left out.

    `capped` means that there were more calls than were looked at, so that every number is a least one.
    """

    by_model: Mapping[tuple[str, str], ModelUse]
    capped: bool

    def of(self, provider_id: str, model_id: str) -> ModelUse:
        """Return the use of one model."""
        return self.by_model.get((provider_id, model_id), ModelUse())


def recent_use(ledger: Ledger, model: tuple[str, str] | None = None) -> RecentUse:
    """Add up the calls of the last 24 hours, of one (provider, model) or of all, settled or not.

    The newest calls are taken first, by the index on the time (and model), so that one query answers for all models.
    """
    columns = RECORDS.provider_id, RECORDS.model_id, RECORDS.status, RECORDS.cost_amount
    newest = select(*columns).where(RECORDS.created_at >= ledger.clock() - LAST)
    if model is not None:
        newest = newest.where(RECORDS.provider_id == model[0], RECORDS.model_id == model[1])
    calls = newest.order_by(RECORDS.created_at.desc()).limit(MOST_CALLS).subquery()
    failed = case((calls.c.status == CallStatus.FAILED.value, 1), else_=0)
    query = select(
        calls.c.provider_id, calls.c.model_id, func.count(), func.sum(failed), func.sum(calls.c.cost_amount)
    ).group_by(calls.c.provider_id, calls.c.model_id)
    with reading(ledger.database) as session:
        rows = session.connection().execute(query).all()
    use = {(row[0], row[1]): ModelUse(int(row[2]), int(row[3]), row[4] or Decimal(0)) for row in rows}
    return RecentUse(use, capped=sum(each.calls for each in use.values()) >= MOST_CALLS)
