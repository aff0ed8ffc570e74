"""Build a ledger of any size for measurements; the same for the same number of calls.

    python -m bench.ledger --rows 1000000 sqlite:////tmp/1m.db

The calls spread evenly over 180 days that end at a fixed instant, over 5,000 users of whom few call often, over the
demo's models and prices; two in a hundred fail. They are written by the database itself, so that ten million take
minutes; the audit log does not vouch for them, all else is as the services would have left it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection

from billing_console.demo.build import RATE
from billing_console.demo.mix import OFFERS, PROVIDERS
from billing_console.demo.traffic import DATA
from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.maintenance import make_partitions
from billing_console.services.price_import import import_prices
from billing_console.services.prices import list_prices
from billing_console.services.recharges import recharge
from billing_console.services.setup import init
from db.partitions import know_requests
from db.values import PriceUnit, UsageType

END = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
SPAN = timedelta(days=180)
USERS = 5000
SLOTS = 997
"""How many turns the models share; a prime, so that it has no rhythm in common with users and failures."""

HASH = "((n * 2654435761) % 4294967296)"
"""Knuth's multiplicative hash: spreads neighbours, alike on both engines, and stays within 64 bits to 3e9 rows."""

INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'usage_records' AND sql > ''",
    "postgresql": "SELECT indexname, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes"
    " WHERE tablename = 'usage_records' AND indexname LIKE 'ix_%%'",
}


def build(url: str, rows: int) -> None:
    """Create a ledger at `url` with this many calls; raises Conflict where there is one already."""
    init(url, demo=True)
    ledger = open_ledger(url, durable=False)
    try:
        start = replace(ledger, clock=lambda: END - SPAN)
        import_prices(start, DATA / "prices.csv", currency="USD", rate=RATE)
        engine = "sqlite" if ledger.database.is_sqlite else "postgresql"
        with ledger.database.writing() as session:
            connection = session.connection()
            if not ledger.database.is_sqlite:
                make_partitions(session, ledger.timezone, END, (END - SPAN).date())
            _mix(connection, ledger)
            indexes = connection.exec_driver_sql(INDEXES[engine]).all()
            for name, _definition in indexes:
                connection.exec_driver_sql(f"DROP INDEX {name}")
            _calls(connection, engine, rows)
            for _name, definition in indexes:
                connection.exec_driver_sql(definition)
            if not ledger.database.is_sqlite:
                know_requests(session)
            _counters(connection, engine)
        with ledger.database.writing() as session:
            session.connection().exec_driver_sql("ANALYZE")
            used = session.connection().exec_driver_sql("SELECT provider_id, used_amount FROM resource_pools").all()
        for number, (provider, nano) in enumerate(sorted(used)):
            paid = Decimal(int(nano)).scaleb(-9) * (100 + number * 40) / 100 + 1
            recharge(start, provider, paid.quantize(Decimal("0.01")), reference=f"BT-{number}", key=f"bench-{number}")
        check_pools(replace(ledger, clock=lambda: END))
    finally:
        ledger.close()


def _mix(connection: Connection, ledger: Ledger) -> None:
    """Give each turn a model with the prices of its input and output in 1e-15 yuan a token, or its price a unit."""
    prices = {(p.provider_id, p.model_id, p.usage_type): p for p in list_prices(ledger) if p.provider_id in PROVIDERS}
    offers = [offer for offer in OFFERS if (offer.provider_id, offer.model_id, offer.usage_type) in prices]
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE mix (slot INTEGER PRIMARY KEY, provider_id TEXT, model_id TEXT, usage_type TEXT,"
        " input_price BIGINT, output_price BIGINT, unit_price BIGINT, price_id BIGINT)"
    )
    total = sum(offer.share for offer in offers)
    taken = 0
    for slot in range(SLOTS):
        while slot >= sum(offer.share for offer in offers[: taken + 1]) * SLOTS / total:
            taken += 1
        offer = offers[taken]
        price = prices[offer.provider_id, offer.model_id, offer.usage_type]
        by_tokens = price.unit is PriceUnit.MILLION_TOKENS
        amounts = [int(amount.scaleb(9)) for amount in (price.input_price, price.output_price)]
        values = [*amounts, 0] if by_tokens else [0, 0, amounts[1] or amounts[0]]
        literals = ", ".join(f"'{text}'" for text in (offer.provider_id, offer.model_id, offer.usage_type))
        numbers = ", ".join(str(value) for value in (*values, price.id))
        connection.exec_driver_sql(f"INSERT INTO mix VALUES ({slot}, {literals}, {numbers})")


