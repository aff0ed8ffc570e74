"""Which grant paid for what: the replay against a naive simulation that keeps every yuan apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing_console.services.quota_lots import Coming, Due, Row, due, replay

START = datetime(2026, 3, 1, tzinfo=UTC)


def hour(number: int) -> datetime:
    return START + timedelta(hours=number)


@dataclass
class Coin:
    """One yuan of a grant."""

    expires: int | None
    grant: int


class Naive:
    """A quota as a purse of single coins, looked at hour by hour."""

    def __init__(self) -> None:
        self.coins: list[Coin] = []
        self.debt = 0

    def give(self, grant: int, amount: int, expires: int | None) -> None:
        paid = min(self.debt, amount)
        self.debt -= paid
        self.coins += [Coin(expires, grant)] * (amount - paid)

    def take(self, amount: int) -> None:
        self.coins.sort(key=lambda coin: (coin.expires is None, coin.expires or 0, coin.grant))
        self.debt += max(0, amount - len(self.coins))
        del self.coins[:amount]

    def expire(self, now: int) -> dict[int, int]:
        gone = [coin.grant for coin in self.coins if coin.expires is not None and coin.expires <= now]
        self.coins = [coin for coin in self.coins if coin.expires is None or coin.expires > now]
        return {grant: gone.count(grant) for grant in gone}

    @property
    def left(self) -> dict[int, Decimal]:
        grants = [coin.grant for coin in self.coins]
        return {grant: Decimal(grants.count(grant)) for grant in grants}


Step = tuple[str, int, int]
GRANT = st.tuples(st.just("grant"), st.integers(1, 9), st.integers(0, 12))
STEPS = st.lists(
    st.one_of(
        GRANT,
        st.tuples(st.just("use"), st.integers(1, 9), st.just(0)),
        st.tuples(st.just("revoke"), st.integers(1, 9), st.just(0)),
        st.tuples(st.just("timer"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@given(STEPS, st.booleans())
def test_the_replay_agrees_with_a_purse_of_coins(steps: list[Step], old: bool) -> None:
    """An hour a step. What is due is booked before each row, and at any hour by a timer that may come late."""
    naive, rows, uses = Naive(), list[Row](), list[tuple[datetime, int]]()

    def used_at(instant: datetime) -> Decimal:
        return Decimal(sum(cost for at, cost in uses if at < instant))

    def write(found: list[Due]) -> None:
        ids: dict[int, int] = {}
        for number, one in enumerate(found, 1):
            assert one.amount
            ids[-number] = len(rows) + 1
            named = None if one.expires_id is None else ids.get(one.expires_id, one.expires_id)
            rows.append(Row(len(rows) + 1, one.amount, one.used_before, one.expires_at, named))

    now = 0
    for now, (kind, amount, length) in enumerate(steps, 1):
        naive.expire(now)
        used = used_at(hour(now + 1))
        if kind == "use":
            naive.take(amount)
            uses.append((hour(now), amount))
        elif kind == "timer":
            write(due(rows, (), used_at, hour(now)))
        elif kind == "grant":
            write(due(rows, (), used_at, hour(now)))
            expires = now + length if length and not old else None
            naive.give(len(rows) + 1, amount, expires)
            before = None if old else used
            rows.append(Row(len(rows) + 1, Decimal(amount), before, None if expires is None else hour(expires)))
        else:
            write(due(rows, (), used_at, hour(now)))
            amount = min(amount, len(naive.coins))
            if amount:
                naive.take(amount)
                rows.append(Row(len(rows) + 1, Decimal(-amount), None if old else used, None))
        pending = due(rows, (), used_at, hour(now))
        granted = sum((row.amount for row in rows), Decimal(0)) + sum((one.amount for one in pending), Decimal(0))
        assert granted - used_at(hour(now + 1)) == len(naive.coins) - naive.debt
    write(due(rows, (), used_at, hour(now)))
    books = replay(rows, used_at(hour(now + 1)))
    assert books.debt == naive.debt and all(left > 0 for left in books.left.values())
    assert sum(books.left.values()) == len(naive.coins)
    if not old:
        assert books.left == naive.left
    assert due(rows, (), used_at, hour(now)) == []


def test_what_expires_first_is_used_first_and_its_rest_is_taken_once() -> None:
    rows = [
        Row(1, Decimal(10), Decimal(0), None),
        Row(2, Decimal(5), Decimal(0), hour(3)),
        Row(3, Decimal(5), Decimal(0), hour(2)),
    ]
    assert replay(rows, Decimal(7)).left == {1: Decimal(10), 2: Decimal(3)}

    def used_at(instant: datetime) -> Decimal:
        return Decimal(1) if instant <= hour(2) else Decimal(2)

    assert due(rows, (), used_at, hour(1)) == []
    found = due(rows, (), used_at, hour(3))
    assert [(one.expires_id, int(one.amount), int(one.used_before)) for one in found] == [(3, -4, 1), (2, -4, 2)]


def test_periods_that_nobody_booked_are_given_and_ended_one_after_the_other() -> None:
    coming = [Coming(f"k{number}", hour(number), Decimal(5), hour(number + 1)) for number in range(3)]

    def used_at(instant: datetime) -> Decimal:
        return Decimal(2 * ((instant - START) // timedelta(hours=1)))

    found = due([], coming, used_at, hour(2))
    assert [(one.key, int(one.amount), one.expires_id) for one in found] == [
        ("k0", 5, None),
        ("", -3, -1),
        ("k1", 5, None),
        ("", -3, -3),
        ("k2", 5, None),
    ]
    assert sum(one.amount for one in found) - used_at(hour(2)) == 5


def test_a_counter_that_was_corrected_downwards_gives_nothing_back() -> None:
    rows = [Row(1, Decimal(10), Decimal(0), hour(9)), Row(2, Decimal(1), Decimal(8), None)]
    assert replay(rows, Decimal(3)).left == {1: Decimal(2), 2: Decimal(1)}
