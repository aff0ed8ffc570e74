"""What the month will have cost: weekdays keep their rhythm, the range holds what then happens, budgets follow."""

from __future__ import annotations

import random
from calendar import monthrange
from datetime import date, timedelta
from decimal import Decimal

import pytest

from billing_console import clock
from billing_console.errors import InvalidInput, NotFound, NotPermitted
from billing_console.services.budgets import ALL, BudgetStatus, budget_of, list_budgets, set_budget
from billing_console.services.costs import CostFilter
from billing_console.services.ledger import Ledger
from billing_console.services.metering import record_usage
from billing_console.services.pools import open_pool
from billing_console.services.projection import month_projection, project
from db.values import Role, UsageType
from tests.commands import Commands
from tests.factories import NOON, acting, at, pool, query, usage

TODAY = date(2026, 3, 10)
"""A Tuesday; 21 days of the month are to come, three of each weekday."""


def these(*values: object) -> tuple[object, ...]:
    return values


def days(count: int, cost: str = "10", until: date = TODAY) -> dict[date, Decimal]:
    """As many days before a day, all at the same cost."""
    return {until - timedelta(days=number): Decimal(cost) for number in range(1, count + 1)}


def test_equal_days_go_on_and_leave_nothing_open() -> None:
    month = project(days(60), TODAY - timedelta(days=60), TODAY)
    assert these(month.month, month.to_date, month.history_days) == (date(2026, 3, 1), 90, 28)
    assert these(month.low, month.expected, month.high) == (310, 310, 310)


def test_every_weekday_is_expected_to_cost_its_own_mean() -> None:
    """No usage at weekends, 100 on Mondays, 10 on other days."""
    rhythm = (100, 10, 10, 10, 10, 0, 0)
    costs = {day: Decimal(rhythm[day.weekday()]) for day in days(60) if rhythm[day.weekday()]}
    month = project(costs, min(costs), TODAY)
    rest = sum(rhythm[date(2026, 3, day).weekday()] for day in range(10, 32))
    to_date = sum(rhythm[date(2026, 3, day).weekday()] for day in range(1, 10))
    assert these(month.to_date, month.expected, month.high) == (to_date, to_date + rest, to_date + rest)


def test_today_counts_what_it_usually_costs_or_what_it_already_has() -> None:
    past = days(60)
    assert project({**past, TODAY: Decimal(3)}, min(past), TODAY).expected == 310
    dear = project({**past, TODAY: Decimal(50)}, min(past), TODAY)
    assert these(dear.to_date, dear.expected) == (140, 350)


def test_fourteen_days_with_usage_are_needed() -> None:
    thirteen = project(days(13), TODAY - timedelta(days=13), TODAY)
    assert these(thirteen.to_date, thirteen.history_days, thirteen.expected) == (90, 13, None)
    assert project(days(14), TODAY - timedelta(days=14), TODAY).expected == 310
    long_ago = project(days(100, until=TODAY - timedelta(days=20)), TODAY - timedelta(days=120), TODAY)
    assert long_ago.expected is None
    nothing = project({}, None, TODAY)
    assert these(nothing.to_date, nothing.history_days, nothing.expected) == (0, 0, None)


def test_days_before_the_first_usage_are_not_days_without_usage() -> None:
    """Of four weeks with a gap, the days in the gap are days without usage."""
    assert project(days(20), TODAY - timedelta(days=20), TODAY).expected == 310
    gap = {day: cost for day, cost in days(28).items() if not 14 <= (TODAY - day).days <= 20}
    month = project(gap, min(gap), TODAY)
    assert month.expected == Decimal("255") and month.low is not None and month.low < 255


def test_the_last_day_of_a_month_has_itself_to_come() -> None:
    last = date(2026, 3, 31)
    assert project(days(60, until=last), date(2025, 1, 1), last).expected == 310
    assert project(days(60, until=date(2026, 12, 31)), date(2025, 1, 1), date(2026, 12, 31)).expected == 310


