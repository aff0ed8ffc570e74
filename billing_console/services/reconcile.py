"""Reconcile: recompute every balance and statistic from the facts, in one snapshot, and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, select, update
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.money import plain
from billing_console.services.actions import Action
from billing_console.services.alerts import acknowledgements
from billing_console.services.archived import archived_pool_costs, archived_stats, archived_user_costs
from billing_console.services.audit import Trail
from billing_console.services.burn import history_of
from billing_console.services.changes import change
from billing_console.services.check import ALERT_FOR, apply_check
from billing_console.services.ledger import Ledger
from billing_console.services.pools import lasting, lock_pool, thresholds_of, unsettled
from billing_console.services.session import reading
from billing_console.services.thresholds import status_of
from db.damage import CHECKED, require_sound
from db.last import run_now
from db.partitions import know_requests, unknown_requests
from db.prepared import addition, by_column
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
from db.statements import is_sqlite, table_of
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


Costs = dict[str, dict[date, Decimal]]
"""What each provider cost on each business day, by the facts; filled while the statistics are compared."""

PARTS = 5
"""Pools, quotas, statistics, alerts, requests."""

Progress = Callable[[int, int], None]
"""Told how many parts have been compared, business days each being one, and how many there are so far as is known."""


def reconcile(ledger: Ledger, repair: bool = False, progress: Progress | None = None) -> tuple[Finding, ...]:
    """Compare pools, quotas, daily statistics, alerts and suspensions with the facts; with `repair`, set them right.

    An SQLite file whose pages contradict each other raises Unavailable: nothing read from it proves anything.
    Repair runs in one transaction on one snapshot: a balance that changes meanwhile makes it start again. What it
    mends is in the audit log.
    """
    progress = progress or _nobody
    if not repair:
        with reading(ledger.database) as session:
            return compare(session, ledger, progress)

    def work(session: Session, trail: Trail) -> tuple[Finding, ...]:
        differences = list(_differences(session, ledger, progress, repaired=True))
        acknowledged = acknowledgements(session)
        for _finding, mend in differences:
            mend(session)
        for alert in acknowledged.keys() - acknowledgements(session).keys():
            trail.state("acknowledgements", alert, None)
        if differences:
            findings = [finding for finding, _mend in differences]
            trail.note(_noted(findings, "stored"), _noted(findings, "computed"))
        return tuple(finding for finding, _mend in differences)

    return change(ledger, Action.REPAIR, "", work, one_snapshot=True)


def compare(session: Session, ledger: Ledger, progress: Progress | None = None) -> tuple[Finding, ...]:
    """Return what reconcile finds in the session's snapshot, or in what its transaction has written so far."""
    return tuple(finding for finding, _mend in _differences(session, ledger, progress or _nobody, repaired=False))


def _nobody(done: int, whole: int) -> None:
    """Tell nobody."""


def _noted(findings: list[Finding], side: str) -> dict[str, str]:
    return {f"{finding.what} {finding.where}": getattr(finding, side) for finding in findings}


def _differences(session: Session, ledger: Ledger, progress: Progress, *, repaired: bool) -> Iterator[Difference]:
    require_sound(session)
    days = _days(session, ledger)
    whole = len(days) + PARTS
    amounts = _pool_amounts(session)
    costs: Costs = {}
    parts = (
        (0, _pools(session, amounts)),
        (1, _quotas(session, ledger)),
        (2, _stats(session, ledger, days, costs, lambda done: progress(2 + done, whole))),
        (3 + len(days), _alerts(session, ledger, amounts, costs)),
        (4 + len(days), _requests(session)),
    )
    for done, part in parts:
        progress(done, whole)
        for what, where, stored, computed, mend in part:
            if stored != computed:
                yield Finding(what, where, _spell(stored), _spell(computed), repaired), mend
    progress(whole, whole)


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


