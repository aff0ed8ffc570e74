"""The Python client against a server that runs: calls are authorized, made and recorded once, come what may."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from billing_console.api.server import create_app
from billing_console.client import (
    ApiError,
    AsyncClient,
    Client,
    ModelDisabled,
    NotRecorded,
    PoolDepleted,
    QuotaExceeded,
    Usage,
)
from billing_console.services.ledger import Ledger
from billing_console.services.models import set_model_enabled
from billing_console.services.quotas import grant_quota, quota_details
from billing_console.services.reconcile import reconcile
from billing_console.services.tokens import create_token
from billing_console.services.usage import UsageFilter, UsageRow, usage_page
from db.values import CallStatus, Scope
from tests.commands import PATIENCE_SECONDS
from tests.factories import NOON, pool, price, query, spend
from tests.test_serve import serving, url_of

CENT = Decimal("0.01")
PAGE = Path(__file__).parent.parent / "docs" / "client.md"


def meter(ledger: Ledger) -> str:
    return create_token(ledger, "gateway", [Scope.METER])[1]


def made(**changes: object) -> Usage:
    return replace(Usage(provider_id="openai", model_id="gpt-4o", user_id="alice"), **changes)  # type: ignore[arg-type]


def rows(ledger: Ledger) -> list[UsageRow]:
    return list(reversed(usage_page(ledger, UsageFilter()).rows))


def test_a_call_is_authorized_made_and_recorded(ledger: Ledger) -> None:
    price(ledger)
    grant_quota(ledger, "alice", Decimal(1), reference="order")
    token = meter(ledger)
    with serving(url_of(ledger)) as server, Client(server.url, token) as billing:
        with billing.call(made(request_id="good"), CENT) as call:
            assert (call.request_id, call.hold.amount, call.hold.remaining) == ("good", CENT, Decimal("0.99"))
            assert billing.authorize(made(request_id="good"), CENT).replayed
            call.used(input_tokens=100, output_tokens=10)
        with pytest.raises(KeyError), billing.call(made(request_id="bad"), CENT) as call:
            call.used(input_tokens=100)
            raise KeyError("the provider hung up")
        with billing.call(made(request_id="silent"), CENT):
            pass
    good, bad, silent = rows(ledger)
    assert (good.request_id, good.user_id, good.cost_amount) == ("good", "alice", Decimal("0.0013"))
    assert (bad.status, bad.input_tokens, bad.cost_amount) == (CallStatus.FAILED, 100, Decimal(0))
    assert bad.error_message == "KeyError: 'the provider hung up'"
    assert (silent.status, silent.error_message) == (CallStatus.FAILED, "the gateway did not say what the call used")
    assert query(ledger, "SELECT count(*) FROM holds") == [(0,)]
    assert reconcile(ledger) == ()


def test_a_call_that_must_not_be_made_is_an_error_of_its_own(ledger: Ledger) -> None:
    price(ledger)
    grant_quota(ledger, "alice", CENT, reference="order")
    set_model_enabled(ledger, "openai", "gpt-4o", False, reason="too dear")
    pool(ledger, "azure", "1")
    spend(ledger, "1", provider_id="azure", user_id="bob")
    refused: list[tuple[Usage, type[ApiError], int, str]] = [
        (made(model_id="other"), QuotaExceeded, 402, "quota_exceeded"),
        (made(user_id="bob"), ModelDisabled, 409, "model_disabled"),
        (made(user_id="bob", provider_id="azure"), PoolDepleted, 503, "pool_depleted"),
        (made(user_id=" "), ApiError, 422, "invalid"),
    ]
    token = meter(ledger)
    with serving(url_of(ledger)) as server, Client(server.url, token) as billing:
        for usage, kind, status, code in refused:
            with pytest.raises(ApiError) as caught, billing.call(usage, 2 * CENT):
                raise AssertionError("the call was made")
            assert type(caught.value) is kind
            assert (caught.value.status, caught.value.code) == (status, code)
            assert caught.value.detail and caught.value.request_id
        assert caught.value.errors[0]["field"] == "userId"
        with Client(server.url, "bct_wrong") as stranger, pytest.raises(NotRecorded) as lost:
            stranger.record(made())
        assert isinstance(lost.value.__cause__, ApiError) and lost.value.__cause__.code == "unauthorized"


def test_records_go_by_the_thousand_and_what_they_became_is_told(sqlite_ledger: Ledger) -> None:
    records = [made(request_id=str(number), input_tokens=1, created_at=NOON) for number in range(2001)]
    token = meter(sqlite_ledger)
    with serving(url_of(sqlite_ledger)) as server, Client(server.url, token) as billing:
        assert billing.record().recorded == 0
        assert billing.record(*records).recorded == 2001
        again = billing.record(*records[:2000], replace(records[2000], input_tokens=2))
        assert (again.recorded, again.duplicates) == (0, 2000)
        assert [conflict.request_id for conflict in again.conflicts] == ["2000"]
        with pytest.raises(NotRecorded) as lost:
            billing.record(*(made(request_id=f"new {number}") for number in range(1500)), made(input_tokens=-1))
        assert len(lost.value.records) == 501
    with pytest.raises(ValueError, match="time zone"):
        made(created_at=datetime(2026, 3, 10)).body()
    assert query(sqlite_ledger, "SELECT count(*) FROM usage_records") == [(3001,)]


class Unlucky(httpx.BaseTransport):
    """What stands between client and server: does to each request what comes next, and then forwards them all."""

    def __init__(self, *fates: Callable[[httpx.Response], httpx.Response]) -> None:
        self.fates = list(fates)
        self._onward = httpx.HTTPTransport()
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        answer = self._onward.handle_request(request)
        answer.read()
        return self.fates.pop(0)(answer) if self.fates else answer


def lost(_answer: httpx.Response) -> httpx.Response:
    raise httpx.ReadError("the connection broke after the server had done it")


def replaced(status: int, headers: dict[str, str] | None = None) -> Callable[[httpx.Response], httpx.Response]:
    return lambda _answer: httpx.Response(status, headers=headers, text="<html>a proxy</html>")


def test_what_is_sent_again_counts_once(sqlite_ledger: Ledger) -> None:
    between = Unlucky(lost, replaced(503, {"Retry-After": "0"}), replaced(502))
    token = meter(sqlite_ledger)
    with serving(url_of(sqlite_ledger)) as server, Client(server.url, token, transport=between) as billing:
        hold = billing.authorize(made(request_id="r"), CENT)
        assert hold.replayed and between.requests == 4
        between.fates += [lost, replaced(504)]
        done = billing.record(made(request_id="r", input_tokens=1), made(request_id="s", input_tokens=1))
    assert (done.recorded, done.duplicates, between.requests) == (0, 2, 7)
    assert [row.request_id for row in rows(sqlite_ledger)] == ["r", "s"]


def test_what_cannot_pass_by_itself_is_not_sent_again(sqlite_ledger: Ledger) -> None:
    between = Unlucky(replaced(500))
    token = meter(sqlite_ledger)
    with serving(url_of(sqlite_ledger)) as server, Client(server.url, token, transport=between) as billing:
        with pytest.raises(ApiError) as caught:
            billing.authorize(made(), CENT)
        assert (caught.value.code, between.requests) == ("http_500", 1)


def test_a_server_that_is_overloaded_is_waited_for_and_then_given_up(sqlite_ledger: Ledger) -> None:
    async def run() -> None:
        transport = httpx.ASGITransport(create_app(sqlite_ledger, most_at_once=0))
        token = meter(sqlite_ledger)
        async with AsyncClient("http://api", token, transport=transport, retry_seconds=0) as billing:
            with pytest.raises(ApiError) as caught:
                await billing.authorize(made(), CENT)
            assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "overloaded", 1)

    asyncio.run(run())


def test_nothing_is_lost_or_counted_twice_while_the_server_is_restarted(ledger: Ledger) -> None:
    token = meter(ledger)
    grant_quota(ledger, "alice", Decimal(1000), reference="order")
    with serving(url_of(ledger)) as server:
        port = server.url.rpartition(":")[2]
        assert server.stop()[0] == 0
    under_way = threading.Barrier(5)

    def work(worker: int) -> None:
        with Client(f"http://127.0.0.1:{port}", token) as billing:
            for number in range(20):
                with billing.call(made(request_id=f"{worker}-{number}"), CENT) as call:
                    call.used(input_tokens=1, cost_amount=CENT)
                if number in (5, 10):
                    under_way.wait(PATIENCE_SECONDS)

    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(work, worker) for worker in range(4)]
        for number in (9, 15, None):
            with serving(url_of(ledger), "--port", port) as server:
                if number is None:
                    for each in done:
                        each.result(PATIENCE_SECONDS)
                else:
                    under_way.wait(PATIENCE_SECONDS)
                    server.stop(number)
    assert query(ledger, "SELECT count(*), count(DISTINCT request_id) FROM usage_records") == [(80, 80)]
    assert quota_details(ledger, "alice").quota.used_amount == 80 * CENT
    assert query(ledger, "SELECT count(*) FROM holds") == [(0,)]
    assert reconcile(ledger) == ()


def test_the_same_for_asyncio(sqlite_ledger: Ledger) -> None:
    grant_quota(sqlite_ledger, "alice", 2 * CENT, reference="order")

    async def run() -> None:
        transport = httpx.ASGITransport(create_app(sqlite_ledger))
        async with AsyncClient("http://api", meter(sqlite_ledger), transport=transport) as billing:
            async with billing.call(made(request_id="good"), CENT) as call:
                call.used(input_tokens=1, cost_amount=CENT)
            with pytest.raises(KeyError):
                async with billing.call(made(request_id="bad"), CENT):
                    raise KeyError
            with pytest.raises(QuotaExceeded):
                async with billing.call(made(), 2 * CENT):
                    raise AssertionError("the call was made")
            with pytest.raises(NotRecorded):
                await billing.record(made(input_tokens=-1))

    asyncio.run(run())
    assert [(row.request_id, row.status) for row in rows(sqlite_ledger)] == [
        ("good", CallStatus.SUCCESS),
        ("bad", CallStatus.FAILED),
    ]


def test_it_imports_nothing_of_the_program() -> None:
    script = "import json, sys, billing_console.client; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout)
    ours = {name for name in names if name.startswith("billing_console.")}
    assert ours and all(name.startswith("billing_console.client") for name in ours)
    others = {name.partition(".")[0] for name in names}
    assert not others & {"db", "screens", "sqlmodel", "sqlalchemy", "textual", "typer", "fastapi", "pydantic"}


def test_the_example_in_the_documentation_works(sqlite_ledger: Ledger) -> None:
    example = PAGE.read_text().partition("```python\n")[2].partition("```")[0]
    grant_quota(sqlite_ledger, "alice", Decimal("0.05"), reference="order")
    price(sqlite_ledger)
    completion = SimpleNamespace(usage=SimpleNamespace(prompt_tokens=100, completion_tokens=10))
    names: dict[str, Any] = {"ask": lambda _question: completion}
    with serving(url_of(sqlite_ledger)) as server:
        example = example.replace("http://127.0.0.1:8080", server.url).replace("bct_…", meter(sqlite_ledger))
        exec(example, names)
        assert names["answer"]("alice", "?") is completion
        assert names["answer"]("alice", "?").startswith("alice has ")
    assert [row.cost_amount for row in rows(sqlite_ledger)] == [Decimal("0.0013")]
