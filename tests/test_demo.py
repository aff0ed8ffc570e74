"""What is in the demo ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest

from billing_console.clock import day_of
from billing_console.demo.build import SEED, build
from billing_console.demo.mix import AGENTS, INSUFFICIENT, OFFERS, UNPRICED
from billing_console.demo.traffic import calls, token_counts, window
from billing_console.services.alerts import list_alerts
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.models import list_models
from billing_console.services.pools import get_pool, list_pools
from billing_console.services.prices import list_prices
from billing_console.services.quotas import list_quotas
from billing_console.services.recharges import recharge_history
from billing_console.services.reconcile import reconcile
from billing_console.services.usage import UsageFilter, UsageRow, usage_page
from billing_console.settings import sqlite_url
from db.values import AlertLevel, BalanceStatus, CallStatus, ModelStatus, UsageType
from tests.factories import everything

NOW = datetime(2026, 11, 24, 9, 30, 15, 250_000, tzinfo=UTC)
SMALL = 4000
"""Enough calls for every kind of them, few enough to build in seconds."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A demo ledger with fewer calls."""
    url = sqlite_url(tmp_path_factory.mktemp("demo") / "demo.db")
    build(url, NOW, count=SMALL)
    ledger = open_ledger(url)
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def records(demo: Ledger) -> tuple[UsageRow, ...]:
    """All its usage records, newest first."""
    return usage_page(demo, UsageFilter(), limit=10 * SMALL).rows


def test_the_counters_agree_with_the_facts(demo: Ledger) -> None:
    assert reconcile(demo) == ()


def test_the_pools_are_sufficient_low_and_depleted_and_one_provider_has_none(demo: Ledger) -> None:
    pools = {pool.provider_id: pool for pool in list_pools(demo, with_no_pool=True)}
    assert {provider: pool.status for provider, pool in pools.items()} == {
        "openai": BalanceStatus.SUFFICIENT,
        "anthropic": BalanceStatus.LOW,
        "moonshotai": BalanceStatus.DEPLETED,
        "deepseek": BalanceStatus.LOW,
        "zhipuai": BalanceStatus.SUFFICIENT,
        "google": None,
    }
    assert pools["anthropic"].balance_percentage < 10 < pools["deepseek"].balance_percentage < 25
    assert pools["google"].used_amount > 0
    suspended = [model for model in list_models(demo, "moonshotai") if model.status is ModelStatus.INSUFFICIENT_FUNDS]
    assert len(suspended) == len([offer for offer in OFFERS if offer.provider_id == "moonshotai"])


@pytest.mark.parametrize(
    ("seed", "now"),
    [
        (1, datetime(2026, 11, 22, 18, 59, tzinfo=UTC)),
        (2, datetime(2027, 2, 28, 16, 0, tzinfo=UTC)),
    ],
)
def test_the_pools_end_alike_whatever_the_costs_and_the_day(
    demo: Ledger, tmp_path: Path, seed: int, now: datetime
) -> None:
    url = sqlite_url(tmp_path / "other.db")
    build(url, now, count=800, seed=seed)
    ledger = open_ledger(url)
    assert {pool.provider_id: pool.status for pool in list_pools(ledger)} == {
        pool.provider_id: pool.status for pool in list_pools(demo)
    }
    ledger.close()


def test_alerts_are_open_for_what_lacks_money_and_past_ones_ended_with_a_recharge(demo: Ledger) -> None:
    open_now = list_alerts(demo, resolved=False)
    assert [alert.provider_id for alert in open_now if alert.alert_level is AlertLevel.CRITICAL] == ["moonshotai"]
    assert {alert.provider_id for alert in open_now} == {"moonshotai", "anthropic", "deepseek"}
    past = list_alerts(demo, resolved=True)
    paid = {(entry.provider_id, entry.created_at) for entry in recharge_history(demo)}
    assert len(past) > 5
    assert {(alert.provider_id, alert.resolved_at) for alert in past} <= paid
    assert AlertLevel.CRITICAL in {alert.alert_level for alert in past}


def test_recharges_span_the_60_days_and_one_is_taken_back(demo: Ledger) -> None:
    entries = recharge_history(demo, limit=None)
    assert min(entry.created_at for entry in entries) == NOW.replace(microsecond=0) - timedelta(days=60)
    assert all(count > 2 for count in Counter(entry.provider_id for entry in entries).values())
    assert all(entry.reference for entry in entries)
    (reversal,) = [entry for entry in entries if entry.reverses_id is not None]
    reversed_one = next(entry for entry in entries if entry.id == reversal.reverses_id)
    assert reversed_one.amount == -reversal.amount


def test_calls_of_all_types_fill_the_60_days_before_now(demo: Ledger, records: tuple[UsageRow, ...]) -> None:
    assert abs(len(records) - SMALL) < SMALL / 20
    assert {row.usage_type for row in records} == set(UsageType)
    assert {row.provider_id for row in records} == {offer.provider_id for offer in OFFERS}
    times = [row.created_at for row in records]
    assert NOW - timedelta(days=61) < min(times) < NOW - timedelta(days=59)
    assert NOW - timedelta(hours=6) < max(times) <= NOW
    measured = [row for row in records if row.usage_type is not UsageType.TEXT_GENERATION]
    assert all(row.quantity > 0 for row in measured if row.status is CallStatus.SUCCESS)


