"""Cost statistics from the daily rollup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Date, Select, case, cast, func, literal, literal_column, null, select
from sqlmodel import Session

from billing_console.clock import day_of
from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import EXACT, to_nano
from billing_console.services.ledger import Ledger
from billing_console.services.paging import Part
from billing_console.services.session import reading
from db.schema import DailyCostStat, Provider
from db.statements import is_sqlite, table_of
from db.values import UsageType

STATS = table_of(DailyCostStat).c

PERIODS = ("day", "week", "month")
"""The periods that costs can be grouped by, one at a time; a week begins on Monday (ISO 8601)."""

ALL_GROUPS = ("day", "provider", "model", "type")
"""What statistics are kept by."""

GROUPS = (*PERIODS, "provider", "model", "type")
"""What cost statistics can be grouped by."""

ZERO, MILLION = Decimal(0), Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class CostFilter:
    """Which statistics to look at: business days from `start` to `end`, both included; None means any."""

    start: date
    end: date
    provider_id: str | None = None
    model_id: str | None = None
    usage_type: UsageType | None = None


class UnitCosts:
    """What sums of cost statistics come to by unit; `token_usage` and `token_cost` are of text alone."""

    __slots__ = ()

    total_cost: Decimal
    call_count: int
    token_usage: Decimal
    token_cost: Decimal

    @property
    def cost_per_call(self) -> Decimal | None:
        """Return the average cost of a call in yuan, failed ones included; None without calls."""
        return _unit_cost(self.total_cost, Decimal(self.call_count))

    @property
    def cost_per_million_tokens(self) -> Decimal | None:
        """Return what a million tokens of text cost on average in yuan; None without tokens."""
        return _unit_cost(self.token_cost, self.token_usage / MILLION)


@dataclass(slots=True)
class CostRow(UnitCosts):
    """One group; costs in yuan. What is grouped away is None, and so is a sum of usage in different units.

    `stat_date` is the first day of the row's day, week or month. Not frozen, which takes thousands of them long.
    """

    stat_date: date | None
    provider_id: str | None
    provider_name: str | None
    model_id: str | None
    usage_type: UsageType | None
    total_usage: Decimal | None
    total_cost: Decimal
    call_count: int
    failed_count: int
    token_usage: Decimal
    token_cost: Decimal


@dataclass(frozen=True, slots=True)
class CostTotals(UnitCosts):
    """Totals of a filter; cost in yuan."""

    total_cost: Decimal
    call_count: int
    failed_count: int
    token_usage: Decimal
    token_cost: Decimal


def _unit_cost(cost: Decimal, units: Decimal) -> Decimal | None:
    return to_nano(EXACT.divide(cost, units)) if units else None


def last_days(ledger: Ledger, days: int = 30) -> CostFilter:
    """Return the filter for the last so many business days, today included (the seed's default is 30)."""
    today = day_of(ledger.clock(), ledger.timezone)
    return CostFilter(start=today - timedelta(days=days - 1), end=today)


def cost_rows(
    ledger: Ledger,
    chosen: CostFilter,
    group_by: Sequence[str] = ALL_GROUPS,
    limit: int | None = None,
) -> tuple[CostRow, ...]:
    """Group the statistics; the newest period first, then the dearest.

    Raises InvalidInput for an unknown group, and for more than one period.
    """
    with reading(ledger.database) as session:
        return _read(session, _grouped(session, chosen, group_by).limit(limit))


def cost_page(ledger: Ledger, chosen: CostFilter, *, limit: int, offset: int = 0) -> Part[CostRow]:
    """Return the statistics by day, provider, model and type after the first `offset`, in the order of `cost_rows`."""
    with reading(ledger.database) as session:
        # The groups are the key of the statistics: each is one row of them.
        counting = within(select(func.count()), chosen)
        total = int(session.connection().execute(counting).scalar_one())
        rows = _read(session, _grouped(session, chosen, ALL_GROUPS).limit(limit).offset(offset))
        return Part(rows, total)


def _grouped(session: Session, chosen: CostFilter, group_by: Sequence[str]) -> Select[Any]:
    groups = groups_of(group_by)
    columns = [_group(session, name) for name in groups]
    by = dict(zip(groups, columns, strict=True))
    # The key of the statistics: every row is a group, and to look for others takes a third of the time.
    are_rows = groups == ALL_GROUPS
    total = (lambda column: column) if are_rows else func.sum
    text = STATS.usage_type == UsageType.TEXT_GENERATION.value
    cost = total(STATS.total_cost)
    query: Select[Any] = select(
        by.get(period_of(groups) or "", null()),
        *(by.get(name, null()) for name in ("provider", "model", "type")),
        total(STATS.total_usage),
        cost,
        total(STATS.call_count),
        total(STATS.failed_count),
        literal(1) if are_rows else func.count(STATS.usage_type.distinct()),
        # Of a type by itself, all is of text or nothing is: `_view` knows.
        *(() if "type" in groups else (total(case((text, STATS.total_usage))), total(case((text, STATS.total_cost))))),
    )
    query = within(query, chosen)
    if not are_rows:
        query = query.group_by(*columns).having(func.count() > 0)
    newest = [columns[0].desc()] if period_of(groups) else []
    return query.order_by(*newest, cost.desc(), *columns)


def _read(session: Session, query: Select[Any]) -> tuple[CostRow, ...]:
    providers = table_of(Provider).c
    names = {one: name for one, name in session.connection().execute(select(providers.provider_id, providers.name))}
    return tuple(_view(names, *row) for row in session.connection().execute(query).all())


def groups_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return what to group by, each once and in order; raise InvalidInput for what cannot be."""
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise InvalidInput(
            _("Cannot group by “%(name)s”.") % {"name": unknown[0]},
            _("Use any of: %(names)s.") % {"names": ", ".join(GROUPS)},
            field="groupBy",
        )
    groups = tuple(name for name in GROUPS if name in names)
    if len(set(groups) & set(PERIODS)) > 1:
        raise InvalidInput(
            _("Cannot group by more than one period."),
            _("Use one of: %(names)s.") % {"names": ", ".join(PERIODS)},
            field="groupBy",
        )
    return groups


def period_of(groups: Sequence[str]) -> str | None:
    """Return the period among what rows are grouped by."""
    return next((name for name in groups if name in PERIODS), None)


def start_of_period(day: date, period: str) -> date:
    """Return the first day of the day, week or month that a day is in."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def end_of_period(day: date, period: str) -> date:
    """Return the last day of the day, week or month that a day is in."""
    longest = {"day": 1, "week": 7, "month": 31}[period]
    return start_of_period(start_of_period(day, period) + timedelta(days=longest), period) - timedelta(days=1)


def _group(session: Session, name: str) -> Any:
    """Return the column to group by; what it is made with is spelled out, or GROUP BY would not know it again."""
    if name not in PERIODS:
        return STATS["usage_type" if name == "type" else f"{name}_id"]
    if name == "day":
        return STATS.stat_date
    if not is_sqlite(session):
        return cast(func.date_trunc(literal_column(f"'{name}'"), STATS.stat_date), Date).label("stat_date")
    steps = ("'weekday 0'", "'-6 days'") if name == "week" else ("'start of month'",)
    return func.date(STATS.stat_date, *map(literal_column, steps), type_=Date).label("stat_date")


def _view(
    names: dict[str, str],
    period: date | None,
    provider: str | None,
    model: str | None,
    usage_type: str | None,
    usage: Decimal,
    cost: Decimal,
    calls: int,
    failures: int,
    types: int,
    tokens: Decimal | None = None,
    token_cost: Decimal | None = None,
) -> CostRow:
    if usage_type == UsageType.TEXT_GENERATION:
        tokens, token_cost = usage, cost
    return CostRow(
        period,
        provider,
        None if provider is None else names.get(provider, provider),
        model,
        None if usage_type is None else UsageType(usage_type),
        usage if types == 1 else None,
        cost,
        int(calls),
        int(failures),
        tokens or ZERO,
        token_cost or ZERO,
    )


def usage_types_seen(ledger: Ledger) -> frozenset[tuple[str, str, UsageType]]:
    """Return for which usage types which (provider, model) was ever called."""
    query = select(STATS.provider_id, STATS.model_id, STATS.usage_type).distinct()
    with reading(ledger.database) as session:
        return frozenset((row[0], row[1], UsageType(row[2])) for row in session.connection().execute(query))


def cost_totals(ledger: Ledger, chosen: CostFilter) -> CostTotals:
    """Add up a filter."""
    text = STATS.usage_type == UsageType.TEXT_GENERATION.value
    sums = [func.sum(column) for column in (STATS.total_cost, STATS.call_count, STATS.failed_count)]
    of_text = [func.sum(case((text, column))) for column in (STATS.total_usage, STATS.total_cost)]
    with reading(ledger.database) as session:
        row = session.connection().execute(within(select(*sums, *of_text), chosen)).one()
    cost, calls, failures, tokens, token_cost = row
    return CostTotals(cost or ZERO, int(calls or 0), int(failures or 0), tokens or ZERO, token_cost or ZERO)


def within(query: Select[Any], chosen: CostFilter) -> Select[Any]:
    """Keep of a query on the daily statistics what a filter lets through."""
    query = query.where(STATS.stat_date >= chosen.start, STATS.stat_date <= chosen.end)
    wanted = {
        "provider_id": chosen.provider_id,
        "model_id": chosen.model_id,
        "usage_type": chosen.usage_type and chosen.usage_type.value,
    }
    return query.where(*(STATS[name] == value for name, value in wanted.items() if value is not None))
