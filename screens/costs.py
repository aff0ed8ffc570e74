"""Cost statistics: what was spent by day, week or month, provider, model and type, and what the month will come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock, money
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from screens import words
from screens.base import DataPane
from screens.cost_columns import cost_columns
from screens.cost_figures import change_words, month_words
from screens.dialogs.cost_filter import CostFilterDialog, CostWish
from screens.dialogs.usage_filter import UsageWish
from screens.widgets.line import Line
from screens.widgets.table import Column, RecordTable
from screens.widgets.trend import TrendChart, legend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from decimal import Decimal

    from billing_console.services.budgets import BudgetView
    from billing_console.services.costs import CostFilter, CostRow
    from billing_console.services.costs_compare import ComparedRow, ComparedTotals
    from billing_console.services.costs_trend import Trend
    from billing_console.services.ledger import Ledger

MOST_ROWS = 1000
"""Rows drawn at most: a longer table takes seconds to paint, and nobody reads it; the totals count every row."""

PERIODS = ("day", "week", "month", "")
THINGS = (("provider", "model", "type"), ("provider",), ("provider", "model"), ("model",), ("type",), ())
"""What the rows can be grouped by, a period and things; the seed's table first."""

VIEWS = ("-table-only", "-chart-only", "")
"""The classes of the pane by which trend and table share the room, in the order in which one key goes through them."""

LOW = 16
"""Rows of the tab below which there is room for the table alone."""

GROUP_WORDS = {
    "day": N_("day"),
    "week": N_("week"),
    "month": N_("month"),
    "provider": N_("provider"),
    "model": N_("model"),
    "type": N_("type"),
}


@dataclass(frozen=True, slots=True)
class Costs:
    """Everything the tab shows, so that an unchanged answer is recognised as such."""

    chosen: CostFilter
    groups: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    totals: ComparedTotals
    trend: Trend
    month: BudgetView