def test_a_range_never_ends_below_what_was_spent() -> None:
    costs = {day: Decimal(1000 if number % 9 == 0 else 0) for number, day in enumerate(days(60))}
    month = project(costs, min(costs), TODAY)
    assert month.low is not None and month.low >= month.to_date


def test_the_range_holds_what_then_happens_four_times_in_five() -> None:
    """Five hundred businesses, each with a rhythm and noise of its own, each looked at on another day of its month."""
    chance = random.Random(20260310)
    held = 0
    for _business in range(500):
        rhythm = [chance.randint(20, 200) for _weekday in range(7)]
        noise = chance.randint(5, 40)
        start = date(2026, chance.randint(3, 12), 1)
        length = monthrange(start.year, start.month)[1]
        every = [start + timedelta(days=number) for number in range(-40, length)]
        costs = {day: Decimal(max(0, round(chance.gauss(rhythm[day.weekday()], noise)))) for day in every}
        today = start + timedelta(days=chance.randint(0, length - 1))
        # Nothing of today is known yet, so that the whole day is to come.
        month = project({day: cost for day, cost in costs.items() if day < today}, every[0], today)
        truth = sum((cost for day, cost in costs.items() if day >= start), Decimal(0))
        assert month.low is not None and month.high is not None
        held += month.low <= truth <= month.high
    assert 370 <= held <= 430


@pytest.fixture
def steady(ledger: Ledger) -> Ledger:
    """Ten yuan a day for 30 days at one provider, two at another in the last ten; it is noon and nothing new yet."""
    starts = [clock.start_of(TODAY - timedelta(days=number), ledger.timezone) for number in range(1, 31)]
    images = {"provider_id": "azure", "usage_type": UsageType.IMAGE_GENERATION, "cost_amount": Decimal(2)}
    record_usage(ledger, [usage(created_at=start, cost_amount=Decimal(10)) for start in starts])
    record_usage(ledger, [usage(created_at=start, **images) for start in starts[:10]])
    return at(ledger, NOON)


def test_the_projection_of_a_filter_is_of_its_own_costs(steady: Ledger) -> None:
    def of(**chosen: object) -> Decimal | None:
        return month_projection(steady, CostFilter(TODAY, TODAY, **chosen)).expected  # type: ignore[arg-type]

    assert of(provider_id="openai") == 310
    assert of(provider_id="azure") is None
    assert of(usage_type=UsageType.TEXT_GENERATION) == 310
    whole = month_projection(steady, CostFilter(date(2020, 1, 1), date(2020, 1, 2)))
    assert whole.to_date == 108 and whole.expected is not None and whole.expected > 320


def test_a_budget_is_set_changed_and_taken_away(ledger: Ledger) -> None:
    pool(ledger)
    for provider in (ALL, "openai"):
        assert budget_of(ledger, provider) is None
        set_budget(ledger, provider, Decimal("5000"))
        assert set_budget(ledger, provider, Decimal("1234.567890123")) == budget_of(ledger, provider)
        set_budget(ledger, provider, None)
        set_budget(ledger, provider, None)
        assert budget_of(ledger, provider) is None
    rows = query(ledger, "SELECT target, before, after FROM audit_log WHERE action = 'budgets.set' ORDER BY id")
    assert [row[0] for row in rows] == ["*"] * 3 + ["openai"] * 3
    assert rows[1][1:] == ('{"amount":"5000.00"}', '{"amount":"1234.567890123"}')


def test_a_budget_that_is_none_is_refused(ledger: Ledger) -> None:
    pool(ledger)
    for wrong in ("0", "-1", "NaN", "1e30", "0.0000000001"):
        with pytest.raises(InvalidInput):
            set_budget(ledger, "openai", Decimal(wrong))
    with pytest.raises(NotFound, match="opena"):
        set_budget(ledger, "opena", Decimal(1))
    for role in (Role.OPERATOR, Role.VIEWER):
        with pytest.raises(NotPermitted):
            set_budget(acting(ledger, role.value, role), "openai", Decimal(1))
    assert query(ledger, "SELECT * FROM budgets") == []


