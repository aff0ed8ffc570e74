"""What the demo's staff plans ahead: budgets of a month, and quota that some users get anew in every period."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from functools import partial

from billing_console.demo.funding import CostedCall
from billing_console.demo.steps import Step, round_amount
from billing_console.demo.traffic import DAYS, Window
from billing_console.services.budgets import ALL, set_budget
from billing_console.services.periodic_quotas import set_periodic
from db.values import Period

BUDGETS = ((ALL, 108), ("openai", 92), ("deepseek", 150))
"""Whose month has a budget, in percent of an average month: one that just does, one too small, one ample."""

PERIODIC = ((Period.MONTH, 12), (Period.WEEK, 8), (Period.DAY, 5))
"""How many users get quota by the period."""

MONTH = 30

_DAYS = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: MONTH}
BEGAN_DAYS_AGO = 21


def plans(span: Window, costed: Sequence[CostedCall], spent: Mapping[str, Decimal]) -> Iterator[Step]:
    """Yield the steps that set budgets, and periodic quotas of users who spend neither most nor least."""
    began = datetime.combine(span.days_ago(BEGAN_DAYS_AGO), time(10), span.timezone)
    for provider_id, percent in BUDGETS:
        cost = sum((cost for call, cost in costed if provider_id in (ALL, call.provider_id)), Decimal(0))
        amount = round_amount(cost * MONTH / DAYS * percent / 100, 2)
        yield Step(began, "zhang.min", partial(set_budget, provider_id=provider_id, amount=amount))
    users = iter(sorted(spent, key=lambda user: (-spent[user], user))[40:])
    for period, count in PERIODIC:
        for _number in range(count):
            user = next(users)
            amount = round_amount(spent[user] / DAYS * _DAYS[period] * 3 / 2 + 1, 1)
            yield Step(began, "li.wei", partial(set_periodic, user_id=user, period=period, amount=amount))
