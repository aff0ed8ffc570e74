"""A bounded window on the usage records: it moves by keyset pages, in both directions, never by OFFSET."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.usage import UsageFilter, UsageRow

PAGE = 100
WINDOW = 400
"""Rows kept at most: what 10 million records cost in memory and in time to draw."""


@dataclass(frozen=True, slots=True)
class Window:
    """The rows on the screen, in order; `before` is the cursor of the record above the first, None at the start."""

    rows: tuple[UsageRow, ...]
    before: str | None = None
    at_end: bool = True
    jump: str = field(default="", compare=False)
    """Where the question that this answers wanted the cursor: “first”, “last”, “top” while following, or nowhere."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads windows of one filter in one order; every method runs in a worker thread."""

    ledger: Ledger
    chosen: UsageFilter
    oldest_first: bool = False

    def first(self) -> Window:
        """Read the start of the order."""
        page, more = self._after(None, PAGE)
        return Window(page, None, not more)

    def last(self) -> Window:
        """Read the end of the order."""
        rows, before = self._before(None)
        return Window(rows, before, True)

    def down(self, window: Window) -> Window:
        """Move on: one more page below, and what is too much above goes."""
        page, more = self._after(window.rows[-1].cursor if window.rows else None, PAGE)
        rows = window.rows + page
        gone = max(0, len(rows) - WINDOW)
        return Window(rows[gone:], rows[gone - 1].cursor if gone else window.before, not more)

    def up(self, window: Window) -> Window:
        """Move back: one more page above, and what is too much below goes."""
        first = window.rows[0].cursor if window.rows else None
        page, before = self._before(first)
        rows = page + window.rows
        return Window(rows[:WINDOW], before, window.at_end and len(rows) <= WINDOW)

    def again(self, window: Window) -> Window:
        """Read the same window again; at the start, new records come in on top and the last row stays the last."""
        length = max(PAGE, len(window.rows))
        page, more = self._after(window.before, length + PAGE)
        last = window.rows[-1].id if window.rows and not window.at_end else None
        cut = next((i + 1 for i, row in enumerate(page) if row.id == last), length)
        return Window(page[:cut], window.before, not more and cut >= len(page))

    def _after(self, cursor: str | None, limit: int) -> tuple[tuple[UsageRow, ...], bool]:
        from billing_console.services.usage import usage_page

        page = usage_page(self.ledger, self.chosen, limit=limit, after=cursor, oldest_first=self.oldest_first)
        return page.rows, page.next is not None

    def _before(self, cursor: str | None) -> tuple[tuple[UsageRow, ...], str | None]:
        """Read a page against the order; its far row is not shown but marks where the window begins."""
        from billing_console.services.usage import usage_page

        page = usage_page(self.ledger, self.chosen, limit=PAGE, after=cursor, oldest_first=not self.oldest_first)
        if page.next is None:
            return page.rows[::-1], None
        return page.rows[-2::-1], page.rows[-1].cursor
