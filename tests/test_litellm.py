"""LiteLLM as it is published sends its usage to a server that runs, through the generic API callback that it ships."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from billing_console.services.ledger import Ledger
from billing_console.services.pools import get_pool
from billing_console.services.quotas import grant_quota, quota_details
from billing_console.services.reconcile import reconcile
from billing_console.services.tokens import create_token
from billing_console.services.usage import UsageFilter, UsageRow, usage_page
from db.values import CallStatus, Scope, UsageType
from tests.commands import PATIENCE_SECONDS
from tests.factories import pool, price, query
from tests.test_serve import serving, url_of

Call = tuple[str, dict[str, Any]]
GATEWAY = Path(__file__).with_name("litellm_gateway.py")
PAGE = Path(__file__).parent.parent / "docs" / "litellm.md"


def start(url: str, token: str, calls: list[Call], deliveries: int = 1, **settings: Any) -> subprocess.Popen[str]:
    """A gateway that makes these calls."""
    config = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]
    settings = {"endpoint": url, "headers": {"Authorization": f"Bearer {token}"}} | settings
    given = json.dumps({"config": config, "settings": settings, "calls": calls, "deliveries": deliveries})
    command = [sys.executable, str(GATEWAY), given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def gateway(url: str, token: str, calls: list[Call], **options: Any) -> str:
    """Run a gateway to its end, and return what it wrote."""
    process = start(url, token, calls, **options)
    out, _err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    return out


def meter(ledger: Ledger) -> str:
    return create_token(ledger, "litellm", [Scope.METER])[1]


def rows(ledger: Ledger) -> list[UsageRow]:
    return list(reversed(usage_page(ledger, UsageFilter()).rows))


def answered(**usage: Any) -> dict[str, Any]:
    """What a provider answered, as LiteLLM mocks it."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": "s3cret answer"}, "finish_reason": "stop"}]
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "choices": choices, "usage": usage}


def owned(owner: str, **options: Any) -> dict[str, Any]:
    """A call with a key of LiteLLM's that belongs to this user."""
    return {"metadata": {"user_api_key_user_id": owner}} | options


PATH = "/api/billing/usage/litellm"


def test_calls_streams_and_failures_are_recorded_with_all_that_litellm_knows(ledger: Ledger) -> None:
    price(ledger, cached_input_price=Decimal(1))
    pool(ledger, amount="100")
    grant_quota(ledger, "alice", Decimal(5), reference="order")
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 400}}
    calls: list[Call] = [
        ("text", owned("alice", model="gpt-4o", mock_response=answered(**usage), user="mallory")),
        ("text", owned("alice", model="gpt-4o", mock_response="a streamed answer", stream=True)),
        ("text", owned("alice", model="gpt-4o", mock_response="litellm.RateLimitError")),
        ("text", {"model": "no-such-model"}),
        ("text", {"model": "anthropic/claude-x", "mock_response": "hello", "user": "bob"}),
        ("embedding", owned("alice", model="text-embedding-3-small", mock_response=[0.1])),
        ("image", owned("alice", model="openai/dall-e-3", mock_response="https://example.com/cat.png")),
    ]
    with serving(url_of(ledger)) as server:
        out = gateway(server.url + PATH, meter(ledger), calls, deliveries=2)
        metrics = httpx.get(f"{server.url}/metrics").text
        code, lines, err = server.stop()
    assert "RateLimitError\n" in out and "made 7\n" in out, out
    assert code == 0 and [line["status"] for line in lines if line.get("route") == PATH] == [200, 200]
    first, stream, failed, claude, embedding, image = rows(ledger)
    assert first.request_id.startswith("chatcmpl-1@")
    assert (first.provider_id, first.model_id, first.user_id) == ("openai", "gpt-4o", "alice")
    assert (first.input_tokens, first.cached_input_tokens, first.output_tokens) == (1000, 400, 10)
    assert first.cost_amount == Decimal("0.0067")
    assert stream.output_tokens > 0 and stream.cost_amount > 0 and stream.status == CallStatus.SUCCESS
    assert failed.status == CallStatus.FAILED and failed.cost_amount == 0
    assert failed.error_message is not None and "RateLimitError" in failed.error_message
    assert (claude.provider_id, claude.model_id, claude.unpriced) == ("anthropic", "claude-x", True)
    assert embedding.usage_type == UsageType.TEXT_GENERATION and embedding.input_tokens > 0
    assert image.usage_type == UsageType.IMAGE_GENERATION and image.quantity == 1
    for outcome, count in {"recorded": 6, "duplicate": 6, "skipped": 2, "set_aside": 0, "unpriced": 3}.items():
        assert f'billing_litellm_calls_total{{outcome="{outcome}"}} {count}.0' in metrics
    cost = first.cost_amount + stream.cost_amount
    assert get_pool(ledger, "openai").used_amount == quota_details(ledger, "alice").quota.used_amount == cost
    assert reconcile(ledger) == ()
    everything = (
        err + repr(query(ledger, "SELECT * FROM usage_records")) + repr(query(ledger, "SELECT * FROM audit_log"))
    )
    assert "s3cret" not in everything


def test_litellm_delivers_once_the_server_is_back(sqlite_ledger: Ledger) -> None:
    token = meter(sqlite_ledger)
    calls: list[Call] = [("text", {"model": "gpt-4o", "mock_response": "hello", "user": "bob"})]
    with serving(url_of(sqlite_ledger)) as server:
        port = server.url.rpartition(":")[2]
        assert server.stop()[0] == 0
    process = start(f"http://127.0.0.1:{port}{PATH}", token, calls, max_retries=12, retry_delay=0.05)
    assert process.stdout is not None
    while "retrying request" not in process.stdout.readline():
        assert process.poll() is None
    with serving(url_of(sqlite_ledger), "--port", port) as server:
        process.communicate(timeout=PATIENCE_SECONDS)
        assert server.stop()[0] == 0
    assert [row.user_id for row in rows(sqlite_ledger)] == ["bob"]


def test_without_retries_litellm_drops_what_it_cannot_deliver(sqlite_ledger: Ledger) -> None:
    calls: list[Call] = [("text", {"model": "gpt-4o", "mock_response": "hello"})]
    with serving(url_of(sqlite_ledger)) as server:
        assert server.stop()[0] == 0
    out = gateway(server.url + PATH, meter(sqlite_ledger), calls, max_retries=0)
    assert "Error sending batch" in out and rows(sqlite_ledger) == []
