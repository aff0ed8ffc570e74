"""Following the calls as they are made: new ones on top, held back while the cursor is elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from billing_console.i18n import _, ngettext
from screens.console import ask

if TYPE_CHECKING:
    from textual.timer import Timer

    from billing_console.services.ledger import Ledger
    from screens.usage import UsageRecordsView

SECONDS = 1.0
"""How often new calls are looked for."""

MOST_NEW = 1000
"""New calls counted at most while they are held back."""


class Follow:
    """Whether one view follows, and how many new calls wait."""

    def __init__(self, view: UsageRecordsView) -> None:
        """Start without following."""
        self._view = view
        self._timer: Timer | None = None
        self._waiting = 0
        self.on = False
        self.paused = False
        self.newest = ""
        """The cursor of the newest call on the screen."""

    def turn(self) -> None:
        """Begin to follow, from the newest call, or end it."""
        if self.on:
            self.end()
            self._view.summary.draw()
            return
        self._view.oldest_first = False
        self.on, self.paused = True, False
        seconds = min(SECONDS, self._view.console.refresh_seconds)
        self._timer = self._view.set_interval(seconds, self._tick)
        self._view.go("first")
        self._view.summary.draw()

    def end(self) -> None:
        """Follow no longer."""
        self.on = self.paused = False
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def resume(self) -> None:
        """Go on: the cursor is on its way to the newest call."""
        self.paused = False

    def moved(self, row: int) -> None:
        """Pause when the cursor leaves the newest call, go on when it comes back."""
        if not self.on or self.paused == (row > 0):
            return
        self.paused, self._waiting = row > 0, 0
        if not self.paused:
            self._view.load_top()
        self._view.summary.draw()

    @property
    def words(self) -> str:
        """What to say in place of the order; empty while nothing is followed."""
        if not self.on:
            return ""
        if not self.paused:
            return _("following")
        count = f"{self._waiting - 1:,}+" if self._waiting > MOST_NEW else f"{self._waiting:,}"
        return ngettext("paused, %(count)s new", "paused, %(count)s new", self._waiting) % {"count": count}

    def _tick(self) -> None:
        view = self._view
        if not view.on_top or view.console.ledger is None or view.busy:
            return
        if not self.paused:
            view.load_top()
        else:
            self._count_new(self.newest)

    def _count_new(self, newest: str) -> None:
        wish = self._view.wish

        def work(ledger: Ledger) -> int:
            from billing_console.services.usage import usage_page

            chosen = wish.resolve(ledger)
            return len(usage_page(ledger, chosen, limit=MOST_NEW + 1, after=newest, oldest_first=True).rows)

        ask(
            self._view,
            work,
            self._counted,
            partial(self._view.console.report, self._view.NAME),
            group="new",
            to_show=True,
        )

    def _counted(self, waiting: int) -> None:
        self._view.console.report(self._view.NAME, None)
        if self.paused and waiting != self._waiting:
            self._waiting = waiting
            self._view.summary.draw()
