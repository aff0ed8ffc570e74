"""The balances and statistics that change in the same transaction as the usage that changes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Update, bindparam, update
from sqlmodel import Session

from billing_console.clock import day_of
from billing_console.services.ledger import Ledger
from db.last import at_last
from db.prepared import Columns, Prepared, addition
from db.schema import DailyCostStat, ResourcePool, UserQuota
from db.statements import table_of
from db.types import Money, scaled
from db.values import CallStatus, UsageType

ZERO = Decimal(0)
TEXT, FAILED = UsageType.TEXT_GENERATION.value, CallStatus.FAILED.value


def usage_amount(
    usage_type: str, input_tokens: int, output_tokens: int, total_tokens: int, quantity: Decimal
) -> Decimal:
    """Return what totalUsage counts: tokens for text, the quantity for the other types (DESIGN.md, section 4).

    A total of 0, as a gateway that inserts by itself may leave it, stands for input plus output.
    """
    if usage_type == TEXT:
        return Decimal(total_tokens or input_tokens + output_tokens)
    return quantity


def count(session: Session, ledger: Ledger, rows: Columns, *, only_cost: bool = False) -> None:
    """Add usage rows to quotas, statistics and pools when the transaction ends, or at `run_last`.

    With `only_cost` they were counted before they had a price. Each row of a counter once, in key order, the few hot
    pools last: that keeps concurrent writers free of deadlocks and holds the hot rows for the shortest time.
    """
    users: dict[str, Decimal] = defaultdict(Decimal)
    days: dict[tuple[Any, ...], list[Any]] = {}
    timezone = ledger.timezone
    counted = zip(*(rows[name] for name in _COUNTED), _amounts(rows), strict=True)
    for user, cost, created_at, provider, model, usage_type, status, amount in counted:
        cost = cost or ZERO
        if user is not None:
            users[user] += cost
        key = day_of(created_at, timezone), provider, model, usage_type
        sums = days.get(key)
        if sums is None:
            sums = days[key] = [ZERO, ZERO, 0, 0]
        sums[1] += cost
        if not only_cost:
            sums[0] += amount
            sums[2] += 1
            sums[3] += status == FAILED
    pools: dict[str, Decimal] = defaultdict(Decimal)
    for (_day, provider_id, _model_id, _type), (_usage, cost, *_calls) in days.items():
        pools[provider_id] += cost
    _count_users(session, ledger.clock(), users)
    _count_days(session, days)
    _count_pools(session, pools)


_COUNTED = ("user_id", "cost_amount", "created_at", "provider_id", "model_id", "usage_type", "status")


def _amounts(rows: Columns) -> Iterable[Decimal]:
    measured = ("usage_type", "input_tokens", "output_tokens", "total_tokens", "quantity")
    return map(usage_amount, *(rows[name] for name in measured))


def _count_users(session: Session, now: datetime, users: dict[str, Decimal]) -> None:
    if users:
        ids, costs = zip(*sorted(users.items()), strict=True)
        times = [now] * len(ids)
        rows = {"user_id": ids, "used_amount": costs, "created_at": times, "updated_at": times}
        at_last(session, addition(session, UserQuota, rows, ["user_id"], ["used_amount"], ["updated_at"]))


def _count_days(session: Session, days: dict[tuple[Any, ...], list[Any]]) -> None:
    if days:
        keys = ["stat_date", "provider_id", "model_id", "usage_type"]
        sums = ["total_usage", "total_cost", "call_count", "failed_count"]
        columns = zip(*((*key, *values) for key, values in sorted(days.items())), strict=True)
        rows = dict(zip(keys + sums, columns, strict=True))
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
