"""How the demo's pools are paid for: recharges derived from the costs, so that each ends up as full as it should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import partial
from random import Random

from billing_console.demo.mix import INSUFFICIENT, Failure
from billing_console.demo.steps import Step, round_amount
from billing_console.demo.traffic import Window, fail
from billing_console.services.approvals import ApprovalView
from billing_console.services.check import check_pools
from billing_console.services.identity import SYSTEM
from billing_console.services.ledger import Ledger
from billing_console.services.new_usage import NewUsage
from billing_console.services.pools import open_pool, set_thresholds
from billing_console.services.recharges import RechargeView, recharge, reverse_recharge
from billing_console.services.thresholds import Thresholds, status_of
from db.values import BalanceStatus

CHECKED_EVERY = timedelta(minutes=5)
Pay = partial[RechargeView | ApprovalView]
SCHEDULER = f"{SYSTEM}check-pools"
"""The account of the console whose timer checks the pools."""

DRY_FOR = timedelta(hours=19)
"""How long a pool that runs dry stays so, before it is recharged or the span ends."""


@dataclass(frozen=True, slots=True)
class Fund:
    """A pool: how often it is recharged, and the percentage left at the end.

    `low_threshold` in percent, None for the setting; `low_days` is off with None. `dry` says which recharge lasts too
    short, so that the pool runs dry; `twice` which one was entered twice and taken back. Recharges are counted from 0.
    """

    provider_id: str
    name: str
    recharges: int
    left: Decimal
    low_threshold: Decimal | None = None
    low_days: int | None = None
    dry: int | None = None
    twice: int | None = None


FUNDS = (
    Fund("openai", "OpenAI", 5, Decimal(38), low_days=7),
    Fund("anthropic", "Anthropic", 6, Decimal(6)),
    Fund("moonshotai", "Moonshot AI", 4, Decimal(0), dry=3),
    Fund("deepseek", "DeepSeek", 3, Decimal(19), low_threshold=Decimal(25)),
    Fund("zhipuai", "智谱 AI", 4, Decimal(27), dry=1, twice=2),
)
"""One pool of each status, one low by its own threshold, one with a reversal. Google has none: its bill comes later."""

CostedCall = tuple[NewUsage, Decimal]


@dataclass(frozen=True, slots=True)
class _Payment:
    at: datetime
    amount: Decimal


def funding(
    ledger: Ledger, span: Window, costed: Sequence[CostedCall], rng: Random
) -> tuple[list[Step], dict[str, Decimal]]:
    """Return the steps that pay and check every pool, and what each user spends in all.

    Calls that meet an empty pool are turned into failed ones here, as the provider would refuse them.
    """
    steps: list[Step] = []
    spent: dict[str, Decimal] = {}
    for fund in FUNDS:
        calls = [(call, cost) for call, cost in costed if call.provider_id == fund.provider_id]
        payments = _payments(ledger, span, fund, calls, rng)
        steps += _payment_steps(span, fund, payments, rng)
        threshold = ledger.low_threshold if fund.low_threshold is None else fund.low_threshold
        steps += [_check(at, fund.provider_id) for at in _alarms(span, calls, payments, threshold)]
    for call, cost in costed:
        if call.user_id is not None and call.error_message is None:
            spent[call.user_id] = spent.get(call.user_id, Decimal(0)) + cost
    return steps, spent


def _payments(ledger: Ledger, span: Window, fund: Fund, calls: Sequence[CostedCall], rng: Random) -> list[_Payment]:
    """Choose amounts that leave the pool low when the next recharge comes, and as full as wanted at the end."""
    times = _payment_times(span, fund.recharges, rng)
    threshold = ledger.low_threshold if fund.low_threshold is None else fund.low_threshold
    payments: list[_Payment] = []
    total = Decimal(0)
    for number, (at, until) in enumerate(zip(times, [*times[1:], span.end], strict=True)):
        left = threshold * rng.randrange(45, 85) / 100 if until < span.end else fund.left
        if number == fund.dry:
            left, until = Decimal(0), until - DRY_FOR
        used = sum((cost for call, cost in calls if call.created_at < until), Decimal(0))
        amount = round_amount(used * 100 / (100 - left) - total, 3)
        total += amount
        payments.append(_Payment(at, amount))
    return payments


def _payment_times(span: Window, count: int, rng: Random) -> list[datetime]:
    """Return the start, and mornings of working days spread over the span."""
    times = [span.start]
    for number in range(1, count):
        day = (span.start + (span.end - span.start) * number / count).astimezone(span.timezone).date()
        while day.weekday() >= 5:
            day += timedelta(days=1)
        times.append(datetime.combine(day, time(9 + rng.randrange(2), rng.randrange(60)), span.timezone))
    return times


def _alarms(
    span: Window, calls: Iterable[CostedCall], payments: Sequence[_Payment], threshold: Decimal
) -> Iterator[datetime]:
    """Yield when a check finds the pool worse than before; calls that meet an empty pool fail on the way."""
    waiting, low = list(payments), Thresholds(threshold)
    total = used = Decimal(0)
    known = BalanceStatus.SUFFICIENT
    for call, cost in calls:
        while waiting and waiting[0].at <= call.created_at:
            total += waiting.pop(0).amount
            known = status_of(total - used, total, low)
        if total - used <= 0:
            fail(call, _REFUSED)
            continue
        used += cost
        status = status_of(total - used, total, low)
        if status is not known:
            known = status
            at = _next_check(span, call.created_at)
            if at < min(span.end, waiting[0].at if waiting else span.end):
                yield at


_REFUSED = Failure(0, INSUFFICIENT)


def _next_check(span: Window, instant: datetime) -> datetime:
    passed = (instant - span.start) // CHECKED_EVERY
    return span.start + (passed + 1) * CHECKED_EVERY


def _check(at: datetime, provider_id: str) -> Step:
    return Step(at, SCHEDULER, partial(check_pools, provider_id=provider_id))


def _payment_steps(span: Window, fund: Fund, payments: Sequence[_Payment], rng: Random) -> Iterator[Step]:
    yield Step(span.start, "zhang.min", lambda ledger: _open(ledger, fund))
    for number, payment in enumerate(payments):
        operator = rng.choice(("zhang.min", "wang.fang"))
        month = payment.at.astimezone(span.timezone)
        reference = f"PO-{month:%Y%m}-{rng.randrange(1000, 10_000)}"
        note = "Opening balance" if number == 0 else rng.choice(("", "", "Monthly budget", "Urgent, see the alert"))
        pay = partial(
            recharge,
            provider_id=fund.provider_id,
            amount=payment.amount,
            reference=reference,
            key=f"demo-{fund.provider_id}-{number}",
            note=note,
        )
        yield Step(payment.at, operator, pay)
        if number == 0 and fund.low_days is not None:
            set_days = partial(set_thresholds, provider_id=fund.provider_id, wanted={"days": fund.low_days})
            yield Step(payment.at + timedelta(minutes=2), "zhang.min", set_days)
        if number == fund.twice:
            yield from _paid_twice(payment, reference, pay, f"demo-{fund.provider_id}-twice")


def _open(ledger: Ledger, fund: Fund) -> None:
    open_pool(ledger, fund.provider_id, name=fund.name, low_threshold=fund.low_threshold)


def _paid_twice(
    payment: _Payment, reference: str, pay: partial[RechargeView | ApprovalView], key: str
) -> Iterator[Step]:
    entered: list[int] = []

    def again(ledger: Ledger) -> None:
        entered.append(recharge(ledger, **pay.keywords | {"key": key, "note": ""}).id)

    def take_back(ledger: Ledger) -> None:
        reverse_recharge(ledger, entered[0], reason=f"Entered twice, the payment is {reference}")

    yield Step(payment.at + timedelta(minutes=4), "wang.fang", again)
    yield Step(payment.at + timedelta(minutes=95), "zhang.min", take_back)
