"""Transactions of one command side by side: while the server works on one, the next is made ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import Generic, TypeVar

Result = TypeVar("Result")

AT_ONCE = 2
"""As many as keep a server busy; with three, an import on two cores took as long."""

SECONDS_TO_END = 2
"""How long after an interruption works may go on to their end."""


class SideBySide(Generic[Result]):
    """Runs works in threads, a few at once, and hands over what they come to in the order in which they were begun."""

    def __init__(self, stop: Callable[[], None]) -> None:
        """Start with nothing under way; `stop` has works fail that go on for long after an interruption."""
        self._stop = stop
        self._threads = ThreadPoolExecutor(AT_ONCE, "side")
        self._under_way: deque[tuple[Future[Result], Callable[[Result], None]]] = deque()

    def __enter__(self) -> SideBySide[Result]:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for all that is under way; after an error or an interruption, hand over what still came to an end."""
        try:
            if error is None:
                self.finish()
        except BaseException as raised:
            error = raised
            raise
        finally:
            if isinstance(error, KeyboardInterrupt) and self._go_on_for(SECONDS_TO_END):
                self._stop()
            while self._under_way:
                with suppress(Exception):
                    self._hand_over()
            self._threads.shutdown()

    def begin(self, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run `work` in a thread, once one is free; `then` is called with its result, in this thread and in order."""
        while len(self._under_way) >= AT_ONCE:
            self._hand_over()
        self._under_way.append((self._threads.submit(copy_context().run, work), then))

    def finish(self) -> None:
        """Wait for all that is under way; raises what the first of it raised."""
        while self._under_way:
            self._hand_over()

    def _go_on_for(self, seconds: float) -> bool:
        return bool(wait([future for future, _then in self._under_way], seconds).not_done)

    def _hand_over(self) -> None:
        future, then = self._under_way[0]
        wait([future])
        self._under_way.popleft()
        then(future.result())
