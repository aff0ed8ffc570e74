"""Build the demo ledger: prices, then calls, recharges, checks and grants in the order in which they happened."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from random import Random

from billing_console.demo.funding import SCHEDULER, CostedCall, funding
from billing_console.demo.grants import grants
from billing_console.demo.mix import RETIRED
from billing_console.demo.plans import plans
from billing_console.demo.steps import Step, at
from billing_console.demo.traffic import DATA, Window, calls, window
from billing_console.services.check import check_pools
from billing_console.services.identity import SYSTEM
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import record_usage
from billing_console.services.models import set_model_enabled
from billing_console.services.new_usage import NewUsage
from billing_console.services.operators import add_operator
from billing_console.services.price_cost import cost_of
from billing_console.services.price_import import import_prices
from billing_console.services.prices import PriceView, list_prices
from billing_console.services.setup import DEFAULT_CURRENCY, DEFAULT_TIMEZONE, init
from db.values import CallStatus, Role

SEED = 20260101
CALLS = 40_000
BATCH = 2000
GATEWAY = f"{SYSTEM}gateway"
PRICER = "li.wei"
STAFF = {PRICER: Role.ADMIN, "zhang.min": Role.ADMIN, "wang.fang": Role.OPERATOR, "chen.jing": Role.VIEWER}
RATE = Decimal("7.1")
"""Yuan for one US dollar; the price list is in dollars."""

PRICE_CHANGE_DAYS_AGO = 24

Progress = Callable[[int, int], None]
"""Called with how many calls are recorded and how many there are."""


def build(url: str, now: datetime, *, count: int = CALLS, seed: int = SEED, progress: Progress | None = None) -> None:
    """Create a demo ledger at `url` with about `count` calls in the 60 days that end `now`; the same for the same seed.

    Raises Conflict if there is a ledger already, Unavailable if the place cannot be used.
    """
    init(url, timezone=DEFAULT_TIMEZONE, currency=DEFAULT_CURRENCY, demo=True)
    ledger = open_ledger(url, durable=False)
    try:
        rng = Random(seed)
        span = window(now, ledger.timezone)
        made = calls(span, rng, count)
        for name, role in STAFF.items():
            add_operator(replace(ledger, clock=lambda: span.start), name, role)
        _import_prices(ledger, span)
        costed = _costed(ledger, made)
        steps, spent = funding(ledger, span, costed, rng)
        steps += [*grants(span, spent, rng), *plans(span, costed, spent), *_retirements(span)]
        _replay(ledger, made, sorted(steps, key=lambda step: step.at), progress)
        check_pools(at(ledger, now, SCHEDULER))
    finally:
        ledger.close()


def _import_prices(ledger: Ledger, span: Window) -> None:
    """Add the price list as of the start, and the changes on a day of the span."""
    before = at(ledger, span.start, PRICER)
    import_prices(before, DATA / "prices.csv", currency="USD", rate=RATE)
    changed = datetime.combine(span.days_ago(PRICE_CHANGE_DAYS_AGO), datetime.min.time(), span.timezone)
    import_prices(at(ledger, changed, PRICER), DATA / "price_changes.csv", currency="USD", rate=RATE)


def _costed(ledger: Ledger, made: Sequence[NewUsage]) -> list[CostedCall]:
    """Say what each call will cost when it is recorded, by the ledger's own prices and rule."""
    book: dict[tuple[str, str, str], list[PriceView]] = {}
    for price in reversed(list_prices(ledger, all_versions=True)):
        book.setdefault((price.provider_id, price.model_id, price.usage_type), []).append(price)
    return [(call, _cost(book.get((call.provider_id, call.model_id, call.usage_type), []), call)) for call in made]


def _cost(versions: list[PriceView], call: NewUsage) -> Decimal:
    position = bisect_right(versions, call.created_at, key=lambda price: price.effective_from)
    if call.status is CallStatus.FAILED or not position:
        return Decimal(0)
    quantity = call.quantity or Decimal(0)
    return cost_of(versions[position - 1], call.input_tokens, call.cached_input_tokens, call.output_tokens, quantity)


def _retirements(span: Window) -> Iterator[Step]:
    for model in RETIRED:
        midnight = datetime.combine(span.days_ago(model.days_ago), datetime.min.time(), span.timezone)
        disable = partial(
            set_model_enabled,
            provider_id=model.provider_id,
            model_id=model.model_id,
            enabled=False,
            reason=model.reason,
        )
        yield Step(midnight + timedelta(minutes=1), model.operator, disable)


def _replay(ledger: Ledger, made: Sequence[NewUsage], steps: Sequence[Step], progress: Progress | None) -> None:
    """Record the calls in order of time, and take every step when all calls before it are recorded."""
    done = 0
    for step in [*steps, None]:
        until = len(made) if step is None else bisect_right(made, step.at, key=lambda call: call.created_at)
        while done < until:
            batch = made[done : min(until, done + BATCH)]
            record_usage(at(ledger, batch[-1].created_at, GATEWAY), batch)
            done += len(batch)
            if progress is not None:
                progress(done, len(made))
        if step is not None:
            step.run(at(ledger, step.at, step.operator))
