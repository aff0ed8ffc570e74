"""The exact column types: what goes in comes out, sums are exact, and what would not be exact is an error."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select, update
from sqlalchemy.exc import StatementError

from billing_console.errors import Refused
from billing_console.money import LEDGER_LIMIT, NANO, exact_sum
from billing_console.services.ledger import Ledger
from billing_console.services.session import in_transaction, reading
from db.schema import DailyCostStat, ResourcePool
from db.statements import is_sqlite, table_of
from db.types import FixedPoint, Money, Percent, Quantity, scaled
from db.values import UsageType
from tests.factories import execute, pool, query, spend, usage

AMOUNTS = st.integers(-(2**63) + 1, 2**63 - 1).map(lambda number: Decimal(number).scaleb(-9))
USED: Any = table_of(ResourcePool).c.used_amount


def bound(type_: FixedPoint, value: Any) -> int | None:
    return type_.process_bind_param(value, None)  # type: ignore[arg-type]


@given(AMOUNTS)
def test_an_amount_comes_back_as_it_went_in(amount: Decimal) -> None:
    money = Money()
    assert money.process_result_value(bound(money, amount), None) == amount  # type: ignore[arg-type]


@given(st.decimals(-9_000_000_000, 9_000_000_000, places=12))
def test_what_is_finer_than_the_scale_is_refused(value: Decimal) -> None:
    if value % NANO == 0:
        assert scaled(value, 9) * NANO == value
    else:
        with pytest.raises(ValueError, match="finer"):
            scaled(value, 9)


@pytest.mark.parametrize("value", [1.0, 0.1, "1", True, b"1", float("nan")])
def test_only_decimals_and_whole_numbers_are_money(value: object) -> None:
    with pytest.raises(TypeError):
        bound(Money(), value)


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity", "1e300", "1e-300"])
def test_what_is_no_amount_is_refused(value: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        bound(Money(), Decimal(value))


@pytest.mark.parametrize("type_", [Money(), Quantity(), Percent()])
def test_the_range_is_that_of_64_bits(type_: FixedPoint) -> None:
    step = Decimal(1).scaleb(-type_.scale)
    limit = (2**63 - 1) * step
    assert bound(type_, limit) == 2**63 - 1
    assert bound(type_, -limit) == -(2**63) + 1
    for beyond in (limit + step, -limit - step):
        with pytest.raises(OverflowError):
            bound(type_, beyond)


def test_refuses_multiplication_and_division_in_sql() -> None:
    for build in (
        lambda: USED * 2,
        lambda: USED / 2,
        lambda: USED // 2,
        lambda: USED % 2,
        lambda: 2 * USED,
        lambda: Decimal(2) / USED,
        lambda: func.sum(USED) * 2,
        lambda: (USED + Decimal(1)) * 2,
        lambda: USED + 1.5,
        lambda: USED == 0.1,
        lambda: USED > 0.1,
    ):
        with pytest.raises(TypeError):
            build()


def test_comparison_and_sums_in_sql_keep_the_scale(ledger: Ledger) -> None:
    pool(ledger, "openai")
    spend(ledger, "12.340000001")
    with reading(ledger.database) as session:
        run = session.connection().execute
        assert run(select(USED + Decimal("0.000000001"))).scalar_one() == Decimal("12.340000002")
        assert run(select(USED - Decimal(13))).scalar_one() == Decimal("-0.659999999")
        assert run(select(Decimal(13) - USED)).scalar_one() == Decimal("0.659999999")
        assert run(select(func.sum(USED))).scalar_one() == Decimal("12.340000001")
        assert run(select(func.max(USED))).scalar_one() == Decimal("12.340000001")
        assert run(select(func.coalesce(func.sum(USED), Decimal(7)))).scalar_one() == Decimal("12.340000001")
        for condition, holds in (
            (Decimal("12.340000001") == USED, True),
            (Decimal("12.34") < USED, True),
            (Decimal("12.340000001") > USED, False),
            (USED.between(Decimal(12), Decimal(13)), True),
            (USED.in_([Decimal("12.340000001")]), True),
        ):
            assert (run(select(USED).where(condition)).first() is not None) is holds


@pytest.mark.parametrize("value", [0.1, Decimal("1e-10"), "1"])
def test_no_statement_takes_what_is_not_exact(ledger: Ledger, value: object) -> None:
    pool(ledger, "openai")
    statement = update(table_of(ResourcePool)).values(used_amount=value)
    with pytest.raises(StatementError), ledger.database.writing() as session:
        session.connection().execute(statement)
    assert query(ledger, "SELECT used_amount FROM resource_pools") == [(0,)]


def test_a_sum_beyond_the_ledger_is_an_error_and_nothing_is_half_written(ledger: Ledger) -> None:
    pool(ledger, "openai")
    spend(ledger, LEDGER_LIMIT - NANO, user_id="alice", request_id="first")
    before = query(ledger, "SELECT * FROM user_quotas"), query(ledger, "SELECT * FROM daily_cost_stats")
    with pytest.raises(Refused, match="range"):
        spend(ledger, 2 * NANO, user_id="bob", request_id="second")
    assert query(ledger, "SELECT request_id FROM usage_records") == [("first",)]
    assert (query(ledger, "SELECT * FROM user_quotas"), query(ledger, "SELECT * FROM daily_cost_stats")) == before
    spend(ledger, NANO, user_id="alice", request_id="third")
    assert query(ledger, "SELECT used_amount FROM resource_pools") == [(2**63 - 1,)]


def test_a_batch_that_overflows_leaves_nothing(ledger: Ledger) -> None:
    from billing_console.services.metering import record_usage

    pool(ledger, "openai")
    with pytest.raises(Refused, match="range"):
        record_usage(ledger, [usage(cost_amount=LEDGER_LIMIT), usage(cost_amount=NANO)])
    assert query(ledger, "SELECT count(*) FROM usage_records") == [(0,)]
    assert query(ledger, "SELECT count(*) FROM user_quotas") == [(0,)]


def test_raw_sql_cannot_make_an_amount_a_float(ledger: Ledger) -> None:
    pool(ledger, "openai", "5")
    with pytest.raises(Exception, match=r"(?i)check constraint|out of range"):
        execute(ledger, "UPDATE resource_pools SET used_amount = 9223372036854775807 + total_balance")
    assert query(ledger, "SELECT used_amount FROM resource_pools") == [(0,)]


def test_a_counter_in_its_own_table_is_exact(ledger: Ledger) -> None:
    """Adding a nano a thousand times to a balance of billions, where a float would lose every one of them."""
    pool(ledger, "openai")
    spend(ledger, "9000000000")
    add = update(table_of(ResourcePool)).values(used_amount=USED + NANO)

    def work(session: Any) -> None:
        for _ in range(1000):
            session.connection().execute(add)

    in_transaction(ledger.database, work)
    assert query(ledger, "SELECT used_amount FROM resource_pools") == [(9_000_000_000_000_001_000,)]


def test_a_million_costs_add_up_exactly(ledger: Ledger) -> None:
    """The sums that SQL makes of 1,000,000 costs equal those that Decimal makes, by model and in all."""
    generator = random.Random(20260310)
    nanos = [generator.randrange(10 ** generator.randrange(1, 13)) for _ in range(1_000_000)]
    costs = [Decimal(nano).scaleb(-9) for nano in nanos]
    table = Table("costs", MetaData(), Column("model", Integer, nullable=False), Column("cost", Money, nullable=False))
    with ledger.database.writing() as session:
        table.create(session.connection())
        rows = [(position % 7, scaled(cost, Money.scale)) for position, cost in enumerate(costs)]
        driver: Any = session.connection().connection.driver_connection
        if is_sqlite(session):
            driver.executemany("INSERT INTO costs VALUES (?, ?)", rows)
        else:
            with driver.cursor().copy("COPY costs FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
    with reading(ledger.database) as session:
        run = session.connection().execute
        assert run(select(func.sum(table.c.cost))).scalar_one() == exact_sum(costs)
        grouped = run(select(table.c.model, func.sum(table.c.cost)).group_by(table.c.model))
        assert {row[0]: row[1] for row in grouped} == {model: exact_sum(costs[model::7]) for model in range(7)}


def test_a_large_batch_through_the_type_adds_up(ledger: Ledger) -> None:
    generator = random.Random(7)
    costs = [Decimal(generator.randrange(10**12)).scaleb(-9) for _ in range(20_000)]
    table = Table("costs", MetaData(), Column("id", Integer, primary_key=True), Column("cost", Money))
    with ledger.database.writing() as session:
        table.create(session.connection())
        session.connection().execute(insert(table), [{"cost": cost} for cost in costs])
        assert session.connection().execute(select(func.sum(table.c.cost))).scalar_one() == exact_sum(costs)
        back = session.connection().execute(select(table.c.cost).order_by(table.c.id)).scalars().all()
        assert list(back) == costs


def test_usage_is_a_whole_number_of_millionths(ledger: Ledger) -> None:
    usage_column: Any = table_of(DailyCostStat).c.total_usage
    spend(ledger, "1", quantity=Decimal("0.000001"), usage_type=UsageType.VIDEO_GENERATION)
    with reading(ledger.database) as session:
        assert session.connection().execute(select(usage_column)).scalar_one() == Decimal("0.000001")