class CostStatisticsView(DataPane[Costs]):
    """Tab 2 (seed, CostStatisticsView)."""

    NAME = "costs"
    SHOWS = N_("This tab shows what the calls cost, by day, provider, model and type.")
    EMPTY = N_(
        "Nothing was used in this period. Press %(filter)s for another one.\n\n"
        "Import usage with: billing-console usage import FILE"
    )
    EMPTY_NEEDS = Action.IMPORT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", N_("Filter")),
        Binding("b", "group", N_("Group by")),
        Binding("w", "period", N_("Day, week, month")),
        Binding("u", "top_users", N_("Top users")),
        Binding("B", "budgets", N_("Budgets")),
        Binding("t", "chart", N_("Trend"), show=False),
    ]

    def __init__(self) -> None:
        """Start with the last 30 days by day, provider, model and type."""
        super().__init__()
        self.wish = CostWish()
        self.period = PERIODS[0]
        self.things: tuple[str, ...] = THINGS[0]

    def compose_body(self) -> ComposeResult:
        """Yield the figures and the trend above the table."""
        yield Line(id="change", classes="cost-figures")
        yield Line(id="month", classes="cost-figures")
        yield TrendChart(id="trend")
        yield Line(id="legend", classes="cost-legend")
        yield RecordTable(self._columns(), key=_key, id="costs-table")

    @property
    def groups(self) -> tuple[str, ...]:
        """What the rows are grouped by."""
        return (self.period, *self.things) if self.period else self.things

    def _columns(self) -> Sequence[Column[ComparedRow]]:
        return cost_columns(self.groups, lambda: self.console.symbol)

    def question(self) -> Callable[[Ledger], Costs]:
        """Ask for rows, totals, trend and month of the filter."""
        wish, groups = self.wish, self.groups

        def work(ledger: Ledger) -> Costs:
            return _costs(ledger, wish.resolve(ledger), groups)

        return work

    def nothing_in(self, data: Costs) -> bool:
        """Whether nothing was used in the period."""
        return not data.rows

    def present(self, data: Costs) -> None:
        """Draw the figures, the trend, the rows and the totals."""
        symbol = self.console.symbol
        self.query_one("#change", Line).say(change_words(data.totals, symbol))
        self.query_one("#month", Line).say(month_words(data.month, symbol))
        self.query_one(TrendChart).show(data.trend, symbol)
        self._fit(data.trend)
        self.query_one("#costs-table", RecordTable).show(data.rows)
        totals = data.totals.totals
        days = (min(data.chosen.end, self.console.now().date()) - data.chosen.start).days + 1
        parts = [
            _("Total %(amount)s") % {"amount": self._shown(totals.total_cost)},
            _("%(amount)s a day") % {"amount": self._shown(totals.total_cost / max(days, 1))},
            ngettext("%(count)s call", "%(count)s calls", totals.call_count) % {"count": f"{totals.call_count:,}"},
            _("%(count)s failed") % {"count": f"{totals.failed_count:,}"},
        ]
        if len(data.rows) == MOST_ROWS:
            parts.append(_("first %(count)s rows") % {"count": f"{MOST_ROWS:,}"})
        self.set_summary(" · ".join(parts))

    def _shown(self, amount: Decimal) -> str:
        return money.shown(amount, symbol=self.console.symbol)

    def _fit(self, trend: Trend) -> None:
        self.set_class(self.size.height < LOW, "-low")
        line = self.query_one("#legend", Line)
        line.set_class(len(trend.groups) < 2, "-one-group")
        line.say(legend(trend, self.console.symbol, self.size.width - 2, _spelled))

    def on_resize(self) -> None:
        """Give the legend the new width, and the table all the room where there is little."""
        if self.data is not None:
            self._fit(self.data.trend)

    # Filter, grouping, export

    def filter_text(self) -> str:
        """Describe the period, the filter and the grouping."""
        grouping = ", ".join(_(GROUP_WORDS[name]) for name in self.groups)
        by = _("by %(grouping)s") % {"grouping": grouping} if grouping else _("all in one")
        return f"{self.wish.text()} · {by}"

    def is_filtered(self) -> bool:
        """Whether it shows something else than the last 30 days."""
        return self.wish != CostWish()

    def reset_filter(self) -> None:
        """Show the last 30 days again."""
        self._filtered(CostWish())

    def action_filter(self) -> None:
        """Choose which statistics to look at."""
        self.app.push_screen(CostFilterDialog(self.wish), self._filtered)

    def _filtered(self, wish: CostWish | None) -> None:
        if wish is not None:
            self.wish = wish
            self.load(asked=True)

    def action_group(self) -> None:
        """Group the rows by other things."""
        self.things = THINGS[(THINGS.index(self.things) + 1) % len(THINGS)]
        self._regroup()

    def action_period(self) -> None:
        """Group the rows by a longer period, after months by none, then by days again."""
        self.period = PERIODS[(PERIODS.index(self.period) + 1) % len(PERIODS)]
        self._regroup()

    def _regroup(self) -> None:
        self.query_one("#costs-table", RecordTable).use_columns(self._columns())
        self.load(asked=True)

    def action_chart(self) -> None:
        """Give the table the room of the trend, then the trend that of the table, then both their part again."""
        now = next(view for view in VIEWS if not view or self.has_class(view))
        after = VIEWS[(VIEWS.index(now) + 1) % len(VIEWS)]
        for view in filter(None, VIEWS):
            self.set_class(view == after, view)

    def action_top_users(self) -> None:
        """Show who spent most of what the filter lets through."""
        from screens.dialogs.cost_users import TopUsersDialog

        self.app.push_screen(TopUsersDialog(self.wish), self._show_user)

    def _show_user(self, wish: UsageWish | None) -> None:
        if wish is not None:
            self._look_at(wish)

    def action_budgets(self) -> None:
        """Show this month of every provider, with its budget."""
        from screens.dialogs.cost_budgets import BudgetsDialog

        self.app.push_screen(BudgetsDialog(self._budget_changed))

    def _budget_changed(self) -> None:
        self.load(asked=True)

    @on(RecordTable.Chosen)
    def _show_records(self, event: RecordTable.Chosen) -> None:
        """Go to the calls behind a row."""
        compared: ComparedRow = event.item
        row, data, ledger = compared.row, self.data, self.console.ledger
        if ledger is None or data is None:
            return
        first, last = _days_of(row, data)
        wish = UsageWish(
            provider_id=row.provider_id or self.wish.provider_id,
            model_id=row.model_id or self.wish.model_id,
            usage_type=row.usage_type or self.wish.usage_type,
            period="custom",
            start=clock.start_of(first, ledger.timezone),
            end=clock.start_of(last + timedelta(days=1), ledger.timezone),
        )
        self._look_at(wish)

    def _look_at(self, wish: UsageWish) -> None:
        from screens.usage import UsageRecordsView

        self.console.show_tab("usage")
        self.app.query_one(UsageRecordsView).look_at(wish)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the filter as soon as there is a ledger, and what needs costs when there are some."""
        if action in ("filter", "group", "period", "chart", "budgets"):
            return self.console.ledger is not None
        if action == "top_users":
            return self.has_class("-filled")
        return super().check_action(action, parameters)

    def exporting(self) -> Callable[[Ledger], Iterator[Sequence[object]]] | None:
        """Yield every row of the filter, not only those drawn."""
        wish, groups, table = self.wish, self.groups, self.query_one("#costs-table", RecordTable)

        def rows(ledger: Ledger) -> Iterator[Sequence[object]]:
            from billing_console.services.costs_compare import compared_rows

            yield table.export_header()
            yield from map(table.export_row, compared_rows(ledger, wish.resolve(ledger), groups))

        return rows


def _costs(ledger: Ledger, chosen: CostFilter, groups: tuple[str, ...]) -> Costs:
    from billing_console.services.budgets import month_of
    from billing_console.services.costs import PERIODS, period_of
    from billing_console.services.costs_compare import compared_rows, compared_totals
    from billing_console.services.costs_trend import cost_trend

    by = next((name for name in groups if name not in PERIODS), None)
    return Costs(
        chosen=chosen,
        groups=groups,
        rows=compared_rows(ledger, chosen, groups, limit=MOST_ROWS),
        totals=compared_totals(ledger, chosen),
        trend=cost_trend(ledger, chosen, by, period_of(groups) or PERIODS[0]),
        month=month_of(ledger, chosen),
    )


def _days_of(row: CostRow, data: Costs) -> tuple[date, date]:
    """Return the first and the last day that a row is of."""
    from billing_console.services.costs import end_of_period, period_of

    period = period_of(data.groups)
    if row.stat_date is None or period is None:
        return data.chosen.start, data.chosen.end
    return max(row.stat_date, data.chosen.start), min(end_of_period(row.stat_date, period), data.chosen.end)


def _spelled(name: str) -> str:
    """Spell the name of a group: a usage type in the person's language, another as it is."""
    known = {str(usage_type): word for usage_type, word in words.USAGE_TYPES.items()}
    return _(known[name]) if name in known else name


def _key(compared: ComparedRow) -> str:
    row = compared.row
    return f"{row.stat_date}|{row.provider_id}|{row.model_id}|{row.usage_type}"
