"""A ledger that has something in every table, for the tests that damage it or tamper with it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from billing_console.services.approvals import ApprovalView
from billing_console.services.budgets import ALL, set_budget
from billing_console.services.decisions import approve, reject
from billing_console.services.ledger import Ledger
from billing_console.services.limits import set_limit
from billing_console.services.models import set_model_enabled
from billing_console.services.operators import add_operator
from billing_console.services.pools import set_thresholds
from billing_console.services.quotas import grant_quota, revoke_quota
from billing_console.services.recharges import recharge
from billing_console.services.reconcile import reconcile
from billing_console.services.settlement import reprice, settle
from billing_console.services.usage_import import import_usage
from billing_console.services.usage_import_run import ImportOptions
from billing_console.services.usage_rows import FieldSources
from db.values import LimitName, Role
from tests.factories import acting, at, gateway_insert, pay, price, spend, take_back
from tests.stocked import NOW, stock


def stock_everything(ledger: Ledger, place: Path) -> Ledger:
    """Stock it, then go through what `stock` leaves out; the ledger returned has a clock that stands still."""
    ledger = at(ledger, NOW)
    stock(ledger)
    second = acting(ledger, "second", Role.ADMIN)
    for name, role in (("olga", Role.OPERATOR), ("vera", Role.VIEWER)):
        add_operator(ledger, name, role)
    price(ledger, provider_id="azure", model_id="phi-4")
    reprice(ledger)
    for number in range(3):
        gateway_insert(ledger, request_id=f"settled-{number}", cost_amount=10**9 + number, created_at=NOW)
    settle(ledger)
    take_back(ledger, pay(ledger, "12.5", "openai", reference="BT-2").id)
    revoke_quota(ledger, "u-00042", Decimal("0.5"), reference="TICKET-9", key="revoke-1")
    set_thresholds(ledger, "alibaba", {"percent": Decimal("12.5")})
    set_model_enabled(ledger, "openai", "whisper-1", False, reason="under review")
    set_model_enabled(ledger, "openai", "whisper-1", True, reason="reviewed")
    _import(ledger, place)
    set_limit(ledger, LimitName.PER_OPERATION, Decimal(5000))
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(1000))
    set_budget(ledger, ALL, Decimal(9000))
    set_budget(ledger, "openai", Decimal("4000.5"))
    asked = recharge(ledger, "openai", Decimal(1500), reference="BT-3", key="asked-1")
    refused = grant_quota(ledger, "alice@example.com", Decimal(1100), reference="TICKET-4", key="asked-2")
    waiting = grant_quota(ledger, "u-00042", Decimal(1200), reference="TICKET-5", key="asked-3")
    assert isinstance(asked, ApprovalView) and isinstance(refused, ApprovalView) and isinstance(waiting, ApprovalView)
    approve(second, asked.id)
    reject(second, refused.id, reason="too much")
    spend(ledger, "3.25", provider_id="deepseek", model_id="deepseek-chat", user_id="u-00007", created_at=NOW)
    assert reconcile(ledger) == ()
    return ledger


def _import(ledger: Ledger, place: Path) -> None:
    calls = [
        {
            "requestId": f"imported-{number}",
            "userId": "u-00042",
            "providerId": "anthropic",
            "modelId": "claude-sonnet-4-5-20250929",
            "usageType": "text_generation",
            "inputTokens": 100 + number,
            "outputTokens": 7,
            "createdAt": NOW.isoformat(),
        }
        for number in range(5)
    ]
    file = place / "calls.jsonl"
    file.write_text("".join(f"{json.dumps(call)}\n" for call in calls))
    done = import_usage(ledger, [file], ImportOptions(FieldSources.parse([], [])))
    assert done.imported == len(calls), done
