"""Usage records: every AI call, newest first, with filters and the reason of failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from billing_console import clock, money, wire
from billing_console.i18n import N_, _, ngettext, pgettext
from billing_console.services.actions import Action
from db.values import CallStatus, UsageType
from screens import words
from screens.base import DataPane
from screens.console import ask
from screens.dialogs.usage_filter import UsageFilterDialog, UsageWish
from screens.usage_window import Reader, Window
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.usage import UsageRow, UsageTotals

NEAR = 20
"""Rows from the edge of the window at which the next page is loaded."""


class UsageTable(RecordTable["UsageRow"]):
    """The window's table; first and last row mean those of the filter, not of the window."""

    def action_scroll_top(self) -> None:
        """Go to the very first record."""
        self._view.go("first")

    def action_scroll_bottom(self) -> None:
        """Go to the very last record."""
        self._view.go("last")

    @property
    def _view(self) -> UsageRecordsView:
        return next(node for node in self.ancestors if isinstance(node, UsageRecordsView))


class UsageRecordsView(DataPane[Window]):
    """Tab 1 (seed, UsageRecordsView)."""

    NAME = "usage"
    SHOWS = N_("This tab shows every AI call: who made it, to which model, what it used and cost, and why it failed.")
    EMPTY = N_("No usage has been recorded yet.\n\nImport some with: billing-console usage import FILE")
    EMPTY_NEEDS = Action.IMPORT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", N_("Filter")),
        Binding("s", "turn_round", N_("Sort")),
        Binding("f", "failures", N_("Failed only")),
    ]

    def __init__(self) -> None:
        """Start with every record, newest first."""
        super().__init__()
        self.wish = UsageWish()
        self.oldest_first = False
        self._move = "again"
        self._jump = ""
        self._window = Window(())

    def compose_body(self) -> ComposeResult:
        """Yield the table of the seed's columns."""
        yield UsageTable(self._columns(), key=lambda row: str(row.id), sortable=False, id="usage-table")

    def _columns(self) -> Sequence[Column[UsageRow]]:
        return (
            Column("createdAt", N_("Time"), self._time, lambda row: clock.iso(row.created_at), min_width=14),
            Column("userId", N_("User"), _user, lambda row: row.user_id, 0, 8, 28),
            Column("providerId", N_("Provider"), _provider, lambda row: row.provider_id, 1, 8, 20),
            Column("modelId", N_("Model"), lambda row: words.cell(row.model_id), lambda row: row.model_id, 0, 12, 36),
            Column("usageType", N_("Type"), _type, lambda row: row.usage_type.value, 3, 16, 16),
            Column("inputTokens", N_("Input"), _input, lambda row: row.input_tokens, 4, 7, right=True),
            Column("outputTokens", N_("Output"), _output, lambda row: row.output_tokens, 4, 7, right=True),
            Column("totalTokens", pgettext("amount", "Usage"), _usage, lambda row: row.usage, 2, 7, right=True),
            Column("costAmount", N_("Cost"), self._cost, lambda row: row.cost_amount, min_width=10, right=True),
            Column("status", N_("Status"), _status, lambda row: row.status.value, min_width=9),
        )

    def _time(self, row: UsageRow) -> Text:
        return words.cell(words.instant(row.created_at, self.console.now()))

    def _cost(self, row: UsageRow) -> Text:
        if row.unpriced:
            return Text(_("unpriced"), style=words.WARN, justify="right", no_wrap=True, overflow="ellipsis", end="")
        return words.amount(row.cost_amount, places=4, symbol=self.console.symbol)

    # Loading

    def question(self) -> Callable[[Ledger], Window]:
        """Ask for the window, moved as the last key wants it."""
        wish, oldest_first, window, move = self.wish, self.oldest_first, self._window, self._move
        self._move = "again"

        def work(ledger: Ledger) -> Window:
            reader = Reader(ledger, wish.resolve(ledger), oldest_first)
            moves: dict[str, Callable[[], Window]] = {
                "first": reader.first,
                "last": reader.last,
                "down": lambda: reader.down(window),
                "up": lambda: reader.up(window),
                "again": lambda: reader.again(window),
            }
            return moves[move]()

        return work

    def nothing_in(self, data: Window) -> bool:
        """Whether no record matches."""
        return not data.rows

    def present(self, data: Window) -> None:
        """Draw the window."""
        self._window = data
        self.query_one(UsageTable).show(data.rows)

    def _loaded(self, asked: bool, data: Window) -> None:
        """Put the cursor where a jump went, also when the window was there already."""
        super()._loaded(asked, data)
        if self._jump and data.rows:
            self.query_one(UsageTable).move_cursor(row=0 if self._jump == "first" else len(data.rows) - 1)
        self._jump = ""

    def load(self, *, asked: bool = False) -> None:
        """Load the window, and unless only the cursor moved, the totals."""
        moved = self._move
        super().load(asked=asked)
        if self.console.ledger is not None and moved in ("again", "first"):
            wish = self.wish

            def work(ledger: Ledger) -> UsageTotals:
                from billing_console.services.usage import usage_totals

                return usage_totals(ledger, wish.resolve(ledger))

            ask(self, work, self._show_totals, lambda _error: None, group="totals")

    def _show_totals(self, totals: UsageTotals) -> None:
        more = "+" if totals.capped else ""
        parts = [
            ngettext("%(count)s call", "%(count)s calls", totals.calls) % {"count": f"{totals.calls:,}{more}"},
            _("%(count)s failed") % {"count": f"{totals.failures:,}{more}"},
            _("%(count)s tokens") % {"count": f"{totals.tokens:,}{more}"},
            money.shown(totals.cost, symbol=self.console.symbol) + more,
        ]
        self.set_summary(" · ".join(parts))

    def go(self, move: str) -> None:
        """Jump to the first or last record of the filter, or load the next page towards an edge."""
        if move in ("first", "last"):
            self._jump = move
        self._move = move
        self.load()

    @on(DataTable.RowHighlighted)
    def _cursor_moved(self, event: DataTable.RowHighlighted) -> None:
        rows = len(self._window.rows)
        if self._busy or not rows:
            return
        if event.cursor_row >= rows - NEAR and not self._window.at_end:
            self.go("down")
        elif event.cursor_row < NEAR and self._window.before is not None:
            self.go("up")

    # Filter, order, details, export

    def filter_text(self) -> str:
        """Describe the filter."""
        return self.wish.text(self.console.zone)

    def reset_filter(self) -> None:
        """Show every record again, from the start."""
        self.look_at(UsageWish())

    def action_filter(self) -> None:
        """Choose which records to look at."""
        self.app.push_screen(UsageFilterDialog(self.wish), self.look_at)

    def look_at(self, wish: UsageWish | None) -> None:
        """Show the records of a filter, from the start; None changes nothing."""
        if wish is not None:
            self.wish = wish
            self.go("first")

    def action_failures(self) -> None:
        """Show the failed calls of the filter alone, or the others too again."""
        only = self.wish.status is not CallStatus.FAILED
        self.look_at(replace(self.wish, status=CallStatus.FAILED if only else None))

    def action_turn_round(self) -> None:
        """Show the oldest first, or the newest again."""
        self.oldest_first = not self.oldest_first
        self.go("first")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the filter as soon as there is a ledger."""
        if action in ("filter", "turn_round", "failures"):
            return self.console.ledger is not None
        return super().check_action(action, parameters)

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.usage_details import UsageDetailsDialog

        self.app.push_screen(UsageDetailsDialog(event.item.id))

    def exporting(self) -> Callable[[Ledger], Iterator[Sequence[object]]] | None:
        """Yield every record of the filter, page by page."""
        wish, oldest_first = self.wish, self.oldest_first

        def rows(ledger: Ledger) -> Iterator[Sequence[object]]:
            from billing_console.services.usage import usage_page

            yield tuple(wire.USAGE)
            chosen = wish.resolve(ledger)
            after: str | None = None
            while True:
                page = usage_page(ledger, chosen, limit=1000, after=after, oldest_first=oldest_first)
                yield from (
                    [wire.csv_value(value) for value in wire.record(wire.USAGE, row).values()] for row in page.rows
                )
                after = page.next
                if after is None:
                    return

        return rows

    def set_summary(self, text: str) -> None:
        """Say the order next to the totals."""
        order = _("oldest first") if self.oldest_first else _("newest first")
        super().set_summary(f"{text} · {order}")


MEASURES = {
    UsageType.IMAGE_GENERATION: N_("%(count)s img"),
    UsageType.AUDIO_TTS: N_("%(count)s ch"),
    UsageType.AUDIO_STT: N_("%(count)s s"),
    UsageType.VIDEO_GENERATION: N_("%(count)s s"),
}
"""What types that are not counted in tokens are counted in, short."""


def _user(row: UsageRow) -> Text:
    return words.cell(row.user_id or "–")


def _provider(row: UsageRow) -> Text:
    return words.cell(row.provider_name)


def _type(row: UsageRow) -> Text:
    return words.cell(_(words.USAGE_TYPES[row.usage_type]))


def _input(row: UsageRow) -> Text:
    return words.number(row.input_tokens if _has_tokens(row) else None)


def _output(row: UsageRow) -> Text:
    return words.number(row.output_tokens if _has_tokens(row) else None)


def _has_tokens(row: UsageRow) -> bool:
    return row.usage_type is UsageType.TEXT_GENERATION or row.total_tokens > 0


def _usage(row: UsageRow) -> Text:
    measure = MEASURES.get(row.usage_type)
    count = words.number(row.usage)
    return (
        count if measure is None else Text(_(measure) % {"count": count.plain}, justify="right", no_wrap=True, end="")
    )


def _status(row: UsageRow) -> Text:
    return words.state(row.status)
