"""One writer: requests that come while a transaction is being committed are put together in the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from billing_console.errors import Unavailable
from billing_console.services.holds import HoldView, NewHold
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult
from billing_console.services.metering_batch import MOST_RECORDS, Outcome, Request, meter, said_to_each
from billing_console.services.new_usage import NewUsage


class Writer:
    """Answers validated requests, each once the transaction that holds it is committed.

    All of it happens in the event loop but the transactions, of which there is one at a time. The frame bounds how many
    requests wait; a database that does not answer fails all of them at once, so none waits for several time limits.
    """

    def __init__(self) -> None:
        """Start with nothing to do."""
        self._waiting: deque[tuple[Request, asyncio.Future[Outcome]]] = deque()
        self._task: asyncio.Task[None] | None = None
        # A thread of its own: however many others read, metering does not wait for them.
        self._thread = ThreadPoolExecutor(1, "writer")

    async def authorize(self, ledger: Ledger, wanted: NewHold) -> HoldView:
        """Do what `metering_batch.authorize` does, together with other requests."""
        wanted.validate()
        found = await self._answer(Request(ledger, wanted))
        assert isinstance(found, HoldView)
        return found

    async def record(self, ledger: Ledger, records: list[NewUsage]) -> RecordResult:
        """Record validated calls and end their holds, together with other requests."""
        found = await self._answer(Request(ledger, records))
        assert isinstance(found, RecordResult)
        return found

    async def _answer(self, request: Request) -> Outcome:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        outcome = await future
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = self._take()
                outcomes = await loop.run_in_executor(self._thread, meter, [request for request, _future in batch])
                failure = outcomes[0]
                if isinstance(failure, Unavailable) and all(isinstance(each, Unavailable) for each in outcomes):
                    # Those that came meanwhile have waited for the same database long enough.
                    late = list(self._waiting)
                    self._waiting.clear()
                    batch += late
                    requests = [request for request, _future in late]
                    outcomes += await loop.run_in_executor(self._thread, said_to_each, failure, requests)
                for (_request, future), outcome in zip(batch, outcomes, strict=True):
                    if not future.done():
                        future.set_result(outcome)
        finally:
            self._task = None

    def _take(self) -> list[tuple[Request, asyncio.Future[Outcome]]]:
        batch: list[tuple[Request, asyncio.Future[Outcome]]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0][0].size <= MOST_RECORDS):
            batch.append(self._waiting.popleft())
            size += batch[-1][0].size
        return batch
