"""The contract of docs/sql-gateways.md, run as it is written: its examples, its grants and each of its refusals."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import Settled, settle
from billing_console.services.usage import UsageFilter, usage_page
from db.engine import parse_url
from db.values import CallStatus
from tests.conftest import OpenLedger
from tests.factories import NOON, execute, gateway_insert, pool, price, query, stored

PAGE = (Path(__file__).parents[1] / "docs" / "sql-gateways.md").read_text()


def statements(language: str) -> list[str]:
    """The statements of one block of the page."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [part.strip() for part in block.split(";") if part.strip()]


def run(url: str, script: list[str]) -> None:
    """Run statements as a gateway does: on one connection of the bare driver, as they are written."""
    parsed = parse_url(url)
    if parsed.drivername.startswith("sqlite"):
        with closing(sqlite3.connect(str(parsed.database), isolation_level=None)) as file:
            for statement in script:
                file.execute(statement)
        return
    server = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in script:
            connection.execute(statement.encode())


def example(url: str) -> list[str]:
    return statements("sqlite" if url.startswith("sqlite") else "postgresql")


def counted(ledger: Ledger) -> None:
    """What the examples come to."""
    rows = {row.request_id: row for row in usage_page(ledger, UsageFilter()).rows}
    assert sorted(rows) == ["req-1", "req-2", "req-3"]
    assert (rows["req-1"].created_at, rows["req-1"].cost_amount) == (NOON, Decimal("0.0063"))
    assert (rows["req-2"].quantity, rows["req-2"].cost_amount) == (Decimal(2), Decimal("0.56"))
    assert (rows["req-3"].status, rows["req-3"].error_message) == (CallStatus.FAILED, "timeout")
    assert rows["req-3"].cost_amount == 0
    assert get_pool(ledger, "openai").used_amount == Decimal("0.5663")
    assert query(ledger, "SELECT user_id, used_amount FROM user_quotas ORDER BY user_id") == [
        ("alice", 6_300_000),
        ("bob", 560_000_000),
    ]
    assert reconcile(ledger) == ()


def test_the_example_runs_as_it_is_written_and_counts_once_however_often(database_url: str, ledger: Ledger) -> None:
    pool(ledger, amount="10")
    price(ledger, cached_input_price=Decimal(0))
    run(database_url, example(database_url))
    assert get_pool(ledger, "openai").available_balance == Decimal("9.44")
    assert settle(ledger) == Settled(counted=3, unpriced=0)
    counted(ledger)
    run(database_url, example(database_url))
    assert settle(ledger) == Settled(counted=0, unpriced=0)
    counted(ledger)


def test_a_role_with_these_grants_adds_calls_and_does_nothing_else(postgres_url: str, opened: OpenLedger) -> None:
    owner = opened(postgres_url)
    price(owner, cached_input_price=Decimal(0))
    role = f"gateway_{str(owner.database.url.database)[-12:]}"
    for statement in statements("postgresql-grants"):
        execute(owner, statement.replace("billing_gateway", role))
    gateway = parse_url(postgres_url).set(username=role).render_as_string(hide_password=False)
    try:
        run(gateway, example(gateway))
        run(gateway, example(gateway))
        assert settle(owner).counted == 3
        counted(owner)
        for refused in (
            "SELECT * FROM usage_records",
            "UPDATE usage_records SET cost_amount = 0",
            "DELETE FROM usage_outbox",
            "SELECT * FROM api_tokens",
            insertion(owner, counted_by_settler="false"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                run(gateway, [refused])
    finally:
        execute(owner, f'DROP OWNED BY "{role}"')
        execute(owner, f'DROP ROLE "{role}"')


def refusals() -> list[tuple[str, str, str]]:
    """What the page says is refused, and by each engine with which words."""
    section = PAGE.partition("## What is refused")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(.*?)`.* \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    return [(change, sqlite, postgresql) for change, sqlite, postgresql in rows]


def test_the_page_names_all_refusals() -> None:
    assert len(refusals()) == 19


@pytest.mark.parametrize(("change", "sqlite", "postgresql"), refusals())
def test_what_the_page_says_is_refused_is(ledger: Ledger, change: str, sqlite: str, postgresql: str) -> None:
    gateway_insert(ledger, request_id="there", cost_amount=1)
    said = sqlite if ledger.database.is_sqlite else postgresql
    script = {
        "UPDATE": "UPDATE usage_records SET user_id = 'other'",
        "DELETE": "DELETE FROM usage_records",
        "request_id": insertion(ledger, request_id="'there'"),
    }.get(change) or insertion(ledger, **dict([change.split(" = ", 1)]))
    before = query(ledger, "SELECT count(*) FROM usage_records")
    if said.startswith("`"):
        with pytest.raises(DBAPIError, match=re.escape(said.strip("`"))):
            execute(ledger, script)
        assert query(ledger, "SELECT count(*) FROM usage_records") == before
    else:
        execute(ledger, script)
        assert settle(ledger).counted == 2


@pytest.mark.parametrize("column", re.findall(r"^\| `(\w+)` \| \w+ \| refused \|", PAGE, re.MULTILINE))
def test_what_the_page_says_must_be_there_must(ledger: Ledger, column: str) -> None:
    words = "NOT NULL constraint failed"
    if not ledger.database.is_sqlite:
        words = "no partition of relation" if column == "created_at" else "violates not-null constraint"
    with pytest.raises(DBAPIError, match=words):
        execute(ledger, insertion(ledger, **{column: "NULL"}))


def insertion(ledger: Ledger, **changes: str) -> str:
    """One row, with literals."""
    row = {
        "request_id": "'r'",
        "provider_id": "'openai'",
        "model_id": "'gpt-4o'",
        "usage_type": "'text_generation'",
        "status": "'success'",
        "created_at": f"'{stored(NOON, ledger)}'",
    } | changes
    return f"INSERT INTO usage_records ({', '.join(row)}) VALUES ({', '.join(row.values())})"


def test_the_columns_are_those_of_the_table(ledger: Ledger) -> None:
    named = set(re.findall(r"^\| `(\w+)` \| (?:text|instant|whole number) \|", PAGE, re.MULTILINE))
    own = {"id", "price_id", "import_id", "counted_by_settler"}
    with ledger.database.reading() as session:
        columns = set(session.connection().execute(text("SELECT * FROM usage_records")).keys())
    assert named | own == columns and all(f"`{name}`" in PAGE for name in own)
