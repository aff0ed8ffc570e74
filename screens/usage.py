"""Usage records: every AI call, newest first, with filters and the reason of failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from billing_console import wire
from billing_console.i18n import N_
from billing_console.services.actions import Action
from db.values import CallStatus
from screens.base import DataPane
from screens.dialogs.usage_filter import UsageFilterDialog
from screens.usage_columns import ColumnChoice
from screens.usage_filter_bar import FilterBar
from screens.usage_follow import Follow
from screens.usage_summary import Summary
from screens.usage_table import UsageTable
from screens.usage_window import Reader, Window
from screens.usage_wish import UsageWish
from screens.widgets.line import Line
from screens.widgets.table import RecordTable

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

NEAR = 20
"""Rows from the edge of the window at which the next page is loaded."""


class UsageRecordsView(DataPane[Window]):
    """Tab 1 (seed, UsageRecordsView)."""

    NAME = "usage"
    SHOWS = N_("This tab shows every AI call: who made it, to which model, what it used and cost, and why it failed.")
    EMPTY = N_("No usage has been recorded yet.\n\nImport some with: billing-console usage import FILE")
    EMPTY_NEEDS = Action.IMPORT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", N_("Filter")),
        Binding("t", "count", N_("Count all")),
        Binding("x", "parts", N_("Filter parts")),
        Binding("s", "turn_round", N_("Sort")),
        Binding("f", "failures", N_("Failed only")),
        Binding("F", "follow", N_("Follow")),
        Binding("minus", "hide_column", N_("Hide column"), show=False),
        Binding("plus", "columns", N_("Columns"), key_display="+ -"),
    ]

    def __init__(self) -> None:
        """Start with every record, newest first."""
        super().__init__()
        self.wish = UsageWish()
        self.oldest_first = False
        self.summary = Summary(self)
        self.follow = Follow(self)
        self._move = "again"
        self._jump = ""
        self._window = Window(())

    def filter_line(self) -> Line:
        """Make the line of filter parts, each of which can be taken off."""
        return FilterBar()

    def compose_body(self) -> ComposeResult:
        """Yield the table of the columns that are not hidden."""
        self.choice = ColumnChoice(self)
        yield UsageTable(self.choice.shown, self.go)

    # Loading

    def question(self) -> Callable[[Ledger], Window]:
        """Ask for the window, moved as the last key wants it."""
        wish, oldest_first, window, move, jump = self.wish, self.oldest_first, self._window, self._move, self._jump
        self._move, self._jump = "again", ""

        def work(ledger: Ledger) -> Window:
            reader = Reader(ledger, wish.resolve(ledger), oldest_first)
            moves: dict[str, Callable[[], Window]] = {
                "first": reader.first,
                "last": reader.last,
                "down": lambda: reader.down(window),
                "up": lambda: reader.up(window),
                "again": lambda: reader.again(window),
            }
            return replace(moves[move](), jump=jump)

        return work

    def nothing_in(self, data: Window) -> bool:
        """Whether no record matches."""
        return not data.rows

    def present(self, data: Window) -> None:
        """Draw the window."""
        self._window = data
        if data.before is None and data.rows:
            self.follow.newest = data.rows[0].cursor
        self.query_one(UsageTable).show(data.rows)

    def _loaded(self, asked: bool, data: Window) -> None:
        """Put the cursor where a jump went, also when the window was there already."""
        table = self.query_one(UsageTable)
        if data.jump == "top" and table.cursor_row > 0:  # moved meanwhile: what is followed is paused
            self._busy = False
            return
        super()._loaded(asked, data)
        if data.jump and data.rows:
            table.move_cursor(row=len(data.rows) - 1 if data.jump == "last" else 0)

    def _poll(self) -> None:
        """Load again, or where new calls are followed more often than that, only add up."""
        if not self.follow.on:
            super()._poll()
        elif self.on_top:
            self.summary.ask_totals(again=False)

    def load(self, *, asked: bool = False) -> None:
        """Load the window, and unless only the cursor moved, the totals."""
        moved = self._move
        super().load(asked=asked)
        if self.console.ledger is not None and moved in ("again", "first"):
            self.summary.ask_totals(again=asked)

    def load_top(self) -> None:
        """Load the newest calls alone, for following them."""
        self._move, self._jump = "first", "top"
        super().load()

    def go(self, move: str) -> None:
        """Jump to the first or last record of the filter, or load the next page towards an edge."""
        if move in ("first", "last"):
            self._jump = move
            self.follow.resume()
        self._move = move
        self.load(asked=move in ("first", "last"))

    @property
    def window(self) -> Window:
        """The records on the screen."""
        return self._window

    @property
    def on_top(self) -> bool:
        """Whether the tab is shown and no dialog covers it."""
        return self._awake and self.screen is self.app.screen

    @property
    def busy(self) -> bool:
        """Whether a question for records waits for its answer."""
        return self._busy

    @on(DataTable.RowHighlighted)
    def _cursor_moved(self, event: DataTable.RowHighlighted) -> None:
        rows = len(self._window.rows)
        self.follow.moved(self.query_one(UsageTable).cursor_row)
        if self._busy or not rows:
            return
        if event.cursor_row >= rows - NEAR and not self._window.at_end:
            self.go("down")
        elif event.cursor_row < NEAR and self._window.before is not None:
            self.go("up")

    # Filter

    def filter_text(self) -> str:
        """Describe the filter."""
        return self.wish.text(self.console.zone)

    def _show_filter(self) -> None:
        """Show the filter part by part."""
        self.query_one(FilterBar).show_parts(self.wish.parts(self.console.zone))
        self.refresh_bindings()

    def take_focus(self) -> None:
        """Leave the keyboard on the parts of the filter while one works on them."""
        if self.screen.focused is not self.query_one(FilterBar):
            super().take_focus()

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
            self.summary.begin()
            self.go("first")

    def action_parts(self) -> None:
        """Put the keyboard on the parts of the filter, to take one off or turn it round."""
        self.query_one(FilterBar).focus()

    @on(FilterBar.TakenOff)
    def _take_off(self, event: FilterBar.TakenOff) -> None:
        turned = isinstance(event, FilterBar.Turned)
        self.look_at(self.wish.turned(event.field) if turned else self.wish.without(event.field))

    @on(FilterBar.Left)
    def _leave_parts(self) -> None:
        self.screen.set_focus(None)
        self.take_focus()

    def action_clear_filter(self) -> None:
        """Stop what is being counted, else drop the filter."""
        if self.summary.counting:
            self.summary.stop()
        else:
            self.reset_filter()

    def action_failures(self) -> None:
        """Show the failed calls of the filter alone, or the others too again."""
        only = self.wish.status is not CallStatus.FAILED
        self.look_at(replace(self.wish, status=CallStatus.FAILED if only else None))

    # Order, follow, totals, columns

    def action_turn_round(self) -> None:
        """Show the oldest first, or the newest again."""
        self.follow.end()
        self.oldest_first = not self.oldest_first
        self.go("first")

    def action_follow(self) -> None:
        """Keep the newest calls on top, or no longer."""
        self.follow.turn()

    def action_count(self) -> None:
        """Count every record of the filter, or stop it."""
        self.summary.count()

    def action_hide_column(self) -> None:
        """Hide the marked column."""
        self.choice.hide(self.query_one(UsageTable).marked)

    def action_columns(self) -> None:
        """Choose which columns to show."""
        self.choice.ask()

    def is_filtered(self) -> bool:
        """Whether Esc has something to stop or to drop."""
        return super().is_filtered() or self.summary.counting

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the filter as soon as there is a ledger, and the rest where it does something."""
        if action == "parts":
            return bool(self.filter_text())
        if action == "count":
            return self.summary.can_count
        if action in ("filter", "turn_round", "failures", "follow", "columns"):
            return self.console.ledger is not None
        return super().check_action(action, parameters)

    # Details, export

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.usage_details import UsageDetailsDialog

        self.app.push_screen(UsageDetailsDialog(event.item))

    def action_export(self) -> None:
        """Write every record of the filter to a file, and say how many there will be where that is known."""
        from screens.dialogs.export import ExportDialog

        rows = self.exporting()
        if rows is not None:
            self.app.push_screen(ExportDialog(self.NAME, rows, self.summary.exact_calls))

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
                yield from (tuple(wire.record(wire.USAGE, row).values()) for row in page.rows)
                after = page.next
                if after is None:
                    return

        return rows
