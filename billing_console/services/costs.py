"""Cost statistics from the daily rollup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, func, select

from billing_console.clock import day_of
from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.schema import DailyCostStat, Provider
from db.statements import table_of
from db.values import UsageType

STATS = table_of(DailyCostStat).c

GROUPS = {"day": "stat_date", "provider": "provider_id", "model": "model_id", "type": "usage_type"}
"""What cost statistics can be grouped by, and the column behind each."""


@dataclass(frozen=True, slots=True)
class CostFilter:
    """Which statistics to look at: business days from `start` to `end`, both included; None means any."""

    start: date
    end: date
    provider_id: str | None = None
    model_id: str | None = None
    usage_type: UsageType | None = None


@dataclass(frozen=True, slots=True)
class CostRow:
    """One group; costs in yuan. What is grouped away is None, and so is a sum of usage in different units."""

    stat_date: date | None
    provider_id: str | None
    provider_name: str | None
    model_id: str | None
    usage_type: UsageType | None
    total_usage: Decimal | None
    total_cost: Decimal
    call_count: int
    failed_count: int


@dataclass(frozen=True, slots=True)
class CostTotals:
    """Totals of a filter; cost in yuan."""

    total_cost: Decimal
    call_count: int
    failed_count: int


def last_days(ledger: Ledger, days: int = 30) -> CostFilter:
    """Return the filter for the last so many business days, today included (the seed's default is 30)."""
    today = day_of(ledger.clock(), ledger.timezone)
    return CostFilter(start=today - timedelta(days=days - 1), end=today)


def cost_rows(
    ledger: Ledger,
    chosen: CostFilter,
    group_by: Sequence[str] = ("day", "provider", "model", "type"),
    limit: int | None = None,
) -> tuple[CostRow, ...]:
    """Group the statistics; the newest day first, then the dearest. Raises InvalidInput for an unknown group."""
    unknown = [name for name in group_by if name not in GROUPS]
    if unknown:
        raise InvalidInput(
            _("Cannot group by “%(name)s”.") % {"name": unknown[0]},
            _("Use any of: %(names)s.") % {"names": ", ".join(GROUPS)},
            field="groupBy",
        )
    columns = [STATS[GROUPS[name]] for name in GROUPS if name in group_by]
    cost = func.sum(STATS.total_cost)
    query: Select[Any] = select(
        *columns,
        func.sum(STATS.total_usage).label("total_usage"),
        cost.label("total_cost"),
        func.sum(STATS.call_count).label("call_count"),
        func.sum(STATS.failed_count).label("failed_count"),
        func.count(STATS.usage_type.distinct()).label("types"),
        func.max(STATS.usage_type).label("one_type"),
    )
    query = _within(query, chosen).group_by(*columns)
    newest = [STATS.stat_date.desc()] if "day" in group_by else []
    query = query.having(func.count() > 0).order_by(*newest, cost.desc(), *columns)
    if limit is not None:
        query = query.limit(limit)
    with reading(ledger.database) as session:
        providers = table_of(Provider).c
        names = {one: name for one, name in session.connection().execute(select(providers.provider_id, providers.name))}
        return tuple(_view(row._mapping, names) for row in session.connection().execute(query))


def _view(row: Any, names: dict[str, str]) -> CostRow:
    provider = row.get("provider_id")
    return CostRow(
        stat_date=row.get("stat_date"),
        provider_id=provider,
        provider_name=None if provider is None else names.get(provider, provider),
        model_id=row.get("model_id"),
        usage_type=UsageType(row["usage_type"]) if "usage_type" in row else None,
        total_usage=row["total_usage"] if row["types"] == 1 else None,
        total_cost=row["total_cost"],
        call_count=int(row["call_count"]),
        failed_count=int(row["failed_count"]),
    )


def usage_types_seen(ledger: Ledger) -> frozenset[tuple[str, str, UsageType]]:
    """Return for which usage types which (provider, model) was ever called."""
    query = select(STATS.provider_id, STATS.model_id, STATS.usage_type).distinct()
    with reading(ledger.database) as session:
        return frozenset((row[0], row[1], UsageType(row[2])) for row in session.connection().execute(query))


def cost_totals(ledger: Ledger, chosen: CostFilter) -> CostTotals:
    """Add up a filter."""
    query = select(func.sum(STATS.total_cost), func.sum(STATS.call_count), func.sum(STATS.failed_count))
    with reading(ledger.database) as session:
        cost, calls, failures = session.connection().execute(_within(query, chosen)).one()
    return CostTotals(cost or Decimal(0), int(calls or 0), int(failures or 0))


def daily_totals(ledger: Ledger, chosen: CostFilter) -> tuple[tuple[date, Decimal], ...]:
    """Return the cost of every day of the range in yuan, oldest first, days without usage included."""
    query = _within(select(STATS.stat_date, func.sum(STATS.total_cost)), chosen).group_by(STATS.stat_date)
    with reading(ledger.database) as session:
        costs: dict[date, Decimal] = {day: cost for day, cost in session.connection().execute(query)}
    days = (chosen.end - chosen.start).days + 1
    every = (chosen.start + timedelta(days=number) for number in range(days))
    return tuple((day, costs.get(day, Decimal(0))) for day in every)


def _within(query: Select[Any], chosen: CostFilter) -> Select[Any]:
    query = query.where(STATS.stat_date >= chosen.start, STATS.stat_date <= chosen.end)
    wanted = {
        "provider_id": chosen.provider_id,
        "model_id": chosen.model_id,
        "usage_type": chosen.usage_type and chosen.usage_type.value,
    }
    return query.where(*(STATS[name] == value for name, value in wanted.items() if value is not None))
