"""Quota for some hundred of the demo's users, derived from what they spend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, time
from decimal import Decimal
from functools import partial
from random import Random

from billing_console.demo.steps import Step, round_amount
from billing_console.demo.traffic import DAYS, Window
from billing_console.money import CENT
from billing_console.services.quotas import grant_quota, revoke_quota

OPERATORS = ("li.wei", "zhang.min")
SPENDERS = 150
OTHERS = 120
"""How many users get quota: of those who spend the most, and of the rest."""

_KINDS = ("ample", "ample", "ample", "several", "nearly used", "exhausted")


def grants(span: Window, spent: Mapping[str, Decimal], rng: Random) -> Iterator[Step]:
    """Yield the grants: ample ones, some in several parts, some nearly used, some exhausted, and one revocation."""
    by_cost = sorted(spent, key=lambda user: (-spent[user], user))
    chosen = by_cost[:SPENDERS]
    chosen += rng.sample(by_cost[SPENDERS:], min(OTHERS, len(by_cost[SPENDERS:])))
    for number, user in enumerate(chosen):
        kind = _KINDS[number % len(_KINDS)] if number < SPENDERS else "ample"
        amounts = _amounts(kind, spent[user], rng)
        days = sorted(rng.sample(range(5, DAYS - 2), len(amounts)), reverse=True)
        for part, (days_ago, amount) in enumerate(zip(days, amounts, strict=True)):
            at = _morning(span, days_ago)
            reference = f"{at.astimezone(span.timezone):%Y-%m} allowance" if part else f"Contract C-{number + 1001}"
            give = partial(
                grant_quota, user_id=user, amount=amount, reference=reference, key=f"demo-grant-{number}-{part}"
            )
            yield Step(at, OPERATORS[number % 2], give)
        if number == 0:
            take = partial(
                revoke_quota,
                user_id=user,
                amount=round_amount(amounts[0] / 4, 1),
                reference="Contract C-1001 reduced",
                key="demo-revoke-0",
            )
            yield Step(_morning(span, 4), OPERATORS[1], take)


def _morning(span: Window, days_ago: int) -> datetime:
    """Return nine o'clock of a day: grants of one day are entered together."""
    return datetime.combine(span.days_ago(days_ago), time(9), span.timezone)


def _amounts(kind: str, cost: Decimal, rng: Random) -> list[Decimal]:
    """Choose the grants of one user who spends `cost` yuan in all."""
    if kind == "nearly used":
        return [(cost * 104 / 100).quantize(CENT) + CENT]
    if kind == "exhausted":
        return [max(CENT, (cost * rng.randrange(970, 1000) / 1000).quantize(CENT))]
    ample = round_amount(cost * rng.randrange(3, 9) + 4, 1)
    if kind == "several":
        return [round_amount(ample / 3, 1) for _part in range(rng.choice((2, 3, 4)))]
    return [ample]
