"""What the current month will have cost by its end, from the days before today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import func, select

from billing_console.clock import day_of
from billing_console.money import EXACT, exact_sum, to_nano
from billing_console.services.costs import STATS, CostFilter, within
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading

WINDOW_DAYS = 28
"""Days before today that tell what a day costs: four of every weekday."""

LEAST_DAYS = 14
"""Days with usage among them without which nothing is projected."""

SPREAD = Decimal("1.2816")
"""Standard deviations to each side of the mean between which 80 % of a normal distribution lie."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The cost of a month in yuan: `to_date` so far, and by its end as expected, with a range that holds 4 times in 5.

    What is projected is None while there is not enough history: fewer than 14 of the last 28 days with usage.
    """

    month: date
    to_date: Decimal
    history_days: int
    expected: Decimal | None
    low: Decimal | None
    high: Decimal | None


def project(costs: Mapping[date, Decimal], first: date | None, today: date) -> Projection:
    """Project the month of `today` from the cost of each day with usage in yuan; `first` is the first such day ever.

    Each day to come is expected to cost the mean of its weekday over the 28 days before today, or over those since the
    first usage; today costs that mean too, or what it has cost already if that is more. Days without usage count as 0.
    The range is that of a regression on the weekday: with s² the variance of the past days around the means of their
    weekdays, the sum of k days to come, c of which fall on a weekday whose mean is of m days, varies by s²(k + Σ c²/m).
    """
    month = today.replace(day=1)
    to_date = exact_sum([cost for day, cost in costs.items() if month <= day <= today])
    start = max(today - timedelta(days=WINDOW_DAYS), first or today)
    past = [start + timedelta(days=number) for number in range((today - start).days)]
    history = sum(day in costs for day in past)
    if history < LEAST_DAYS:
        return Projection(month, to_date, history, None, None, None)
    by_weekday: dict[int, list[Decimal]] = defaultdict(list)
    for day in past:
        by_weekday[day.weekday()].append(costs.get(day, Decimal(0)))
    means = {weekday: EXACT.divide(exact_sum(found), len(found)) for weekday, found in by_weekday.items()}
    left = [today + timedelta(days=number) for number in range((_next(month) - today).days)]
    coming: dict[int, int] = defaultdict(int)
    for day in left:
        coming[day.weekday()] += 1
    spent_today = costs.get(today, Decimal(0))
    rest = exact_sum([means[day.weekday()] for day in left[1:]]) + max(means[today.weekday()] - spent_today, Decimal(0))
    squares = [(cost - means[weekday]) ** 2 for weekday, found in by_weekday.items() for cost in found]
    variance = EXACT.divide(exact_sum(squares), len(past) - len(means))
    extra = exact_sum([EXACT.divide(count**2, len(by_weekday[weekday])) for weekday, count in coming.items()])
    either_way = SPREAD * EXACT.sqrt(variance * (len(left) + extra))
    return Projection(
        month,
        to_date,
        history,
        to_nano(to_date + rest),
        to_nano(to_date + max(rest - either_way, Decimal(0))),
        to_nano(to_date + rest + either_way),
    )


def month_projection(ledger: Ledger, chosen: CostFilter) -> Projection:
    """Project the current month for the provider, model and type of a filter, whatever its days."""
    today = day_of(ledger.clock(), ledger.timezone)
    ever = CostFilter(date.min, today, chosen.provider_id, chosen.model_id, chosen.usage_type)
    daily = within(select(STATS.stat_date, func.sum(STATS.total_cost)), ever)
    daily = daily.where(STATS.stat_date >= needed_from(today)).group_by(STATS.stat_date)
    with reading(ledger.database) as session:
        costs = {day: cost for day, cost in session.connection().execute(daily)}
        first = session.connection().execute(within(select(func.min(STATS.stat_date)), ever)).scalar()
    return project(costs, first, today)


def needed_from(today: date) -> date:
    """Return the first day whose costs `project` looks at."""
    return min(today.replace(day=1), today - timedelta(days=WINDOW_DAYS))


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
