"""The client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any

import httpx
from tenacity import Retrying

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


class Client:
    """Meters calls through a server; safe to share between threads. Close it, or use it in a `with`."""

    def __init__(self, url: str, token: str, *, retry_seconds: float = 60, timeout: float = 30, **http: Any) -> None:
        """Meter at `url` with a token of the scope meter.

        What may pass by itself (no connection, 429, 502, 503, 504) is tried again for `retry_seconds`; `http` goes to
        httpx.Client, such as `verify` or `transport`.
        """
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, **http)
        self._retrying = Retrying(**retrying.options(retry_seconds))

    def authorize(self, usage: Usage, estimated_cost: Decimal) -> Hold:
        """Set aside what a call may cost at most; the same call again has the same hold.

        Raises QuotaExceeded, ModelDisabled or PoolDepleted where it must not be made, and ApiError or
        httpx.TransportError otherwise.
        """
        return Hold.of(self._post(AUTHORIZE, authorization(usage, estimated_cost)))

    def record(self, *records: Usage) -> Recorded:
        """Record calls that were made, up to 1,000 in one transaction, and end their holds; each counts once.

        Raises NotRecorded from an ApiError or httpx.TransportError, with all records of the transaction that failed and
        those after it.
        """
        done = Recorded()
        for start in range(0, len(records), MOST_RECORDS):
            try:
                done = done.and_also(self._post(USAGE, [each.body() for each in records[start : start + MOST_RECORDS]]))
            except (ApiError, httpx.TransportError) as error:
                raise NotRecorded(records[start:]) from error
        return done

    @contextmanager
    def call(self, usage: Usage, estimated_cost: Decimal) -> Iterator[Call]:
        """Authorize a call, let the block make it and say what it used, and record it.

        It is recorded as failed where the block ends in an error or has not said what was used. Raises what `authorize`
        raises before the block, and what `record` raises after it.
        """
        call = Call(usage, self.authorize(usage, estimated_cost))
        try:
            yield call
        except BaseException as error:
            self.record(call.ended(error))
            raise
        self.record(call.ended(None))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        """Return the client itself."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _post(self, path: str, body: object) -> dict[str, Any]:
        def send() -> dict[str, Any]:
            answer = self._http.post(path, json=body)
            raise_for(answer)
            found: dict[str, Any] = answer.json()
            return found

        return self._retrying(send)
