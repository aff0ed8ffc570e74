"""The balances and statistics that change in the same transaction as the usage that changes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Update, bindparam, update
from sqlmodel import Session

from billing_console.clock import day_of
from billing_console.services.ledger import Ledger
from db.last import at_last
from db.prepared import Prepared, addition
from db.schema import DailyCostStat, ResourcePool, UserQuota
from db.statements import table_of
from db.types import Money, scaled
from db.values import CallStatus, UsageType


@dataclass(slots=True)
class Effect:
    """What one usage record adds to the counters; `cost` in yuan, `calls` 0 for a record that is only priced later."""

    user_id: str | None
    provider_id: str
    model_id: str
    usage_type: str
    created_at: datetime
    usage: Decimal
    cost: Decimal
    calls: int
    failures: int


def usage_amount(
    usage_type: str, input_tokens: int, output_tokens: int, total_tokens: int, quantity: Decimal
) -> Decimal:
    """Return what totalUsage counts: tokens for text, the quantity for the other types (DESIGN.md, section 4).

    A total of 0, as a gateway that inserts by itself may leave it, stands for input plus output.
    """
    if usage_type == UsageType.TEXT_GENERATION:
        return Decimal(total_tokens or input_tokens + output_tokens)
    return quantity


def effect_of(row: Mapping[str, Any]) -> Effect:
    """Return what a usage row, given by column name, adds to the counters when it is first counted."""
    return Effect(
        user_id=row["user_id"],
        provider_id=row["provider_id"],
        model_id=row["model_id"],
        usage_type=row["usage_type"],
        created_at=row["created_at"],
        usage=usage_amount(
            row["usage_type"], row["input_tokens"], row["output_tokens"], row["total_tokens"], row["quantity"]
        ),
        cost=row["cost_amount"] or Decimal(0),
        calls=1,
        failures=int(row["status"] == CallStatus.FAILED),
    )


def count(session: Session, ledger: Ledger, effects: Iterable[Effect]) -> None:
    """Add the effects to quotas, daily statistics and pools when the transaction ends, or at `run_last`.

    Each row once, in key order, the few hot pools last: that keeps concurrent writers free of deadlocks and holds the
    hot rows for the shortest time.
    """
    users: dict[str, Decimal] = defaultdict(Decimal)
    pools: dict[str, Decimal] = defaultdict(Decimal)
    days: dict[tuple[Any, ...], list[Any]] = {}
    for effect in effects:
        if effect.user_id is not None:
            users[effect.user_id] += effect.cost
        pools[effect.provider_id] += effect.cost
        key = (day_of(effect.created_at, ledger.timezone), effect.provider_id, effect.model_id, effect.usage_type)
        sums = days.get(key)
        if sums is None:
            sums = days[key] = [Decimal(0), Decimal(0), 0, 0]
        sums[0] += effect.usage
        sums[1] += effect.cost
        sums[2] += effect.calls
        sums[3] += effect.failures
    _count_users(session, ledger.clock(), users)
    _count_days(session, days)
    _count_pools(session, pools)


def _count_users(session: Session, now: datetime, users: dict[str, Decimal]) -> None:
    if users:
        rows = [
            {"user_id": user, "used_amount": cost, "created_at": now, "updated_at": now}
            for user, cost in sorted(users.items())
        ]
        at_last(session, addition(session, UserQuota, rows, ["user_id"], ["used_amount"], ["updated_at"]))


def _count_days(session: Session, days: dict[tuple[Any, ...], list[Any]]) -> None:
    if days:
        keys = ["stat_date", "provider_id", "model_id", "usage_type"]
        sums = ["total_usage", "total_cost", "call_count", "failed_count"]
        rows = [dict(zip(keys + sums, [*key, *values], strict=True)) for key, values in sorted(days.items())]
        at_last(session, addition(session, DailyCostStat, rows, keys, sums))


def _count_pools(session: Session, pools: dict[str, Decimal]) -> None:
    spelled = _ADD_TO_POOL.spelled(session.connection())
    costs = [{"pool": provider, "cost": scaled(cost, Money.scale)} for provider, cost in sorted(pools.items()) if cost]
    at_last(session, *((spelled, values) for values in costs))


def _add_to_pool() -> Update:
    table = table_of(ResourcePool)
    more = table.c.used_amount + bindparam("cost", type_=Money)
    return update(table).where(table.c.provider_id == bindparam("pool")).values(used_amount=more)


_ADD_TO_POOL = Prepared(_add_to_pool)