def _pool_amounts(session: Session) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Return what was paid into each pool and what was used of it, by the facts."""
    records, recharges = table_of(UsageRecord), table_of(Recharge)
    paid = _sums(
        session, select(recharges.c.provider_id, func.sum(recharges.c.amount)).group_by(recharges.c.provider_id)
    )
    spent = _sums(
        session,
        _counted().add_columns(records.c.provider_id, func.sum(records.c.cost_amount)).group_by(records.c.provider_id),
    )
    for provider, cost in archived_pool_costs(session).items():
        spent[provider] = spent.get(provider, Decimal(0)) + cost
    return paid, spent


def _pools(
    session: Session, amounts: tuple[dict[str, Decimal], dict[str, Decimal]]
) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    paid, spent = amounts
    stored = {row.provider_id: row for row in session.connection().execute(select(table_of(ResourcePool)))}
    for provider in sorted(stored.keys() | paid.keys() | spent.keys()):
        right = {
            column: of.get(provider, Decimal(0)) for column, of in (("total_balance", paid), ("used_amount", spent))
        }
        mend = _put(ResourcePool, {"provider_id": provider}, right)
        row = stored.get(provider)
        for column, computed in right.items():
            yield f"resource_pools.{column}", provider, getattr(row, column, None), computed, mend
            yield from _copy("resource_pools", provider, row, column, mend)


def _quotas(session: Session, ledger: Ledger) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    records, grants, quotas = (table_of(model) for model in (UsageRecord, QuotaGrant, UserQuota))
    granted = _sums(session, select(grants.c.user_id, func.sum(grants.c.amount)).group_by(grants.c.user_id))
    spent = _sums(
        session, _counted().add_columns(records.c.user_id, func.sum(records.c.cost_amount)).group_by(records.c.user_id)
    )
    for user, cost in archived_user_costs(session).items():
        spent[user] = spent.get(user, Decimal(0)) + cost
    stored = {row.user_id: row for row in session.connection().execute(select(quotas))}
    now = ledger.clock()
    for user in sorted(stored.keys() | (spent.keys() - {None})):
        right = {"granted_amount": granted.get(user), "used_amount": spent.get(user, Decimal(0))}
        mend = _put(UserQuota, {"user_id": user}, right, {"created_at": now, "updated_at": now})
        row = stored.get(user)
        for column, computed in right.items():
            yield f"user_quotas.{column}", user, getattr(row, column, None), computed, mend
            yield from _copy("user_quotas", user, row, column, mend)


def _copy(table: str, where: str, row: Any, column: str, mend: Mend) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    """Compare the negated copy of an amount, which its trigger writes anew when the amount is mended."""
    if row is not None:
        amount, check = getattr(row, column), CHECKED[table][column]
        yield f"{table}.{check}", where, getattr(row, check), None if amount is None else -amount, mend


def _requests(session: Session) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    """Count the records whose request may come again, where a table of its own keeps it from that (PostgreSQL)."""
    if not is_sqlite(session):
        unknown = unknown_requests(session)
        yield "usage_request_ids", "usage_records", unknown, 0, know_requests


_STAT_KEYS = ["stat_date", "provider_id", "model_id", "usage_type"]
_STAT_SUMS = ["total_usage", "total_cost", "call_count", "failed_count"]
_NOTHING = (Decimal(0), Decimal(0), 0, 0)


def _stats(
    session: Session, ledger: Ledger, days: list[date], costs: Costs, counted: Callable[[int], None]
) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    """Recompute the statistics a business day at a time: its bounds are instants, which every engine can compare."""
    stats = table_of(DailyCostStat)
    rows = session.connection().execute(select(stats)).all()
    stored = {
        tuple(getattr(row, key) for key in _STAT_KEYS): tuple(getattr(row, name) for name in _STAT_SUMS) for row in rows
    }
    computed: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for number, day in enumerate(days, 1):
        computed.update(stats_of(session, ledger, day))
        counted(number)
    for key, sums in archived_stats(session).items():
        computed[key] = tuple(one + other for one, other in zip(computed.get(key, _NOTHING), sums, strict=True))
    for (day, provider, _model, _kind), (_usage, cost, *_counts) in computed.items():
        by_day = costs.setdefault(provider, {})
        by_day[day] = by_day.get(day, Decimal(0)) + cost
    for key in sorted(stored.keys() | computed.keys()):
        right = computed.get(key, _NOTHING)
        yield "daily_cost_stats", " ".join(map(str, key)), stored.get(key, _NOTHING), right, _set_stat(key, right)


def _days(session: Session, ledger: Ledger) -> list[date]:
    """Find the business days that have records, each by one seek, however far apart they are."""
    days = []
    created_at = table_of(UsageRecord).c.created_at
    found = session.connection().execute(select(func.min(created_at))).scalar_one()
    while found is not None:
        day = day_of(found, ledger.timezone)
        days.append(day)
        after = created_at >= start_of(day + timedelta(days=1), ledger.timezone)
        found = session.connection().execute(select(func.min(created_at)).where(after)).scalar_one()
    return days


def stats_of(
    session: Session, ledger: Ledger, day: date, *conditions: ColumnElement[bool]
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Return the statistics of a business day by their keys, of the records that are counted and meet conditions."""
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
        .where(column.created_at < start_of(day + timedelta(days=1), ledger.timezone), *conditions)
        .group_by(*keys)
    )
    for provider, model, kind, tokens_used, quantity, cost, calls, failures in session.connection().execute(query):
        usage = Decimal(int(tokens_used)) if kind == UsageType.TEXT_GENERATION else quantity
        yield (day, provider, model, kind), (usage, cost or Decimal(0), int(calls), int(failures))


