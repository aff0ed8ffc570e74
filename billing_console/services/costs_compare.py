"""Cost statistics beside those of the period before: what changed, by how much, and which part of the whole it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from billing_console.clock import day_of
from billing_console.money import EXACT
from billing_console.services.costs import (
    CostFilter,
    CostRow,
    CostTotals,
    cost_rows,
    cost_totals,
    groups_of,
    period_of,
)
from billing_console.services.ledger import Ledger

TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Change:
    """A cost in yuan and that of the period of equal length before it, None where there is nothing to compare with."""

    cost: Decimal
    previous: Decimal | None

    @property
    def amount(self) -> Decimal | None:
        """Return by how many yuan the cost rose; negative where it fell."""
        return None if self.previous is None else self.cost - self.previous

    @property
    def percentage(self) -> Decimal | None:
        """Return by how many percent the cost rose, to one decimal; None where it was nothing before."""
        if not self.previous or self.amount is None:
            return None
        return EXACT.divide(self.amount * 100, self.previous).quantize(TENTH, context=EXACT)


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A group, its share of the filter's cost in percent to one decimal, and the change to the period before."""

    row: CostRow
    share: Decimal
    change: Change


@dataclass(frozen=True, slots=True)
class ComparedTotals:
    """The totals of a filter, and the days before to which the change is; None while today is not over."""

    totals: CostTotals
    change: Change
    before: CostFilter | None


def compared_rows(
    ledger: Ledger, chosen: CostFilter, group_by: Sequence[str], limit: int | None = None
) -> tuple[ComparedRow, ...]:
    """Group the statistics as `cost_rows` does, each row with its share and the change to the period before.

    A row of a day, week or month is compared with the same days of the one before: a week that has had two days, with
    two days of last week. Other rows are compared with as many days before the range. Days to come do not count, and
    what began only today is not compared.
    """
    groups = groups_of(group_by)
    period = period_of(groups)
    rows = cost_rows(ledger, chosen, groups, limit)
    total = cost_totals(ledger, chosen).total_cost
    today = day_of(ledger.clock(), ledger.timezone)
    before = days_before(chosen, today, period)
    earlier: dict[tuple[object, ...], Decimal] = {}
    if before is not None and rows:
        # Rows come newest first: nothing older than the last of them is asked for.
        if period is not None and rows[-1].stat_date is not None:
            before = replace(before, start=max(before.start, _earlier(rows[-1].stat_date, period)))
        earlier = {_key(row, row.stat_date): row.total_cost for row in cost_rows(ledger, before, groups)}
    return tuple(
        ComparedRow(row, share_of(row.total_cost, total), _change(row, chosen, period, earlier, today)) for row in rows
    )


def compared_totals(ledger: Ledger, chosen: CostFilter) -> ComparedTotals:
    """Add up a filter, and as many days before it."""
    totals = cost_totals(ledger, chosen)
    before = days_before(chosen, day_of(ledger.clock(), ledger.timezone))
    previous = None if before is None else cost_totals(ledger, before).total_cost
    return ComparedTotals(totals, Change(totals.total_cost, previous), before)


def days_before(chosen: CostFilter, today: date, period: str | None = None) -> CostFilter | None:
    """Return the days to compare with: a period earlier, or as many days before; None if no day of it is over."""
    if chosen.start >= today:
        return None
    end = min(chosen.end, today)
    if period is not None:
        return replace(chosen, start=_earlier(chosen.start, period), end=_earlier(end, period, end=True))
    days = (end - chosen.start).days + 1
    return replace(chosen, start=_days_earlier(chosen.start, days), end=_days_earlier(chosen.start, 1))


def _change(
    row: CostRow, chosen: CostFilter, period: str | None, earlier: dict[tuple[object, ...], Decimal], today: date
) -> Change:
    first = chosen.start if row.stat_date is None else max(chosen.start, row.stat_date)
    if first >= today:
        return Change(row.total_cost, None)
    start = None if period is None or row.stat_date is None else _earlier(row.stat_date, period)
    return Change(row.total_cost, earlier.get(_key(row, start), Decimal(0)))


def _key(row: CostRow, start: date | None) -> tuple[object, ...]:
    return start, row.provider_id, row.model_id, row.usage_type


def share_of(cost: Decimal, total: Decimal) -> Decimal:
    """Return which part of a total a cost is, in percent to one decimal; 0 of nothing."""
    return EXACT.divide(cost * 100, total).quantize(TENTH, context=EXACT) if total else Decimal("0.0")


def _earlier(day: date, period: str, *, end: bool = False) -> date:
    """Return the same day of the period before; as an `end`, the last day of a month is that of the month before."""
    if period != "month":
        return _days_earlier(day, 7 if period == "week" else 1)
    last = _days_earlier(day.replace(day=1), 1)
    whole = end and (day + timedelta(days=1)).day == 1
    return last if whole or last.day < day.day else last.replace(day=day.day)


def _days_earlier(day: date, days: int) -> date:
    return date.fromordinal(max(1, day.toordinal() - days))
