"""The same client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any

import httpx
from tenacity import AsyncRetrying

from billing_console.client import retrying
from billing_console.client.calls import (
    AUTHORIZE,
    MOST_RECORDS,
    USAGE,
    Call,
    Hold,
    Recorded,
    Usage,
    authorization,
)
from billing_console.client.errors import ApiError, NotRecorded, raise_for


class AsyncClient:
    """As `Client`, method by method, with `await`."""

    def __init__(self, url: str, token: str, *, retry_seconds: float = 60, timeout: float = 30, **http: Any) -> None:
        """Meter at `url`, as `Client` does; `http` goes to httpx.AsyncClient."""
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, **http)
        self._retrying = AsyncRetrying(**retrying.options(retry_seconds))

    async def authorize(self, usage: Usage, estimated_cost: Decimal) -> Hold:
        """Set aside what a call may cost at most."""
        return Hold.of(await self._post(AUTHORIZE, authorization(usage, estimated_cost)))

    async def record(self, *records: Usage) -> Recorded:
        """Record calls that were made."""
        done = Recorded()
        for start in range(0, len(records), MOST_RECORDS):
            bodies = [each.body() for each in records[start : start + MOST_RECORDS]]
            try:
                done = done.and_also(await self._post(USAGE, bodies))
            except (ApiError, httpx.TransportError) as error:
                raise NotRecorded(records[start:]) from error
        return done

    @asynccontextmanager
    async def call(self, usage: Usage, estimated_cost: Decimal) -> AsyncIterator[Call]:
        """Authorize a call, let the block make it, and record it."""
        call = Call(usage, await self.authorize(usage, estimated_cost))
        try:
            yield call
        except BaseException as error:
            await self.record(call.ended(error))
            raise
        await self.record(call.ended(None))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def _post(self, path: str, body: object) -> dict[str, Any]:
        async def send() -> dict[str, Any]:
            answer = await self._http.post(path, json=body)
            raise_for(answer)
            found: dict[str, Any] = answer.json()
            return found

        return await self._retrying(send)
