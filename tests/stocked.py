"""A small ledger with something of everything, the same to the last digit each time it is made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing_console.services.check import check_pools
from billing_console.services.ledger import Ledger, open_ledger
from billing_console.services.metering import record_usage
from billing_console.services.models import set_model_enabled
from billing_console.services.new_usage import NewUsage
from billing_console.services.quotas import grant_quota
from db.values import CallStatus, PriceUnit, UsageType
from tests.factories import TESTER, at, pay, pool, price, usage

NOW = datetime(2026, 3, 10, 7, 30, 15, tzinfo=UTC)
"""15:30:15 of a Tuesday in Asia/Shanghai."""

SOMEBODY = replace(
    TESTER, uid=1007, account="ops", login_uid=1007, tty="/dev/pts/3", ssh_client="192.0.2.7", host="bastion-1"
)
"""The tester at a keyboard that is the same on every machine, for pictures of the audit log."""

HOSTILE = "[/]\x1b[2J[@click=app.quit]x[/]"

MODELS = (
    ("openai", "gpt-4o", UsageType.TEXT_GENERATION, None, "18", "72"),
    ("openai", "dall-e-3", UsageType.IMAGE_GENERATION, None, "0.284", "0"),
    ("openai", "tts-1-hd", UsageType.AUDIO_TTS, None, "0.213", "0"),
    ("openai", "whisper-1", UsageType.AUDIO_STT, PriceUnit.MINUTE, "0.0426", "0"),
    ("anthropic", "claude-sonnet-4-5-20250929", UsageType.TEXT_GENERATION, None, "21.3", "106.5"),
    ("deepseek", "deepseek-chat", UsageType.TEXT_GENERATION, None, "2", "3"),
    ("alibaba", "qwen3-max", UsageType.TEXT_GENERATION, None, "0.6", "2.4"),
    ("alibaba", "wan2.2-t2v-plus", UsageType.VIDEO_GENERATION, None, "0.7", "0"),
)
USERS = ("u-00042", "u-00007", "东京团队", "alice@example.com", HOSTILE, None)


def stock(ledger: Ledger) -> None:
    """Fill an empty ledger: five usage types, pools of every status, alerts, recharges, grants, a stopped model."""
    ledger = at(ledger, NOW)
    for provider, name in (
        ("openai", "OpenAI"),
        ("anthropic", "Anthropic"),
        ("deepseek", "深度求索"),
        ("alibaba", "阿里云"),
    ):
        pool(ledger, provider, name=name)
    for provider, model, kind, unit, into, out in MODELS:
        price(
            ledger,
            provider_id=provider,
            model_id=model,
            usage_type=kind,
            unit=unit,
            input_price=Decimal(into),
            output_price=Decimal(out),
            effective_from=NOW - timedelta(days=90),
        )
    price(ledger, input_price=Decimal("17.75"), output_price=Decimal(71), effective_from=NOW + timedelta(days=5))
    record_usage(ledger, [_call(number) for number in range(240)])
    record_usage(ledger, [usage(provider_id="azure", model_id="phi-4", created_at=NOW, request_id="unpriced")])
    for provider, amount in (("openai", "900"), ("anthropic", "40"), ("deepseek", "0.31"), ("alibaba", "600")):
        pay(ledger, amount, provider, reference="BT-20260301", key=f"first-{provider}")
    grant_quota(ledger, "u-00042", Decimal(250), reference="TICKET-1", key="grant-1")
    grant_quota(ledger, "u-00007", Decimal("80.5"), reference="TICKET-2", key="grant-2")
    grant_quota(ledger, "东京团队", Decimal(120), reference="TICKET-3", key="grant-3")
    set_model_enabled(ledger, "openai", "tts-1-hd", False, reason="voices under review")
    check_pools(ledger)


def _call(number: int) -> NewUsage:
    provider, model, kind, _unit, _into, _out = MODELS[number * 7 % len(MODELS)]
    failed = number % 23 == 5
    text = kind is UsageType.TEXT_GENERATION
    return usage(
        provider_id=provider,
        model_id=model,
        usage_type=kind,
        user_id=USERS[number * 5 // 3 % len(USERS)],
        created_at=NOW - timedelta(minutes=7 + number * 173),
        request_id=f"req-{number:05}",
        input_tokens=(number * 911 % 9000) + 20 if text else 0,
        output_tokens=(number * 37 % 800) + 5 if text else 0,
        quantity=None if text else Decimal(number % 60 + 1),
        status=CallStatus.FAILED if failed else CallStatus.SUCCESS,
        error_message="429 Too Many Requests: rate limit of 500 requests a minute reached" if failed else None,
    )


def open_stocked(url: str, name: str = TESTER.name) -> Ledger:
    """Open a ledger whose clock stands still, as the operator of this name."""
    return replace(open_ledger(url, actor=replace(SOMEBODY, name=name)), clock=lambda: NOW)
