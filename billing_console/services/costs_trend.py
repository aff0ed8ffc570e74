"""The trend of costs: the dearest groups by day, week or month, and the others in one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from billing_console.services.costs import PERIODS, CostFilter, CostRow, cost_rows, end_of_period, start_of_period
from billing_console.services.ledger import Ledger

MOST_GROUPS = 4
"""Groups told apart in a trend; the costs of the others are added."""

MOST_STARTS = 60
"""Points of a trend: as many as an 80 column terminal shows apart."""


@dataclass(frozen=True, slots=True)
class TrendGroup:
    """The costs of one group in yuan, one for each period; no name for the sum of the other groups."""

    name: str | None
    costs: tuple[Decimal, ...]

    @property
    def total(self) -> Decimal:
        """Return the cost of all periods together."""
        return sum(self.costs, Decimal(0))


@dataclass(frozen=True, slots=True)
class Trend:
    """Costs by period, oldest first: the first day of each, and the groups, the dearest first."""

    period: str
    starts: tuple[date, ...]
    groups: tuple[TrendGroup, ...]

    @property
    def totals(self) -> tuple[Decimal, ...]:
        """Return the cost of each period in yuan."""
        return tuple(sum(costs, Decimal(0)) for costs in zip(*(group.costs for group in self.groups), strict=True))


def cost_trend(ledger: Ledger, chosen: CostFilter, by: str | None = None, period: str = "day") -> Trend:
    """Return the costs of the filter by period, in groups of `by` (provider, model or type) or in one without a name.

    Where `period` is too short for the range, the next longer one is taken; periods without costs are there too.
    """
    period = next((longer for longer in PERIODS[PERIODS.index(period) :] if _few(chosen, longer)), PERIODS[-1])
    starts = _starts(chosen, period)
    names: dict[str, str] = {}
    found: dict[str, dict[date, Decimal]] = defaultdict(dict)
    for row in cost_rows(ledger, chosen, [period, *([by] if by else [])]):
        if row.stat_date is not None:
            key, names[key] = _group(row, by)
            found[key][row.stat_date] = row.total_cost
    dearest = sorted(found, key=lambda key: (-sum(found[key].values(), Decimal(0)), key))
    costs = {key: tuple(found[key].get(start, Decimal(0)) for start in starts) for key in dearest}
    groups = [TrendGroup(names[key], costs[key]) for key in dearest[:MOST_GROUPS]]
    others = [costs[key] for key in dearest[MOST_GROUPS:]]
    if others:
        groups.append(TrendGroup(None, tuple(sum(parts, Decimal(0)) for parts in zip(*others, strict=True))))
    return Trend(period, starts, tuple(groups))


def _group(row: CostRow, by: str | None) -> tuple[str, str]:
    """Return the id of the row's group, and its name."""
    if by == "provider":
        return row.provider_id or "", row.provider_name or ""
    group = row.model_id if by == "model" else row.usage_type if by == "type" else None
    return group or "", group or ""


def _few(chosen: CostFilter, period: str) -> bool:
    days = {"day": 1, "week": 7, "month": 28}[period]
    return (chosen.end - chosen.start).days // days < MOST_STARTS


def _starts(chosen: CostFilter, period: str) -> tuple[date, ...]:
    starts = [start_of_period(chosen.start, period)]
    while (start := end_of_period(starts[-1], period) + timedelta(days=1)) <= chosen.end:
        starts.append(start)
    return tuple(starts)