def test_each_provider_and_all_together_have_a_month(steady: Ledger) -> None:
    open_pool(steady, "unused", name="Aaa")
    set_budget(steady, ALL, Decimal(300))
    set_budget(steady, "openai", Decimal(310))
    found = {budget.provider_id: budget for budget in list_budgets(steady)}
    assert list(found) == [ALL, "unused", "azure", "openai"]
    whole, openai, azure, unused = (found[name] for name in (ALL, "openai", "azure", "unused"))
    assert these(whole.projection.to_date, whole.left, whole.status) == (108, 192, BudgetStatus.PROJECTED_OVER)
    assert these(openai.projection.expected, openai.left, openai.status) == (310, 220, BudgetStatus.WITHIN)
    assert these(azure.projection.to_date, azure.left, azure.status) == (18, None, BudgetStatus.NO_BUDGET)
    assert these(unused.projection.to_date, unused.projection.expected) == (0, None)
    assert whole.projection == month_projection(steady, CostFilter(TODAY, TODAY))


@pytest.mark.parametrize(
    ("amount", "provider", "status"),
    [
        ("107.99", ALL, BudgetStatus.EXCEEDED),
        ("108", ALL, BudgetStatus.PROJECTED_OVER),
        ("309.99", "openai", BudgetStatus.PROJECTED_OVER),
        ("310", "openai", BudgetStatus.WITHIN),
        ("18", "azure", BudgetStatus.UNKNOWN),
        ("17", "azure", BudgetStatus.EXCEEDED),
    ],
)
def test_whether_a_budget_will_do(steady: Ledger, amount: str, provider: str, status: BudgetStatus) -> None:
    set_budget(steady, provider, Decimal(amount))
    (budget,) = [one for one in list_budgets(steady) if one.provider_id == provider]
    assert budget.status is status


def test_a_budget_within_the_range_is_at_risk(steady: Ledger) -> None:
    (whole, *_others) = list_budgets(steady)
    month = whole.projection
    assert month.expected is not None and month.high is not None and month.high > month.expected
    set_budget(steady, ALL, (month.high + month.expected) / 2)
    assert list_budgets(steady)[0].status is BudgetStatus.AT_RISK
    set_budget(steady, ALL, month.high)
    assert list_budgets(steady)[0].status is BudgetStatus.WITHIN


@pytest.fixture
def run(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(sqlite_url, capsys)


def test_budgets_on_the_command_line(run: Commands, sqlite_ledger: Ledger) -> None:
    pool(sqlite_ledger)
    now = sqlite_ledger.clock()
    record_usage(sqlite_ledger, [usage(created_at=now - timedelta(days=n), cost_amount=Decimal(4)) for n in range(30)])
    assert run("budgets", "set", "5,000.5").out == "Monthly budget of all providers: ¥5,000.50\n"
    answer = run("budgets", "set", "2", "--provider", "openai", "--format", "json").json
    assert answer == {"providerId": "openai", "budgetAmount": "2.00"}
    whole, openai = run("budgets", "list", "--format", "json").json
    assert (whole["providerId"], whole["budgetAmount"], whole["budgetStatus"]) == (None, "5000.50", "within")
    assert (openai["budgetAmount"], openai["budgetStatus"]) == ("2.00", "exceeded")
    assert Decimal(openai["remainingAmount"]) == 2 - Decimal(openai["monthToDate"]) < 0
    assert openai["projectedLow"] == openai["projectedCost"] == openai["projectedHigh"]
    assert (openai["historyDays"], openai["month"][-3:]) == (28, "-01")
    table = run("budgets", "list").out.splitlines()
    assert "all providers" in table[1] and "within budget" in table[1] and "exceeded" in table[2]
    assert run("budgets", "off", "--provider", "openai").out == "Monthly budget of openai: none\n"
    assert run("budgets", "off").code == 0
    assert {row["budgetStatus"] for row in run("budgets", "list", "--format", "json").json} == {"no_budget"}
    assert run("budgets", "set", "0").code == 2
    assert run("budgets", "set", "5", "--provider", "opena").code == 1
    assert run("audit", "verify").code == 0
