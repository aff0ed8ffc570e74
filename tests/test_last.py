"""What a transaction does last is done in order and with it, or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session

from billing_console.services.ledger import Ledger
from db.last import Statement, at_last, run_last
from db.prepared import addition, by_column
from db.schema import UserQuota
from tests.conftest import OpenLedger
from tests.factories import execute, query

MAKE = "CREATE TABLE steps (step INTEGER PRIMARY KEY)"


def step(number: int) -> Statement:
    """Spell a step so much after the last one that the sums show the order; of 0, one that cannot be made."""
    return f"INSERT INTO steps SELECT coalesce(max(step), 0) + {number} FROM steps", ()


def steps(ledger: Ledger) -> list[int]:
    return [number for (number,) in query(ledger, "SELECT step FROM steps ORDER BY step")]


def test_it_is_done_in_order_when_the_transaction_ends_or_earlier_where_it_is_read(ledger: Ledger) -> None:
    execute(ledger, MAKE)

    def seen(session: Session) -> list[int]:
        return [number for (number,) in session.connection().exec_driver_sql("SELECT step FROM steps ORDER BY step")]

    with ledger.database.writing() as session:
        at_last(session, step(1), step(10))
        assert seen(session) == []
        run_last(session)
        assert seen(session) == [1, 11]
        at_last(session, step(100))
        at_last(session, step(1000))
        assert seen(session) == [1, 11]
    assert steps(ledger) == [1, 11, 111, 1111]
    with ledger.database.reading() as session:
        assert seen(session) == [1, 11, 111, 1111]


def test_one_that_fails_takes_the_whole_transaction_with_it(ledger: Ledger) -> None:
    execute(ledger, MAKE)
    with pytest.raises(IntegrityError), ledger.database.writing() as session:
        session.connection().exec_driver_sql(step(1)[0])
        at_last(session, step(1), step(0), step(1))
    assert steps(ledger) == []
    with pytest.raises(RuntimeError), ledger.database.writing() as session:
        at_last(session, step(1))
        raise RuntimeError
    assert steps(ledger) == []
    with ledger.database.writing() as session:
        at_last(session, step(1))
    assert steps(ledger) == [1]


def test_a_connection_lost_meanwhile_is_an_error_that_says_so(postgres_url: str, opened: OpenLedger) -> None:
    ledger = opened(postgres_url)
    execute(ledger, MAKE)
    with pytest.raises(OperationalError) as lost, ledger.database.writing() as session:
        at_last(session, step(1), ("SELECT pg_terminate_backend(pg_backend_pid())", ()))
    assert lost.value.connection_invalidated
    assert steps(ledger) == []


def test_rows_are_added_to_where_they_are_there_and_made_where_not(ledger: Ledger) -> None:
    def add(*costs: tuple[str, str]) -> None:
        moment = ledger.clock()
        with ledger.database.writing() as session:
            rows = by_column(
                [
                    {"user_id": user, "used_amount": Decimal(cost), "created_at": moment, "updated_at": moment}
                    for user, cost in costs
                ]
            )
            at_last(session, addition(session, UserQuota, rows, ["user_id"], ["used_amount"], ["updated_at"]))

    add(("a", "1"), ("c", "2"))
    add(("a", "0.5"), ("b", "3"), ("c", "0"), ("d", "4"))
    used = query(ledger, "SELECT user_id, used_amount, used_check FROM user_quotas ORDER BY user_id")
    assert [(user, Decimal(cost) / 10**9, cost + check) for user, cost, check in used] == [
        ("a", Decimal("1.5"), 0),
        ("b", Decimal(3), 0),
        ("c", Decimal(2), 0),
        ("d", Decimal(4), 0),
    ]