def _calls(connection: Connection, engine: str, rows: int) -> None:
    step = SPAN.total_seconds() / rows
    began = int((END - SPAN).timestamp())
    second = f"{began} + CAST(n * {step:.9f} AS BIGINT)"
    if engine == "sqlite":
        numbers = f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})"
        instant, names = (
            f"strftime('%Y-%m-%d %H:%M:%S', {second}, 'unixepoch') || '.000000'",
            "printf('r%012d', n)",
        )
        user = "printf('u-%05d', (h / 7919 % 71) * (h / 104729 % 71))"
    else:
        numbers = f"WITH s AS (SELECT n FROM generate_series(1, {rows}::bigint) AS n)"
        instant, names = f"to_timestamp({second})", "'r' || lpad(n::text, 12, '0')"
        user = "'u-' || lpad(((h / 7919 % 71) * (h / 104729 % 71))::text, 5, '0')"
    text_only = f"usage_type = '{UsageType.TEXT_GENERATION}'"
    failed = "(h % 50 = 0)"
    statement = (
        f"{numbers}, t AS (SELECT n, {HASH} AS h FROM s), c AS (SELECT t.n, t.h, mix.*,"
        f" CASE WHEN {failed} THEN 0 WHEN input_price + output_price > 0 THEN 200 + h % 3000 ELSE 0 END AS i,"
        f" CASE WHEN {failed} THEN 0 WHEN input_price + output_price > 0 THEN 20 + h / 31 % 400 ELSE 0 END AS o,"
        f" CASE WHEN {failed} THEN 0 WHEN {text_only} THEN 0 ELSE 1 + h / 17 % 9 END AS q"
        f" FROM t JOIN mix ON mix.slot = (t.h / 97) % {SLOTS})"
        " INSERT INTO usage_records (request_id, user_id, provider_id, model_id, usage_type, input_tokens,"
        " output_tokens, total_tokens, quantity, cost_amount, price_id, status, error_message, created_at,"
        f" counted_by_settler) SELECT {names}, {user}, provider_id, model_id, usage_type, i, o, i + o, q * 1000000,"
        " (i * input_price + o * output_price) / 1000000 + q * unit_price, price_id,"
        f" CASE WHEN {failed} THEN 'failed' ELSE 'success' END,"
        f" CASE WHEN {failed} THEN 'HTTP 503: Service unavailable, the model is overloaded.' END,"
        f" {instant}, {'0' if engine == 'sqlite' else 'false'} FROM c ORDER BY n"
    )
    # The driver of PostgreSQL takes a single one for a parameter.
    connection.exec_driver_sql(statement if engine == "sqlite" else statement.replace("%", "%%"))


def _counters(connection: Connection, engine: str) -> None:
    day = "date(created_at, '+8 hours')" if engine == "sqlite" else "(created_at AT TIME ZONE 'Asia/Shanghai')::date"
    usage = f"CASE WHEN usage_type = '{UsageType.TEXT_GENERATION}' THEN total_tokens * 1000000 ELSE quantity END"
    end = f"{END:%Y-%m-%d %H:%M:%S.%f}" + ("" if engine == "sqlite" else "+00")
    for statement in (
        "INSERT INTO daily_cost_stats (stat_date, provider_id, model_id, usage_type, total_usage, total_cost,"
        f" call_count, failed_count) SELECT {day}, provider_id, model_id, usage_type, SUM({usage}), SUM(cost_amount),"
        " COUNT(*), SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) FROM usage_records GROUP BY 1, 2, 3, 4",
        "UPDATE resource_pools SET used_amount = (SELECT COALESCE(SUM(total_cost), 0) FROM daily_cost_stats"
        " WHERE daily_cost_stats.provider_id = resource_pools.provider_id)",
        "INSERT INTO user_quotas (user_id, used_amount, created_at, updated_at)"
        f" SELECT user_id, SUM(cost_amount), '{end}', '{end}' FROM usage_records GROUP BY user_id",
    ):
        connection.exec_driver_sql(statement)


def main() -> None:
    """Build the ledger and say how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("url")
    options = parser.parse_args()
    began = time.perf_counter()
    build(options.url, options.rows)
    print(f"{options.rows} calls in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
