"""Burn and outlook: by weekday, honest about short histories, ranges that hold, levels that went back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest

from billing_console.clock import start_of
from billing_console.errors import InvalidInput, NotFound
from billing_console.services.burn import Burn, Emptying, History, burn_of, emptying, history_of, used_within
from billing_console.services.ledger import Ledger
from billing_console.services.outlook import get_outlook, list_outlooks, suggest
from billing_console.services.settlement import settle
from tests.factories import NOON, at, gateway_insert, pay, pool, spend, take_back

SHANGHAI = ZoneInfo("Asia/Shanghai")
TODAY = date(2026, 3, 10)
"""The business day of NOON, a Tuesday."""


def history(days: int, cost: Callable[[date], Decimal | int]) -> History:
    return History(TODAY, tuple(Decimal(cost(TODAY - timedelta(days=ago))) for ago in range(days, 0, -1)))


def weekday_rhythm(day: date) -> int:
    return 100 if day.weekday() < 5 else 10


def burned(found: Burn | None) -> Burn:
    assert found is not None
    return found


def local(instant: datetime | None) -> str:
    assert instant is not None
    return f"{instant.astimezone(SHANGHAI):%m-%d %H:%M}"


# The method


def test_a_steady_rhythm_is_run_down_over_the_weekend_without_a_doubt() -> None:
    burn = burned(burn_of(history(28, weekday_rhythm)))
    assert burn.by_weekday == (*[Decimal(100)] * 5, *[Decimal(10)] * 2)
    assert burn.scatter == 0
    assert burn.per_day == Decimal("74.285714286")
    # Half of Tuesday, Wednesday to Friday, both days of the weekend, then half of Monday.
    empty = emptying(burn, Decimal(50 + 300 + 20 + 50), NOON, SHANGHAI)
    assert empty == Emptying(empty.at, empty.at, empty.at)
    assert local(empty.at) == "03-16 12:00"
    assert used_within(burn, 7, NOON, SHANGHAI) == (Decimal(520), Decimal(520))


def test_the_days_at_the_start_of_the_clocks_summer_have_23_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    burn = burned(burn_of(history(28, lambda _day: 24)))
    empty = emptying(burn, Decimal(24), datetime(2026, 3, 28, 11, 30, tzinfo=UTC), berlin)
    assert empty.at is not None and f"{empty.at.astimezone(berlin):%m-%d %H:%M}" == "03-29 12:00"


@pytest.mark.parametrize(("days", "enough"), [(0, False), (6, False), (7, True)])
def test_less_than_a_week_is_not_enough(days: int, enough: bool) -> None:
    burn = burn_of(history(days, weekday_rhythm))
    assert (burn is not None) is enough
    assert (emptying(burn, Decimal(100), NOON, SHANGHAI) != Emptying()) is enough


def test_one_week_alone_does_not_pretend_to_know_the_rhythm() -> None:
    burn = burned(burn_of(history(7, weekday_rhythm)))
    assert burn.scatter > 40
    empty = emptying(burn, Decimal(420), NOON, SHANGHAI)
    assert empty.earliest is not None and empty.at is not None
    assert empty.earliest < empty.at - timedelta(days=1)


@pytest.mark.parametrize(("available", "cost"), [("0", 100), ("-5", 100), ("100", 0), ("40000", 100)])
def test_nothing_is_said_of_an_empty_pool_or_of_one_that_lasts_for_more_than_a_year(available: str, cost: int) -> None:
    assert emptying(burn_of(history(28, lambda _day: cost)), Decimal(available), NOON, SHANGHAI) == Emptying()


def test_the_range_may_have_no_end() -> None:
    noisy = burned(burn_of(history(28, lambda day: 200 if day.day % 2 else 100)))
    empty = emptying(noisy, Decimal(9000), NOON, SHANGHAI)
    assert empty.earliest is not None and empty.at is not None and empty.latest is not None
    assert empty.earliest < empty.at < empty.latest
    rare = burned(burn_of(history(28, lambda day: 1000 if day.day == 1 else 0)))
    assert emptying(rare, Decimal(500), NOON, SHANGHAI).latest is None


def test_the_estimate_stands_still_within_an_hour() -> None:
    burn = burn_of(history(28, weekday_rhythm))
    first = emptying(burn, Decimal(420), NOON, SHANGHAI)
    assert emptying(burn, Decimal(420), NOON + timedelta(minutes=59, seconds=59), SHANGHAI) == first


def test_history_begins_with_the_first_usage_and_goes_back_four_weeks_at_most() -> None:
    costs = {TODAY - timedelta(days=9): Decimal(5), TODAY - timedelta(days=1): Decimal(3), TODAY: Decimal(99)}
    assert history_of(costs, TODAY).costs == (Decimal(5), *[Decimal(0)] * 7, Decimal(3))
    assert len(history_of(costs | {date(2025, 1, 1): Decimal(7)}, TODAY).costs) == 28
    assert history_of({TODAY: Decimal(1)}, TODAY).costs == history_of({}, TODAY).costs == ()


@pytest.mark.parametrize("days", [14, 28])
@pytest.mark.parametrize("lasts", [2, 30])
def test_about_nine_of_ten_futures_lie_in_the_range(days: int, lasts: int) -> None:
    """Real days scatter; what the range claims is tried on 150 pasts and futures of the same kind."""
    random = Random(f"{days} {lasts}")
    inside = 0
    for _future in range(150):

        def cost(day: date) -> Decimal:
            return Decimal(round(weekday_rhythm(day) * random.lognormvariate(0, 0.35) * 10**6)).scaleb(-6)

        available = Decimal(75 * lasts)
        empty = emptying(burn_of(history(days, cost)), available, NOON, SHANGHAI)
        day, left, part = TODAY, available, Decimal("0.5")
        while (used := cost(day) * part) < left:
            day, left, part = day + timedelta(days=1), left - used, Decimal(1)
        seconds = int(86400 * (left / used * part + 1 - part))
        came = start_of(day, SHANGHAI) + timedelta(seconds=seconds)
        earliest = empty.earliest is not None and empty.earliest <= came
        inside += earliest and (empty.latest is None or came < empty.latest + timedelta(hours=1))
    assert 0.82 <= inside / 150 <= 0.98


# On a ledger


def spend_daily(ledger: Ledger, days: int, cost: str = "10", **changes: object) -> None:
    for ago in range(1, days + 1):
        spend(ledger, cost, created_at=NOON - timedelta(days=ago), **changes)


def test_recharges_and_todays_usage_change_the_balance_and_not_the_burn(ledger: Ledger) -> None:
    now = at(ledger, NOON)
    pool(at(ledger, NOON - timedelta(days=20)), amount="1000")
    spend_daily(ledger, 14)
    before = get_outlook(now, "openai")
    assert (before.burn_per_day, before.history_days) == (Decimal(10), 14)
    assert local(before.empty.at) == "06-04 12:00"  # 860 yuan: half of today, then 85.5 days
    pay(now, "100")
    spend(ledger, "60", created_at=NOON)
    after = get_outlook(now, "openai")
    assert after.burn_per_day == Decimal(10)
    assert local(after.empty.at) == "06-08 12:00"
    assert list_outlooks(now) == (after,)


def test_without_a_pool_there_is_a_burn_but_nothing_to_empty(ledger: Ledger) -> None:
    now = at(ledger, NOON)
    spend_daily(ledger, 7, provider_id="azure")
    spend(ledger, "1", provider_id="new", created_at=NOON)
    azure, new = list_outlooks(now, with_no_pool=True)
    assert (azure.burn_per_day, azure.empty, azure.levels) == (Decimal(10), Emptying(), ())
    assert (new.burn_per_day, new.history_days) == (None, 0)
    assert list_outlooks(now) == ()


def test_the_level_of_each_day_follows_from_todays_balance(ledger: Ledger) -> None:
    """The end of a day is midnight in the business time zone, and unsettled usage counts as today's."""

    def noon(ago: int) -> datetime:
        return NOON - timedelta(days=ago)

    pool(at(ledger, noon(4)), amount="100")
    spend(ledger, "10", created_at=noon(4))
    late = start_of(TODAY - timedelta(days=2), SHANGHAI) - timedelta(seconds=1)
    spend(ledger, "5", created_at=late)  # the last second of the 7th
    wrong = pay(at(ledger, late + timedelta(seconds=1)), "50")  # the first of the 8th
    take_back(at(ledger, noon(1)), wrong.id)
    spend(ledger, "1", created_at=NOON)
    gateway_insert(ledger, cost_amount=2 * 10**9, created_at=NOON)
    levels = get_outlook(at(ledger, NOON), "openai").levels
    assert [(f"{day:%d}", level) for day, level in levels] == [
        ("06", Decimal(90)),
        ("07", Decimal(85)),
        ("08", Decimal(135)),
        ("09", Decimal(85)),
        ("10", Decimal(82)),
    ]
    settle(ledger)
    assert get_outlook(at(ledger, NOON), "openai").levels == levels
    later = get_outlook(at(ledger, NOON + timedelta(days=90)), "openai").levels
    assert len(later) == 30 and {level for _day, level in later} == {Decimal(82)}


def test_a_suggestion_is_what_is_missing_for_so_many_days(ledger: Ledger) -> None:
    now = at(ledger, NOON)
    pool(now, amount="300")
    spend_daily(ledger, 14, "10.001")
    # 300.03 yuan will be used, 159.986 are left.
    month, enough = suggest(now, "openai", 30, 15)
    assert month.expected == Decimal(141)
    assert (enough.expected, enough.at_most) == (Decimal(0), Decimal(0))
    pool(now, "new", "100")
    (unknown,) = suggest(now, "new", 30)
    assert (unknown.expected, unknown.at_most) == (None, None)
    with pytest.raises(NotFound):
        suggest(now, "nobody", 30)
    for days in (0, -1, 366):
        with pytest.raises(InvalidInput):
            suggest(now, "openai", days)