_GRAVER = {None: 0, AlertType.LOW_BALANCE.value: 1, AlertType.INSUFFICIENT_BALANCE.value: 2}


def _alerts(
    session: Session, ledger: Ledger, amounts: tuple[dict[str, Decimal], dict[str, Decimal]], costs: Costs
) -> Iterator[tuple[str, str, Any, Any, Mend]]:
    """Compare each pool's open alert and suspension with the rule (DESIGN.md, section 5), and with each other.

    Usage since the last check may have made a balance worse than its alert, which the next check will say; only what
    no usage can explain is wrong: an alert that is graver than the balance, or a suspension without its alert. The
    days that a balance lasts are those of the last check: they change with the clock alone.
    """
    pools, alerts = table_of(ResourcePool), table_of(BalanceAlert)
    still_open = select(alerts).where(alerts.c.resolved_at.is_(None))
    paid, spent = amounts
    raised = {row.provider_id: row for row in session.connection().execute(still_open)}
    waiting = unsettled(session)
    for row in session.connection().execute(select(pools).order_by(pools.c.provider_id)).all():
        alert = raised.get(row.provider_id)
        found = None if alert is None else alert.alert_type
        total = paid.get(row.provider_id, Decimal(0))
        available = total - spent.get(row.provider_id, Decimal(0)) - waiting.get(row.provider_id, Decimal(0))
        lasts = _lasting(ledger, row, costs.get(row.provider_id, {}), available)
        status = None if row.opened_at is None else status_of(available, total, thresholds_of(ledger, row), lasts)
        by_rule = ALERT_FOR.get(status) if status else None
        wanted = None if by_rule is None else by_rule[0].value
        again = _check_again(ledger, row.provider_id)
        if _GRAVER[found] > _GRAVER[wanted]:
            yield "balance_alerts.alert_type", row.provider_id, found, wanted, again
        if alert is not None:
            level = next(level.value for kind, level in ALERT_FOR.values() if kind.value == alert.alert_type)
            yield "balance_alerts.alert_level", row.provider_id, alert.alert_level, level, again
        since = alert.updated_at if alert is not None and found == AlertType.INSUFFICIENT_BALANCE.value else None
        mend = _suspend(row.provider_id, since)
        yield "resource_pools.suspended_at", row.provider_id, row.suspended_at is not None, since is not None, mend


def _lasting(ledger: Ledger, pool: Any, costs: dict[date, Decimal], available: Decimal) -> timedelta | None:
    if pool.low_days is None:
        return None
    then = pool.last_check_at or ledger.clock()
    return lasting(history_of(costs, day_of(then, ledger.timezone)), available, then, ledger.timezone)


def _suspend(provider_id: str, since: datetime | None) -> Mend:
    pools = table_of(ResourcePool)
    statement = update(pools).where(pools.c.provider_id == provider_id).values(suspended_at=since)

    def mend(session: Session) -> None:
        session.connection().execute(statement)

    return mend


def _check_again(ledger: Ledger, provider_id: str) -> Mend:
    def mend(session: Session) -> None:
        session.expire_all()
        apply_check(session, ledger, lock_pool(session, provider_id), Trail(provider_id))

    return mend


def _put(model: Any, key: dict[str, Any], values: dict[str, Any], if_new: dict[str, Any] | None = None) -> Mend:
    """Set values in a row, which is made, with those `if_new`, where it is missing."""

    def mend(session: Session) -> None:
        row = key | values | (if_new or {})
        run_now(session, addition(session, model, by_column([row]), list(key), (), list(values)))

    return mend


def _set_stat(key: tuple[Any, ...], right: tuple[Any, ...]) -> Mend:
    where = dict(zip(_STAT_KEYS, key, strict=True))
    if right != _NOTHING:
        return _put(DailyCostStat, where, dict(zip(_STAT_SUMS, right, strict=True)))

    def mend(session: Session) -> None:
        stats = table_of(DailyCostStat)
        session.connection().execute(delete(stats).where(*(stats.c[name] == value for name, value in where.items())))

    return mend