def test_the_calls_have_the_rhythm_of_a_working_week(demo: Ledger, records: tuple[UsageRow, ...]) -> None:
    local = [row.created_at.astimezone(demo.timezone) for row in records]
    by_weekday = Counter(instant.weekday() for instant in local)
    by_hour = Counter(instant.hour for instant in local)
    assert max(by_weekday[5], by_weekday[6]) < 0.7 * min(by_weekday[day] for day in range(5))
    assert by_hour[3] * 5 < by_hour[10]


def test_tokens_of_single_requests_are_those_of_the_trace(records: tuple[UsageRow, ...]) -> None:
    trace = set(token_counts())
    single = [
        (row.input_tokens, row.output_tokens)
        for row in records
        if row.usage_type is UsageType.TEXT_GENERATION
        and row.model_id not in AGENTS
        and row.status is CallStatus.SUCCESS
    ]
    assert len(single) > SMALL / 4
    assert set(single) <= trace


def test_few_users_call_often_and_many_seldom(records: tuple[UsageRow, ...]) -> None:
    users = Counter(row.user_id for row in records)
    unknown = users.pop(None)
    assert 0 < unknown < SMALL / 50
    assert len(users) > SMALL / 4
    busiest = sum(count for _user, count in users.most_common(20))
    assert SMALL / 5 < busiest < SMALL / 2
    assert {"[/]bob", "东京团队"} <= users.keys()


def test_failures_are_few_with_believable_reasons(records: tuple[UsageRow, ...]) -> None:
    failed = [row for row in records if row.status is CallStatus.FAILED]
    assert 0.015 < len(failed) / len(records) < 0.045
    assert all(row.error_message and row.cost_amount == 0 for row in failed)
    for code in ("HTTP 400", "HTTP 429", "HTTP 500", "HTTP 503", "Timeout"):
        assert any(str(row.error_message).startswith(code) for row in failed), code


def test_calls_are_refused_for_lack_of_balance_from_the_moment_it_is_gone(
    demo: Ledger, records: tuple[UsageRow, ...]
) -> None:
    moonshot = [row for row in records if row.provider_id == "moonshotai"]
    refused = [row for row in moonshot if row.error_message == INSUFFICIENT]
    assert moonshot[: len(refused)] == refused != []
    assert get_pool(demo, "moonshotai").available_balance > -max(row.cost_amount for row in moonshot)


@pytest.mark.parametrize("now", [NOW + timedelta(days=day) for day in range(7)])
def test_an_outage_and_a_burst_of_failures_stand_out(now: datetime) -> None:
    made = calls(window(now, ZoneInfo("Asia/Shanghai")), Random(1), 20_000)
    down = [call for call in made if call.error_message == "HTTP 503: Service unavailable, backend unreachable."]
    first, last = down[0].created_at, down[-1].created_at
    assert len(down) > 2 and last - first < timedelta(hours=2)
    assert down == [call for call in made if call.provider_id == "google" and first <= call.created_at <= last]
    busy = [call for call in made if str(call.error_message).endswith("concurrency of the account exceeded.")]
    assert len(busy) > 5
    assert len({(call.provider_id, day_of(call.created_at, ZoneInfo("Asia/Shanghai"))) for call in busy}) == 1


def test_every_model_that_is_called_has_a_price_but_one(demo: Ledger, records: tuple[UsageRow, ...]) -> None:
    priced = {(price.provider_id, price.model_id, price.usage_type) for price in list_prices(demo)}
    called = {(offer.provider_id, offer.model_id, offer.usage_type) for offer in OFFERS}
    assert called - priced == {(*UNPRICED, UsageType.VIDEO_GENERATION)}
    assert {(row.provider_id, row.model_id) for row in records if row.unpriced} == {UNPRICED}
    assert all(price.source_currency == "USD" and price.exchange_rate == "7.1" for price in list_prices(demo))


def test_a_price_changed_within_the_60_days(demo: Ledger) -> None:
    newer, older = list_prices(demo, "deepseek", "deepseek-chat", all_versions=True)
    assert older.effective_from < NOW - timedelta(days=60) < newer.effective_from < NOW
    assert (older.output_price, newer.output_price) == (Decimal("7.81"), Decimal("2.982"))


def test_some_hundred_users_have_quota_and_some_of_them_used_it_up(demo: Ledger) -> None:
    quotas = list_quotas(demo, only_with_quota=True)
    left = [quota.remaining_amount / quota.granted_amount for quota in quotas if quota.granted_amount]  # type: ignore[operator]
    assert len(quotas) > 200
    assert sum(share <= 0 for share in left) > 10
    assert sum(0 < share < Decimal("0.1") for share in left) > 10
    assert sum(share > Decimal("0.5") for share in left) > 100


def test_models_that_a_person_disabled_have_a_reason_and_are_called_no_more(
    demo: Ledger, records: tuple[UsageRow, ...]
) -> None:
    disabled = [model for model in list_models(demo) if model.status is ModelStatus.DISABLED]
    assert len(disabled) > 2
    for model in disabled:
        assert model.disabled_reason and model.disabled_by and model.disabled_at
        last = max((row.created_at for row in records if row.model_id == model.model_id), default=None)
        assert last is None or last < model.disabled_at + timedelta(minutes=1)


def test_the_same_seed_and_time_make_the_same_ledger_and_another_seed_does_not(tmp_path: Path) -> None:
    def made(name: str, seed: int = SEED) -> Mapping[str, object]:
        build(sqlite_url(tmp_path / name), NOW, count=400, seed=seed)
        ledger = open_ledger(sqlite_url(tmp_path / name))
        try:
            return everything(ledger)
        finally:
            ledger.close()

    first = made("first.db")
    assert made("second.db") == first
    assert made("third.db", seed=7) != first
