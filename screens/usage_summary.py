"""The line under the usage records: what the filter adds up to, honestly, and in which order it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.worker import get_current_worker

from billing_console import money
from billing_console.i18n import _, ngettext
from screens.console import ask

if TYPE_CHECKING:
    from billing_console.errors import BillingError
    from billing_console.services.ledger import Ledger
    from billing_console.services.usage_totals import UsageTotals
    from screens.usage import UsageRecordsView

GROUP = "totals"
"""Whatever asks for totals replaces what asked before."""


class Summary:
    """The totals of one view: at once as far as that is cheap, all of them when asked."""

    def __init__(self, view: UsageRecordsView) -> None:
        """Start without totals."""
        self._view = view
        self._totals: UsageTotals | None = None
        self._counted_at = ""
        self.counting = False

    def begin(self) -> None:
        """Forget the totals of another filter."""
        self._totals, self._counted_at, self.counting = None, "", False
        self.draw()

    def ask_totals(self, *, again: bool) -> None:
        """Ask for the totals, unless they are being counted, or have been and nobody asks `again`."""
        if self.counting or (self._counted_at and not again):
            return
        wish = self._view.wish
        self._counted_at = ""

        def work(ledger: Ledger) -> UsageTotals:
            from billing_console.services.usage_totals import usage_totals

            return usage_totals(ledger, wish.resolve(ledger))

        ask(self._view, work, self._show, lambda _error: None, group=GROUP, to_show=True)

    @property
    def exact_calls(self) -> int | None:
        """How many calls the filter has, None where that is not known."""
        return None if self._totals is None or self._totals.capped else self._totals.calls

    @property
    def can_count(self) -> bool:
        """Whether there is more than has been counted."""
        return self.counting or (self._totals is not None and self._totals.capped)

    def count(self) -> None:
        """Count every record, step by step; a second time stops it."""
        if self.counting:
            self.stop()
            return
        wish, view = self._view.wish, self._view
        self.counting = True

        def work(ledger: Ledger) -> UsageTotals:
            from billing_console.services.usage_totals import UsageTotals, count_usage

            worker, totals = get_current_worker(), UsageTotals()
            for totals in count_usage(ledger, wish.resolve(ledger)):
                if worker.is_cancelled:
                    break
                view.call_later(self._grow, worker.is_cancelled, totals)
            return totals

        ask(view, work, self._counted, self._failed, group=GROUP, to_show=True)
        self.draw()

    def stop(self) -> None:
        """Count no further; what has been counted is said to be the least there is."""
        self._view.workers.cancel_group(self._view, GROUP)
        self.counting = False
        self.draw()

    def _grow(self, cancelled: bool, totals: UsageTotals) -> None:
        if self.counting and not cancelled and (self._totals is None or totals.calls >= self._totals.calls):
            self._show(totals)

    def _counted(self, totals: UsageTotals) -> None:
        self.counting = False
        self._counted_at = f"{self._view.console.now():%H:%M:%S}"
        self._show(totals)

    def _failed(self, error: BillingError) -> None:
        self.counting = False
        self._view.app.notify(str(error), markup=False, severity="warning")
        self.draw()

    def _show(self, totals: UsageTotals) -> None:
        self._totals = totals
        self.draw()

    def draw(self) -> None:
        """Write the line, and offer the keys that go with it."""
        view = self._view
        order = _("oldest first") if view.oldest_first else _("newest first")
        view.set_summary(" · ".join((*self._words(), view.follow.words or order)))
        view.refresh_bindings()

    def _words(self) -> tuple[str, ...]:
        totals = self._totals
        if totals is None:
            return (_("counting…"),)
        count = {"count": f"{totals.calls:,}"}
        calls = ngettext("%(count)s call", "%(count)s calls", totals.calls) % count
        if self.counting:
            calls = _("counting… %(calls)s so far") % {"calls": calls}
        elif totals.capped:
            calls = _("at least %(calls)s") % {"calls": calls}
        elif self._counted_at:
            calls = _("at %(time)s: %(calls)s") % {"time": self._counted_at, "calls": calls}
        return (
            calls,
            _("%(count)s failed") % {"count": f"{totals.failures:,}"},
            _("%(count)s tokens") % {"count": f"{totals.tokens:,}"},
            money.shown(totals.cost, symbol=self._view.console.symbol),
        )
