"""A question to the ledger while it is being answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.widget import Widget

    from billing_console.services.ledger import Ledger
    from screens.console import Console


class Question:
    """A question to the ledger that is being answered in a thread, and can be stopped."""

    def __init__(self, console: Console, ledger: Ledger, node: Widget, group: str) -> None:
        """Keep whom it was asked, and for which part of the console; of a node's group the newest counts."""
        self.stopped = False
        self.node = node
        self.place = (node, group)
        self._console = console
        self._ledger = ledger
        self._thread: int | None = None
        self._lock = Lock()

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        """Hold while this thread works on the answer."""
        with self._lock:
            self._thread = get_ident()
        try:
            yield
        finally:
            with self._lock:
                self._thread = None

    def stop(self) -> None:
        """Want no answer any more, and tell the database, in a thread: it may be slow to hear."""
        self.stopped = True
        self._console.keys.answered(self.place, self)
        self._console.run_worker(self._interrupt, thread=True, exit_on_error=False)

    def _interrupt(self) -> None:
        with self._lock:
            if self._thread is not None:
                self._ledger.interrupt(self._thread)
