"""Whatever is recorded, inserted, settled and paid: the counters are those of a plain model in Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.new_usage import NewUsage
from billing_console.services.pools import get_pool
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import settle
from db.values import CallStatus, UsageType
from tests.factories import NOON, gateway_insert, pay, price, query, spend, usage

TEXT, IMAGE, TTS, STT, VIDEO = UsageType


class Model:
    """The ledger in plain Python: what every counter must hold."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], NewUsage] = {}
        self.users: dict[str, Decimal] = defaultdict(Decimal)
        self.pools: dict[str, Decimal] = defaultdict(Decimal)
        self.paid: dict[str, Decimal] = defaultdict(Decimal)
        self.days: dict[tuple[str, str, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 4)

    def record(self, call: NewUsage) -> None:
        key = call.provider_id, call.request_id
        if key in self.seen:
            return
        self.seen[key] = call
        cost = call.cost_amount
        if cost is None:
            # The price of the factory: 10 in, 30 out, for gpt-4o alone.
            billed = call.status is CallStatus.SUCCESS and call.model_id == "gpt-4o" and call.usage_type is TEXT
            cost = (Decimal(call.input_tokens * 10 + call.output_tokens * 30) / 10**6) if billed else Decimal(0)
        if call.user_id is not None:
            self.users[call.user_id] += cost
        self.pools[call.provider_id] += cost
        day = (call.created_at + timedelta(hours=8)).date().isoformat()  # Shanghai has no summer time
        amount = Decimal(call.input_tokens + call.output_tokens) if call.usage_type is TEXT else call.quantity
        adds = (amount or Decimal(0), cost, Decimal(1), Decimal(call.status is CallStatus.FAILED))
        sums = self.days[day, call.provider_id, call.model_id, call.usage_type]
        self.days[day, call.provider_id, call.model_id, call.usage_type] = [
            before + more for before, more in zip(sums, adds, strict=True)
        ]


def some_call(dice: random.Random) -> NewUsage:
    kind = dice.choice([TEXT, TEXT, TEXT, IMAGE, VIDEO])
    tokens = kind is TEXT
    return usage(
        provider_id=dice.choice(["openai", "azure", "新"]),
        model_id=dice.choice(["gpt-4o", "other"]),
        usage_type=kind,
        user_id=dice.choice([None, "a", "b", "c"]),
        created_at=NOON + timedelta(seconds=dice.randrange(-200_000, 200_000), microseconds=dice.randrange(10**6)),
        input_tokens=dice.randrange(10**6) if tokens else 0,
        output_tokens=dice.randrange(10**6) if tokens else 0,
        quantity=None if tokens else Decimal(dice.randrange(1, 10**9)).scaleb(-6),
        cost_amount=dice.choice([None, Decimal(dice.randrange(10**12)).scaleb(-9)]),
        status=dice.choice([CallStatus.SUCCESS, CallStatus.SUCCESS, CallStatus.FAILED]),
    )


def gateway_row(call: NewUsage) -> dict[str, Any]:
    return {
        "request_id": call.request_id,
        "user_id": call.user_id,
        "provider_id": call.provider_id,
        "model_id": call.model_id,
        "usage_type": call.usage_type.value,
        "status": call.status.value,
        "created_at": call.created_at,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "quantity": int((call.quantity or Decimal(0)) * 10**6),
        "cost_amount": None if call.cost_amount is None else int(call.cost_amount * 10**9),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_the_counters_are_those_of_a_plain_model(ledger: Ledger, seed: int) -> None:
    dice, model = random.Random(seed), Model()
    for provider in ("openai", "azure", "新"):
        price(ledger, provider_id=provider)
    for _round in range(40):
        step = dice.randrange(10)
        if step == 0:
            amount = Decimal(dice.randrange(1, 10**6)).scaleb(-2)
            provider = dice.choice(["openai", "azure", "新"])
            pay(ledger, str(amount), provider)
            model.paid[provider] += amount
        elif step == 1:
            settle(ledger, limit=dice.choice([1, 3, 100]))
        elif step <= 3:
            call = some_call(dice)
            gateway_insert(ledger, **gateway_row(call))
            model.record(call)
        else:
            calls = [some_call(dice) for _ in range(dice.randrange(1, 8))]
            calls += dice.sample(list(model.seen.values()), min(2, len(model.seen)))
            record_usage(ledger, calls)
            for call in calls:
                model.record(call)
    settle(ledger)

    for provider in ("openai", "azure", "新"):
        view = get_pool(ledger, provider)
        assert (view.used_amount, view.total_balance) == (model.pools[provider], model.paid[provider])
    used = {
        user: Decimal(amount).scaleb(-9)
        for user, amount in query(ledger, "SELECT user_id, used_amount FROM user_quotas")
    }
    assert used == model.users
    stored = query(
        ledger,
        "SELECT CAST(stat_date AS TEXT), provider_id, model_id, usage_type, total_usage, total_cost, call_count,"
        " failed_count FROM daily_cost_stats",
    )
    assert {row[:4]: [Decimal(row[4]).scaleb(-6), Decimal(row[5]).scaleb(-9), *row[6:]] for row in stored} == model.days
    assert reconcile(ledger) == ()
    assert spend(ledger, "0").recorded == 1
