"""What the usage of the last 30 days would have cost under another price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, case, func, select

from billing_console.clock import day_of, start_of
from billing_console.errors import InvalidInput, NotFound
from billing_console.i18n import N_, _
from billing_console.money import EXACT, exact_sum, to_nano
from billing_console.services.catalogue import require_model
from billing_console.services.ledger import Ledger
from billing_console.services.price_cost import CostLine, Rates, UnitPrice, check_price, cost_lines, unit_for
from billing_console.services.prices import PriceView, price_in_force
from billing_console.services.session import reading
from billing_console.text import clean
from db.schema import UsageRecord
from db.statements import table_of
from db.values import CallStatus, PriceUnit, UsageType

DAYS = 30

METHOD = N_(
    "Tokens and quantities of all successful calls are added up and priced once; failed calls cost nothing. Bills round"
    " each call to 1e-9, so they may differ in the last digits."
)
"""How it is worked out, for people."""

CENT_OF_PERCENT = Decimal("0.01")
RECORDS = table_of(UsageRecord).c

Progress = Callable[[int, int], None]
"""Told how many days have been added up, and how many there are; what it raises ends the work."""


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Usage of the successful calls of a model in the last 30 business days, today included; `end` is excluded.

    `billed` is what they cost in yuan as they were billed. `only_tokens` and `only_quantity` count calls that are
    measured in nothing else: a price per the other bills none of them.
    """

    start: datetime
    end: datetime
    calls: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    quantity: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)
    unpriced: int = 0
    only_tokens: int = 0
    only_quantity: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What that usage costs under one price, line by line; `unmeasured` calls it does not bill at all."""

    price: UnitPrice
    lines: tuple[CostLine, ...]
    cost: Decimal
    unmeasured: int


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The same usage under the price in force, None where there is none, and under another one, in yuan."""

    usage: UsageSum
    now: Scenario | None
    other: Scenario

    @property
    def difference(self) -> Decimal:
        """Return how much more the other price comes to than the one in force, or than what was billed."""
        return exact_sum([self.other.cost, -self._base])

    @property
    def difference_percent(self) -> Decimal | None:
        """Return the difference in percent, rounded half to even to 0.01; None where there is nothing to compare."""
        if not self._base:
            return None
        return EXACT.divide(EXACT.multiply(self.difference, Decimal(100)), self._base).quantize(
            CENT_OF_PERCENT, context=EXACT
        )

    @property
    def _base(self) -> Decimal:
        return self.usage.billed if self.now is None else self.now.cost


def what_if(
    ledger: Ledger,
    provider_id: str,
    model_id: str,
    usage_type: UsageType,
    other: Rates,
    progress: Progress | None = None,
) -> WhatIf:
    """Compare the last 30 days of a model under the price in force with another price, both in yuan per unit.

    Reads every call of the model in that time, a day at a time. Raises NotFound for an unknown model.
    """
    usage = _usage(ledger, provider_id, model_id, usage_type, progress or _nobody)
    try:
        now = _under(usage, price_in_force(ledger, provider_id, model_id, usage_type))
    except NotFound:
        now = None
    return WhatIf(usage, now, _under(usage, other))


def typed_price(
    usage_type: UsageType,
    unit: PriceUnit | None,
    input_price: Decimal,
    output_price: Decimal,
    cached_input_price: Decimal | None = None,
) -> UnitPrice:
    """Return a price that somebody considers, by the rules of one that is added; raise InvalidInput if it is none."""
    price = UnitPrice(unit_for(usage_type, unit), input_price, output_price, cached_input_price)
    check_price(input_price, "inputPrice")
    check_price(output_price, "outputPrice")
    if cached_input_price is not None:
        check_price(cached_input_price, "cachedInputPrice")
    return price


def price_like(ledger: Ledger, like: str, usage_type: UsageType) -> PriceView:
    """Return the price in force of another model, named as PROVIDER/MODEL.

    Raises InvalidInput for a name of another form, NotFound for an unknown model or one without a price for the type.
    """
    provider_id, slash, model_id = like.strip().partition("/")
    if not (provider_id and slash and model_id):
        raise InvalidInput(
            _("“%(text)s” is not of the form PROVIDER/MODEL.") % {"text": clean(like[:60])}, field="like"
        )
    return price_in_force(ledger, provider_id, model_id, usage_type)


def _nobody(done: int, whole: int) -> None:
    """Tell nobody."""


def _usage(ledger: Ledger, provider_id: str, model_id: str, usage_type: UsageType, progress: Progress) -> UsageSum:
    now = ledger.clock()
    today = day_of(now, ledger.timezone)
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    total = UsageSum(start_of(days[0], ledger.timezone), now)
    with reading(ledger.database) as session:
        require_model(session, provider_id, model_id)
        for done, day in enumerate(days):
            progress(done, DAYS)
            query = _sums(provider_id, model_id, usage_type).where(*_within(ledger, day, now))
            total = _plus(total, session.connection().execute(query).one()._mapping)
    progress(DAYS, DAYS)
    return total


def _within(ledger: Ledger, day: date, now: datetime) -> tuple[Any, Any]:
    end = min(start_of(day + timedelta(days=1), ledger.timezone), now)
    return RECORDS.created_at >= start_of(day, ledger.timezone), RECORDS.created_at < end


def _sums(provider_id: str, model_id: str, usage_type: UsageType) -> Select[Any]:
    """Add up one stretch of the index on provider, model and time."""
    tokens = RECORDS.input_tokens + RECORDS.output_tokens > 0

    def counted(condition: Any) -> Any:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    columns: list[Any] = [
        func.count().label("calls"),
        *(func.sum(RECORDS[name]).label(name) for name in ("input_tokens", "cached_input_tokens", "output_tokens")),
        func.sum(RECORDS.quantity).label("quantity"),
        func.sum(RECORDS.cost_amount).label("billed"),
        counted(RECORDS.cost_amount.is_(None)).label("unpriced"),
        counted(tokens & (RECORDS.quantity == 0)).label("only_tokens"),
        counted(~tokens & (RECORDS.quantity > 0)).label("only_quantity"),
    ]
    return select(*columns).where(
        RECORDS.provider_id == provider_id,
        RECORDS.model_id == model_id,
        RECORDS.usage_type == usage_type.value,
        RECORDS.status == CallStatus.SUCCESS.value,
    )


def _plus(total: UsageSum, day: Any) -> UsageSum:
    more: dict[str, Any] = {}
    for name in ("calls", "input_tokens", "cached_input_tokens", "output_tokens", "unpriced"):
        more[name] = getattr(total, name) + int(day[name] or 0)
    for name in ("only_tokens", "only_quantity"):
        more[name] = getattr(total, name) + int(day[name])
    for name in ("quantity", "billed"):
        more[name] = exact_sum([getattr(total, name), day[name] or Decimal(0)])
    return replace(total, **more)


def _under(usage: UsageSum, price: Rates) -> Scenario:
    lines = cost_lines(price, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.quantity)
    unit = PriceUnit(price.unit)
    return Scenario(
        price=UnitPrice(unit, price.input_price, price.output_price, price.cached_input_price),
        lines=lines,
        cost=to_nano(exact_sum([line.amount for line in lines])),
        unmeasured=usage.only_quantity if unit is PriceUnit.MILLION_TOKENS else usage.only_tokens,
    )
