"""Pages of usage records: exactly what a filter of all rows in Python gives, in order, by index seeks alone."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest

from billing_console.errors import InvalidInput, NotFound
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.usage import UsageFilter, UsageRow, usage_details, usage_page
from billing_console.services.usage_filter import Position
from billing_console.services.usage_totals import UsageTotals, count_usage, usage_totals
from db.values import CallStatus, UsageType
from tests.factories import NOON, gateway_insert, query, spend, usage

TEXT, IMAGE, *_REST = UsageType
HOUR = timedelta(hours=1)
USERS = ["alice", "bob", None]
PROVIDERS = ["openai", "azure", "gateway only"]
MODELS = ["gpt-4o", "o3", "x"]


def fill(ledger: Ledger) -> None:
    """Write 150 records over 12 instants, so that most share theirs with others; the newest are not settled."""
    dice = random.Random(20260310)
    calls = [
        usage(
            user_id=dice.choice(USERS),
            provider_id=dice.choice(PROVIDERS[:2]),
            model_id=dice.choice(MODELS[:2]),
            usage_type=dice.choice([TEXT, TEXT, IMAGE]),
            status=dice.choice([CallStatus.SUCCESS, CallStatus.SUCCESS, CallStatus.FAILED]),
            created_at=NOON + dice.randrange(12) * HOUR,
            quantity=Decimal(1),
            cost_amount=Decimal(dice.randrange(10**10)).scaleb(-9),
        )
        for _ in range(140)
    ]
    record_usage(ledger, calls)
    for number in range(10):
        gateway_insert(
            ledger,
            user_id=USERS[number % 3],
            provider_id=PROVIDERS[2 - number % 2],
            model_id=MODELS[2 - number % 3],
            status="failed" if number % 4 == 0 else "success",
            created_at=NOON + number * HOUR,
            cost_amount=number,
        )


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    fill(ledger)
    return ledger


def every_row(ledger: Ledger) -> list[UsageRow]:
    """All rows, newest first, by an order made in Python."""
    ids = [row[0] for row in query(ledger, "SELECT id FROM usage_records")]
    rows = [usage_details(ledger, number).row for number in ids]
    return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)


def matches(row: UsageRow, chosen: UsageFilter) -> bool:
    names = ("user_id", "provider_id", "model_id", "usage_type", "status")
    wanted = [(getattr(chosen, name), getattr(row, name), name in chosen.negated) for name in names]
    after_start = chosen.start is None or row.created_at >= chosen.start
    before_end = chosen.end is None or row.created_at < chosen.end
    return (
        after_start
        and before_end
        and all(want is None or (want == found) is not negated for want, found, negated in wanted)
    )


def every_filter() -> Iterator[UsageFilter]:
    times = [(None, None), (NOON + HOUR, NOON + 7 * HOUR), (None, NOON + 2 * HOUR)]
    for user, provider, model, kind, status, (start, end) in product(
        [None, "alice", "nobody"],
        [None, "openai", "gateway only"],
        [None, "gpt-4o", "x"],
        [None, TEXT, IMAGE],
        [None, CallStatus.FAILED, CallStatus.SUCCESS],
        times,
    ):
        yield UsageFilter(user, provider, model, kind, status, start, end)


def every_negation() -> Iterator[UsageFilter]:
    """Filters with each combination of excluded fields, alone and beside one that is not."""
    fields = {"user_id": "alice", "provider_id": "openai", "model_id": "gpt-4o", "usage_type": IMAGE}
    times = [(None, None), (NOON + HOUR, NOON + 7 * HOUR)]
    for uses, status, (start, end) in product(product((None, False, True), repeat=4), [None, CallStatus.FAILED], times):
        named = {name: value for (name, value), use in zip(fields.items(), uses, strict=True) if use is not None}
        negated = frozenset(name for name, use in zip(fields, uses, strict=True) if use)
        if negated:
            yield UsageFilter(**named, status=status, start=start, end=end, negated=negated)  # type: ignore[arg-type]


def walk(ledger: Ledger, chosen: UsageFilter, limit: int, oldest_first: bool) -> list[UsageRow]:
    """Every page of a filter, one after the other."""
    rows: list[UsageRow] = []
    after = None
    while True:
        page = usage_page(ledger, chosen, limit=limit, after=after, oldest_first=oldest_first)
        assert len(page.rows) == limit or page.next is None
        rows += page.rows
        if page.next is None:
            return rows
        after = page.next


def test_every_combination_of_filters_gives_what_python_gives(filled: Ledger) -> None:
    newest_first = every_row(filled)
    dice = random.Random(1)
    found_something = 0
    for number, chosen in enumerate(every_filter()):
        expected = [row for row in newest_first if matches(row, chosen)]
        oldest_first = number % 2 == 1
        if oldest_first:
            expected.reverse()
        page = usage_page(filled, chosen, oldest_first=oldest_first)
        assert list(page.rows) == expected, chosen
        assert page.next is None
        found_something += bool(expected)
        if dice.random() < 0.05:
            assert walk(filled, chosen, dice.choice([1, 2, 7]), not oldest_first) == expected[::-1], chosen
    assert found_something > 200


def test_what_is_excluded_is_missing_and_nothing_else(filled: Ledger) -> None:
    newest_first = every_row(filled)
    dice = random.Random(2)
    for number, chosen in enumerate(every_negation()):
        expected = [row for row in newest_first if matches(row, chosen)]
        oldest_first = number % 2 == 1
        if oldest_first:
            expected.reverse()
        assert walk(filled, chosen, dice.choice([7, 40, 200]), oldest_first) == expected, chosen
        if chosen.user_id is None and chosen.status is None and chosen.start is None:
            continue  # answered by the daily statistics, which hold what is settled
        totals = usage_totals(filled, chosen)
        cost = sum((row.cost_amount for row in expected), Decimal(0))
        assert (totals.calls, totals.cost, totals.capped) == (len(expected), cost, False), chosen


def test_daily_statistics_leave_out_what_is_excluded(ledger: Ledger) -> None:
    for provider, model, kind in product(["openai", "azure"], ["gpt-4o", "o3"], [TEXT, IMAGE]):
        spend(ledger, "1", provider_id=provider, model_id=model, usage_type=kind, quantity=Decimal(1))
    assert usage_totals(ledger, UsageFilter(provider_id="azure", negated=frozenset({"provider_id"}))).calls == 4
    assert usage_totals(ledger, UsageFilter("bob", "azure", negated=frozenset({"provider_id", "user_id"}))).calls == 4
    both = UsageFilter(model_id="o3", usage_type=IMAGE, negated=frozenset({"model_id", "usage_type"}))
    assert (usage_totals(ledger, both).calls, usage_totals(ledger, both).cost) == (2, Decimal(2))


def test_totals_know_more_than_they_count(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_console.services.usage_totals.COUNT_CAP", 5)
    for number in range(48):
        spend(ledger, "1", user_id="alice", created_at=NOON + number * HOUR)
    alice = UsageFilter(user_id="alice")
    assert usage_totals(ledger, UsageFilter()) == UsageTotals(48, 0, 48 * 150, Decimal(48))
    assert (usage_totals(ledger, alice).calls, usage_totals(ledger, alice).capped) == (5, True)
    for _number in range(7):
        spend(ledger, "0", user_id="bob", status=CallStatus.FAILED)
    failed = usage_totals(ledger, UsageFilter(user_id="bob"))
    assert (failed.calls, failed.failures, failed.capped) == (5, 5, True)
    # Noon to noon: a day the statistics know, and on each side hours that are counted.
    for before, after in ((4, 4), (5, 0), (0, 5)):
        part = UsageFilter(start=NOON + (12 - before) * HOUR, end=NOON + (36 + after) * HOUR)
        assert usage_totals(ledger, part) == UsageTotals(
            24 + before + after, 0, 150 * (24 + before + after), Decimal(24 + before + after)
        )
    assert usage_totals(ledger, UsageFilter(start=NOON + 2 * HOUR)).capped
    within = UsageFilter(start=NOON + HOUR, end=NOON + 4 * HOUR)
    assert usage_totals(ledger, within).calls == 3
    assert usage_totals(ledger, UsageFilter(start=datetime(9999, 12, 31, tzinfo=UTC))).calls == 0


def test_counting_everything_grows_to_the_exact_totals(filled: Ledger) -> None:
    newest_first = every_row(filled)
    for chosen in (
        UsageFilter(user_id="alice"),
        UsageFilter(status=CallStatus.FAILED),
        UsageFilter(user_id="alice", negated=frozenset({"user_id"})),
        UsageFilter(user_id="bob", start=NOON + HOUR, end=NOON + 7 * HOUR),
        UsageFilter(user_id="nobody"),
        UsageFilter(user_id="alice", start=NOON + 90 * HOUR),
    ):
        rows = [row for row in newest_first if matches(row, chosen)]
        *growing, last = count_usage(filled, chosen)
        assert (last.calls, last.capped) == (len(rows), False)
        assert last.cost == sum((row.cost_amount for row in rows), Decimal(0))
        assert last.failures == sum(row.status is CallStatus.FAILED for row in rows)
        assert all(total.capped for total in growing)
        assert [total.calls for total in growing] == sorted(total.calls for total in growing)
    assert next(count_usage(filled, UsageFilter(user_id="alice"))).calls == 0, "it can be stopped before it is done"


def test_counting_an_empty_ledger_ends_at_nothing(ledger: Ledger) -> None:
    assert list(count_usage(ledger, UsageFilter(user_id="alice"))) == [UsageTotals()]


def test_pages_of_any_size_over_equal_times_neither_skip_nor_repeat(filled: Ledger) -> None:
    newest_first = every_row(filled)
    for oldest_first, expected in ((False, newest_first), (True, newest_first[::-1])):
        for limit in (3, 50, 149, 150, 151):
            assert walk(filled, UsageFilter(), limit, oldest_first) == expected
        for chosen in (UsageFilter(model_id="o3"), UsageFilter(user_id="bob"), UsageFilter(usage_type=IMAGE)):
            assert walk(filled, chosen, 3, oldest_first) == [row for row in expected if matches(row, chosen)]


def test_from_any_row_one_can_page_both_ways(filled: Ledger) -> None:
    newest_first = every_row(filled)
    for place in (0, 1, 70, 148, 149):
        cursor = newest_first[place].cursor
        older = usage_page(filled, UsageFilter(), after=cursor).rows
        newer = usage_page(filled, UsageFilter(), after=cursor, oldest_first=True).rows
        assert list(older) == newest_first[place + 1 :]
        assert list(newer) == newest_first[:place][::-1]


def test_a_row_that_arrives_between_two_pages_shifts_nothing(filled: Ledger) -> None:
    newest_first = every_row(filled)
    page = usage_page(filled, UsageFilter(), limit=10)
    spend(filled, "1", created_at=NOON + 100 * HOUR)
    assert list(usage_page(filled, UsageFilter(), limit=10, after=page.next).rows) == newest_first[10:20]


def test_a_cursor_kept_from_another_filter_never_leads_out_of_the_range(filled: Ledger) -> None:
    newest_first = every_row(filled)
    for start, end in ((NOON + 3 * HOUR, NOON + 6 * HOUR), (None, NOON + 6 * HOUR), (NOON + 3 * HOUR, None)):
        for place in (0, 40, 75, 110, 149):
            cursor = newest_first[place].cursor
            for base in (UsageFilter(), UsageFilter(model_id="o3"), UsageFilter(user_id="alice")):
                chosen = replace(base, start=start, end=end)
                older = [row for row in newest_first[place + 1 :] if matches(row, chosen)]
                newer = [row for row in newest_first[:place][::-1] if matches(row, chosen)]
                assert list(usage_page(filled, chosen, after=cursor).rows) == older
                assert list(usage_page(filled, chosen, after=cursor, oldest_first=True).rows) == newer


def spelled(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


NO_CURSORS = [
    "",
    "x",
    "====",
    "游标",
    "\ud800",
    "\x1b[2J",
    "A" * 10_000,
    spelled("2026-03-10T04:00:00+00:00"),
    spelled("2026-03-10T04:00:00|1"),  # no zone
    spelled("2026-03-10T04:00:00+00:00|"),
    spelled("2026-03-10T04:00:00+00:00|-1"),
    spelled("2026-03-10T04:00:00+00:00|9223372036854775808"),
    spelled("2026-03-10T04:00:00+00:00|1|2"),
    spelled("0001-01-01T00:00:00+14:00|1"),  # before the first instant of UTC
    spelled("9999-12-31T23:59:59-14:00|1"),
    spelled("10000-01-01T00:00:00+00:00|1"),
    spelled("'; DROP TABLE usage_records; --|1"),
]


def test_what_is_no_cursor_is_refused(ledger: Ledger) -> None:
    spend(ledger, "1")
    for cursor in NO_CURSORS:
        for oldest_first in (False, True):
            with pytest.raises(InvalidInput, match="not a cursor") as refused:
                usage_page(ledger, UsageFilter(), after=cursor, oldest_first=oldest_first)
            assert refused.value.field == "after"
            assert refused.value.message.isprintable()


def test_a_cursor_says_where_it_stands_in_any_zone() -> None:
    position = Position(datetime.fromisoformat("2026-03-10T12:00:00.000001+08:00"), 2**63 - 1)
    assert Position.decode(position.encode()) == position
    assert Position.decode(position.encode()).created_at.tzinfo is UTC


def test_an_unknown_record_is_not_found(ledger: Ledger) -> None:
    for record_id in (0, -1, 4711, 2**63 - 1, 2**63, 10**30):
        with pytest.raises(NotFound, match="usage list"):
            usage_details(ledger, record_id)


def test_totals_are_those_of_the_rows(filled: Ledger) -> None:
    newest_first = every_row(filled)
    for chosen in list(every_filter())[::5]:
        if chosen.user_id is None and chosen.status is None:
            continue  # answered by the daily statistics, which hold what is settled
        rows = [row for row in newest_first if matches(row, chosen)]
        totals = usage_totals(filled, chosen)
        assert (totals.calls, totals.failures, totals.cost, totals.capped) == (
            len(rows),
            sum(row.status is CallStatus.FAILED for row in rows),
            sum((row.cost_amount for row in rows), Decimal(0)),
            False,
        )
        assert totals.tokens == sum(int(row.usage) for row in rows if row.usage_type is TEXT)
