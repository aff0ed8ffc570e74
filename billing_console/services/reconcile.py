"""Reconcile: recompute every balance and statistic from the facts, in one snapshot, and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, case, delete, func, select, update
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.money import plain
from billing_console.services.ledger import Ledger
from billing_console.services.session import in_transaction, reading
from db.schema import (
    BalanceAlert,
    DailyCostStat,
    QuotaGrant,
    Recharge,
    ResourcePool,
    UsageOutbox,
    UsageRecord,
    UserQuota,
)
from db.statements import add_to, table_of
from db.values import AlertType, CallStatus, UsageType


@dataclass(frozen=True, slots=True)
class Finding:
    """A stored value that the facts contradict: which, where, both values, and whether it was mended."""

    what: str
    where: str
    stored: str
    computed: str
    repaired: bool


Mend = Callable[[Session], None]
Difference = tuple[Finding, Mend]


def reconcile(ledger: Ledger, repair: bool = False) -> tuple[Finding, ...]:
    """Compare pools, quotas, daily statistics and suspensions with the facts; with `repair`, set them right.

    Repair runs in one transaction on one snapshot: a balance that changes meanwhile makes it start again.
    """
    if not repair:
        with reading(ledger.database) as session:
            return tuple(finding for finding, _mend in _differences(session, ledger, repaired=False))

    def work(session: Session) -> tuple[Finding, ...]:
        differences = list(_differences(session, ledger, repaired=True))
        for _finding, mend in differences:
            mend(session)
        return tuple(finding for finding, _mend in differences)

    return in_transaction(ledger.database, work, one_snapshot=True)


def _differences(session: Session, ledger: Ledger, *, repaired: bool) -> Iterator[Difference]:
    for what, where, stored, computed, mend in (
        *_pools(session),
        *_quotas(session, ledger),
        *_stats(session, ledger),
        *_alerts(session),
    ):
        if stored != computed:
            yield Finding(what, where, _spell(stored), _spell(computed), repaired), mend


def _spell(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_spell(part) for part in value)
    return plain(value) if isinstance(value, Decimal) else str(value)


def _sums(session: Session, query: Select[Any]) -> dict[str, Decimal]:
    return {key: total for key, total in session.connection().execute(query) if total is not None}


def _counted() -> Select[Any]:
    """Restrict to the records that the counters must hold: all but those waiting in the outbox."""
    records, outbox = table_of(UsageRecord), table_of(UsageOutbox)
    return select().where(~select(outbox.c.usage_id).where(outbox.c.usage_id == records.c.id).exists())


def _pools(session: Session) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    records, recharges, pools = (table_of(model) for model in (UsageRecord, Recharge, ResourcePool))
    paid = _sums(
        session, select(recharges.c.provider_id, func.sum(recharges.c.amount)).group_by(recharges.c.provider_id)
    )
    spent = _sums(
        session,
        _counted().add_columns(records.c.provider_id, func.sum(records.c.cost_amount)).group_by(records.c.provider_id),
    )
    stored = {row.provider_id: row for row in session.connection().execute(select(pools))}
    for provider in sorted(stored.keys() | paid.keys() | spent.keys()):
        right = {
            column: of.get(provider, Decimal(0)) for column, of in (("total_balance", paid), ("used_amount", spent))
        }
        mend = _put(ResourcePool, {"provider_id": provider}, right)
        for column, computed in right.items():
            yield f"resource_pools.{column}", provider, getattr(stored.get(provider), column, None), computed, mend


def _quotas(session: Session, ledger: Ledger) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    records, grants, quotas = (table_of(model) for model in (UsageRecord, QuotaGrant, UserQuota))
    granted = _sums(session, select(grants.c.user_id, func.sum(grants.c.amount)).group_by(grants.c.user_id))
    spent = _sums(
        session, _counted().add_columns(records.c.user_id, func.sum(records.c.cost_amount)).group_by(records.c.user_id)
    )
    stored = {row.user_id: row for row in session.connection().execute(select(quotas))}
    now = ledger.clock()
    for user in sorted(stored.keys() | (spent.keys() - {None})):
        right = {"granted_amount": granted.get(user), "used_amount": spent.get(user, Decimal(0))}
        mend = _put(UserQuota, {"user_id": user}, right, {"created_at": now, "updated_at": now})
        for column, computed in right.items():
            yield f"user_quotas.{column}", user, getattr(stored.get(user), column, None), computed, mend


_STAT_KEYS = ["stat_date", "provider_id", "model_id", "usage_type"]
_STAT_SUMS = ["total_usage", "total_cost", "call_count", "failed_count"]
_NOTHING = (Decimal(0), Decimal(0), 0, 0)


def _stats(session: Session, ledger: Ledger) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    """Recompute the statistics a business day at a time: its bounds are instants, which every engine can compare."""
    stats = table_of(DailyCostStat)
    rows = session.connection().execute(select(stats)).all()
    stored = {
        tuple(getattr(row, key) for key in _STAT_KEYS): tuple(getattr(row, name) for name in _STAT_SUMS) for row in rows
    }
    computed = {key: sums for day in _days(session, ledger) for key, sums in _stats_of(session, ledger, day)}
    for key in sorted(stored.keys() | computed.keys()):
        right = computed.get(key, _NOTHING)
        yield "daily_cost_stats", " ".join(map(str, key)), stored.get(key, _NOTHING), right, _set_stat(key, right)


def _days(session: Session, ledger: Ledger) -> Iterator[date]:
    """Find the business days that have records, each by one seek, however far apart they are."""
    created_at = table_of(UsageRecord).c.created_at
    found = session.connection().execute(select(func.min(created_at))).scalar_one()
    while found is not None:
        day = day_of(found, ledger.timezone)
        yield day
        after = created_at >= start_of(day + timedelta(days=1), ledger.timezone)
        found = session.connection().execute(select(func.min(created_at)).where(after)).scalar_one()


def _stats_of(session: Session, ledger: Ledger, day: date) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    column = table_of(UsageRecord).c
    tokens = case((column.total_tokens == 0, column.input_tokens + column.output_tokens), else_=column.total_tokens)
    failed = case((column.status == CallStatus.FAILED.value, 1), else_=0)
    keys = [column.provider_id, column.model_id, column.usage_type]
    query = (
        _counted()
        .add_columns(
            *keys,
            func.sum(tokens),
            func.sum(column.quantity),
            func.sum(column.cost_amount),
            func.count(),
            func.sum(failed),
        )
        .where(column.created_at >= start_of(day, ledger.timezone))
        .where(column.created_at < start_of(day + timedelta(days=1), ledger.timezone))
        .group_by(*keys)
    )
    for provider, model, kind, tokens_used, quantity, cost, calls, failures in session.connection().execute(query):
        usage = Decimal(int(tokens_used)) if kind == UsageType.TEXT_GENERATION else quantity
        yield (day, provider, model, kind), (usage, cost or Decimal(0), int(calls), int(failures))


def _alerts(session: Session) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    """A pool is suspended exactly while its open alert says that nothing is left: one check writes both."""
    pools, alerts = table_of(ResourcePool), table_of(BalanceAlert)
    empty = select(alerts.c.provider_id, alerts.c.updated_at).where(
        alerts.c.resolved_at.is_(None), alerts.c.alert_type == AlertType.INSUFFICIENT_BALANCE.value
    )
    since = {row.provider_id: row.updated_at for row in session.connection().execute(empty)}
    for row in session.connection().execute(select(pools.c.provider_id, pools.c.suspended_at)).all():
        mend = _set(ResourcePool, {"provider_id": row.provider_id}, {"suspended_at": since.get(row.provider_id)})
        yield (
            "resource_pools.suspended_at",
            row.provider_id,
            row.suspended_at is not None,
            row.provider_id in since,
            mend,
        )


def _set(model: Any, where: dict[str, Any], values: dict[str, Any]) -> Mend:
    table = table_of(model)
    statement = update(table).where(*(table.c[name] == value for name, value in where.items())).values(values)

    def mend(session: Session) -> None:
        session.connection().execute(statement)

    return mend


def _put(model: Any, key: dict[str, Any], values: dict[str, Any], if_new: dict[str, Any] | None = None) -> Mend:
    """Set values in a row, which is made, with those `if_new`, where it is missing."""

    def mend(session: Session) -> None:
        session.execute(add_to(session, model, list(key), (), list(values)), key | values | (if_new or {}))

    return mend


def _set_stat(key: tuple[Any, ...], right: tuple[Any, ...]) -> Mend:
    where = dict(zip(_STAT_KEYS, key, strict=True))
    if right != _NOTHING:
        return _put(DailyCostStat, where, dict(zip(_STAT_SUMS, right, strict=True)))

    def mend(session: Session) -> None:
        stats = table_of(DailyCostStat)
        session.connection().execute(delete(stats).where(*(stats.c[name] == value for name, value in where.items())))

    return mend
