"""What a user's quota is used for a day: how long it lasts, and whether today is unusual for this user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Context, Decimal
from statistics import median

from sqlalchemy import case, func, select, tuple_
from sqlmodel import Session

from billing_console.clock import day_of, start_of
from billing_console.money import EXACT, NANO, exact_sum
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.schema import Model, UsageRecord
from db.statements import table_of

DAYS = 28
"""Whole business days before today that today is compared with: four of each weekday."""

RATE_DAYS = 7
"""Whole business days before today over which use is averaged: one of each weekday."""

ENOUGH = 7
"""Days with use, of the last 28, from which something can be called unusual."""

CUTOFF = Decimal("3.5") * Decimal("1.4826")
"""Median absolute deviations of the logarithm (Iglewicz and Hoaglin: a modified z-score of 3.5): costs of a day are
spread by factors, not by differences."""

LOGS = Context(prec=40)
"""Exact enough that the logarithm of an amount leads back to it."""

LEAST = Decimal(1)
"""Yuan: less is not worth a person's attention, however unusual."""


@dataclass(frozen=True, slots=True)
class Unusual:
    """Today's use so far against the user's days with use of the last 28; amounts in yuan.

    Half of these days lie within `factor` times the median and the median divided by it. Unusual is more than
    `threshold`: a modified z-score above 3.5 of the logarithm, more than twice the median, and more than 1 yuan.
    """

    today: Decimal
    days: int
    median: Decimal
    factor: Decimal
    threshold: Decimal

    @property
    def is_unusual(self) -> bool:
        """Tell whether today is unusual; never with fewer than seven days to compare it with."""
        return self.has_history and self.today > self.threshold

    @property
    def has_history(self) -> bool:
        """Tell whether there are enough days to compare today with."""
        return self.days >= ENOUGH


@dataclass(frozen=True, slots=True)
class UserUse:
    """A user's use by day; `per_day` is the yuan a day of the last 7 whole business days, or today's for a new user."""

    user_id: str
    per_day: Decimal
    unusual: Unusual

    def days_left(self, remaining: Decimal | None) -> Decimal | None:
        """Return for how many days `remaining` yuan last at this use; None where that says nothing."""
        return lasts(remaining, self.per_day)


def lasts(remaining: Decimal | None, per_day: Decimal) -> Decimal | None:
    """Return for how many days an amount lasts, 0 where none is left; None without an amount or without use."""
    if remaining is None or per_day <= 0:
        return None
    return EXACT.divide(max(remaining, Decimal(0)), per_day)


def user_uses(
    ledger: Ledger, user_ids: Sequence[str], cancelled: Callable[[], bool] = lambda: False
) -> Iterator[UserUse]:
    """Yield the use of each user; stops before the next one once it is `cancelled`."""
    for user_id in user_ids:
        if cancelled():
            return
        with reading(ledger.database) as session:
            use = use_of(session, ledger, user_id)
        yield use


def use_of(session: Session, ledger: Ledger, user_id: str) -> UserUse:
    """Return a user's use from the usage records, by the user's index."""
    days = _by_day(session, ledger, user_id)
    today, past = days[-1], days[:-1]
    first = next((number for number, cost in enumerate(past) if cost), len(past))
    recent = past[max(first, len(past) - RATE_DAYS) :]
    per_day = EXACT.divide(exact_sum(recent), Decimal(len(recent))).quantize(NANO) if recent else today
    return UserUse(user_id, per_day, compare(today, [cost for cost in past if cost]))


def compare(today: Decimal, days: Sequence[Decimal]) -> Unusual:
    """Compare today with the days that had use."""
    if not days:
        return Unusual(today, 0, Decimal(0), Decimal(1), LEAST)
    logs = [cost.ln(LOGS) for cost in days]
    middle = Decimal(median(logs))
    deviation = Decimal(median([abs(log - middle) for log in logs]))
    usual = middle.exp(LOGS)
    threshold = max(LEAST, 2 * usual, (middle + CUTOFF * deviation).exp(LOGS))
    return Unusual(today, len(days), _yuan(usual), round(deviation.exp(LOGS), 2), _yuan(threshold))


def _yuan(amount: Decimal) -> Decimal:
    return amount.quantize(NANO, context=EXACT)


def _by_day(session: Session, ledger: Ledger, user_id: str) -> list[Decimal]:
    """Return the cost of each of the last 28 business days and of today, oldest first."""
    today = day_of(ledger.clock(), ledger.timezone)
    bounds = [start_of(today - timedelta(days=ago), ledger.timezone) for ago in range(DAYS, -2, -1)]
    records, models = table_of(UsageRecord), table_of(Model)
    day = case(*((records.c.created_at < bound, number) for number, bound in enumerate(bounds[1:]))).label("day")
    # The index begins with user, provider and model: with every pair known, the range of time is a seek in each.
    pairs = tuple_(records.c.provider_id, records.c.model_id).in_(select(models.c.provider_id, models.c.model_id))
    query = (
        select(day, func.sum(records.c.cost_amount))
        .where(records.c.user_id == user_id, pairs)
        .where(records.c.created_at >= bounds[0], records.c.created_at < bounds[-1])
        .group_by("day")
    )
    costs = {number: cost for number, cost in session.connection().execute(query)}
    return [costs.get(number) or Decimal(0) for number in range(DAYS + 1)]
