"""Small helpers that put the rows a test needs into a ledger, through the services or past them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import text

from billing_console.services.approvals import ApprovalView
from billing_console.services.identity import Kind, this_person
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import RecordResult, record_usage
from billing_console.services.new_usage import NewUsage
from billing_console.services.operators import add_operator
from billing_console.services.pools import PoolView, open_pool
from billing_console.services.prices import NewPrice, PriceView, set_price
from billing_console.services.recharges import RechargeView, recharge, reverse_recharge
from billing_console.services.setup import init
from db.values import PriceUnit, Role, UsageType

NOON = datetime(2026, 3, 10, 4, 0, tzinfo=UTC)
"""Noon of a business day in Asia/Shanghai."""

TESTER = replace(this_person(), name="tester", kind=Kind.FORCED)
"""Who the tests are: the first admin of every ledger they make."""

NANO = Decimal("0.000000001")

Booked = TypeVar("Booked")
_numbers: Iterator[int] = itertools.count(1)


def at(ledger: Ledger, instant: datetime) -> Ledger:
    """The same ledger, at another time."""
    return replace(ledger, clock=lambda: instant)


def set_up(url: str, **options: Any) -> None:
    """An empty ledger whose admins are the account that runs the tests, who founded it, and the tester."""
    init(url, **options)
    ledger = open_ledger(url)
    add_operator(ledger, TESTER.name, Role.ADMIN)
    ledger.close()


def acting(ledger: Ledger, name: str, role: Role = Role.ADMIN) -> Ledger:
    """The same ledger, in the hands of somebody else, who is made known with this role."""
    add_operator(ledger, name, role)
    return replace(ledger, actor=replace(ledger.actor, name=name), role=role)


def usage(**changes: Any) -> NewUsage:
    """A text call at noon with a request id of its own, changed where told."""
    values: dict[str, Any] = {
        "provider_id": "openai",
        "model_id": "gpt-4o",
        "usage_type": UsageType.TEXT_GENERATION,
        "created_at": NOON,
        "request_id": f"request-{next(_numbers)}",
        "user_id": "alice",
        "input_tokens": 100,
        "output_tokens": 50,
    }
    return NewUsage(**values | changes)


def spend(ledger: Ledger, cost: str | Decimal, **changes: Any) -> RecordResult:
    """Record one call that cost so many yuan."""
    return record_usage(ledger, [usage(cost_amount=Decimal(cost), **changes)])


def price(ledger: Ledger, **changes: Any) -> PriceView:
    """A price for text that holds since long ago: 10 yuan per million input tokens, 30 output, changed where told."""
    values: dict[str, Any] = {
        "provider_id": "openai",
        "model_id": "gpt-4o",
        "usage_type": UsageType.TEXT_GENERATION,
        "unit": PriceUnit.MILLION_TOKENS,
        "input_price": Decimal(10),
        "output_price": Decimal(30),
        "effective_from": datetime(2020, 1, 1, tzinfo=UTC),
    }
    return set_price(ledger, NewPrice(**values | changes))


def pool(ledger: Ledger, provider_id: str = "openai", amount: str | None = None, **options: Any) -> PoolView:
    """An open pool, with a first recharge if an amount is given."""
    opened = open_pool(ledger, provider_id, **options)
    if amount is not None:
        pay(ledger, amount, provider_id)
    return opened


def pay(ledger: Ledger, amount: str, provider_id: str = "openai", **options: Any) -> RechargeView:
    """A recharge of an existing provider."""
    return booked(recharge(ledger, provider_id, Decimal(amount), **{"reference": "bank 1"} | options))


def take_back(ledger: Ledger, recharge_id: int, reason: str = "wrong pool") -> RechargeView:
    """A reversal."""
    return booked(reverse_recharge(ledger, recharge_id, reason=reason))


def booked(result: Booked | ApprovalView) -> Booked:
    """What was booked at once, where nothing had to be approved."""
    assert not isinstance(result, ApprovalView)
    return result


def stored(instant: datetime, ledger: Ledger) -> str | datetime:
    """An instant as a gateway must write it: UTC text with six digits on SQLite, as it is on PostgreSQL."""
    spelled = instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return spelled if ledger.database.is_sqlite else instant


def unbounded(ledger: Ledger) -> None:
    """Let a gateway insert what no call can have, as before revision 0005."""
    table = "" if ledger.database.is_sqlite else " ON usage_records"
    execute(ledger, f"DROP TRIGGER usage_records_bounds{table}")


def gateway_insert(ledger: Ledger, **changes: Any) -> None:
    """One row inserted as a gateway of another make would, with SQL of its own; costs are in nano-yuan."""
    row: dict[str, Any] = {
        "request_id": f"gateway-{next(_numbers)}",
        "provider_id": "openai",
        "model_id": "gpt-4o",
        "usage_type": "text_generation",
        "status": "success",
        "created_at": NOON,
    } | changes
    if isinstance(row["created_at"], datetime):
        row["created_at"] = stored(row["created_at"], ledger)
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    execute(ledger, f"INSERT INTO usage_records ({names}) VALUES ({values})", row)


def execute(ledger: Ledger, sql: str, values: Mapping[str, Any] | None = None) -> None:
    """SQL past the services, committed: a gateway's insert, or an error planted in a counter."""
    with ledger.database.writing() as session:
        session.connection().execute(text(sql), dict(values or {}))


def query(ledger: Ledger, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """What the database itself holds."""
    with ledger.database.reading() as session:
        return [tuple(row) for row in session.connection().execute(text(sql), dict(values or {}))]


MONEY_TABLES = ("providers", "models", "prices", "usage_records", "usage_outbox", "daily_cost_stats", "resource_pools")
OTHER_TABLES = ("recharges", "balance_alerts", "user_quotas", "quota_grants")


def everything(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that services write, to show that something changed nothing."""
    return {table: sorted(query(ledger, f"SELECT * FROM {table}"), key=repr) for table in MONEY_TABLES + OTHER_TABLES}
