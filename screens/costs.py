"""Cost statistics: what was spent by day, provider, model and type, with the trend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock, money, wire
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from screens import words
from screens.base import DataPane
from screens.dialogs.cost_filter import CostFilterDialog, CostWish
from screens.dialogs.usage_filter import UsageWish
from screens.widgets.table import Column, RecordTable
from screens.widgets.trend import TrendChart

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from decimal import Decimal

    from billing_console.services.costs import CostRow, CostTotals
    from billing_console.services.ledger import Ledger

MOST_ROWS = 1000
"""Rows drawn at most: a longer table takes seconds to paint, and nobody reads it; the totals count every row."""

GROUPINGS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("day", "provider", "model", "type"), N_("day, provider, model, type")),
    (("day",), N_("day")),
    (("provider",), N_("provider")),
    (("provider", "model"), N_("provider, model")),
    (("type",), N_("type")),
)
"""What the rows can be grouped by; the seed's table first."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Everything the tab shows, so that an unchanged answer is recognised as such."""

    rows: tuple[CostRow, ...]
    totals: CostTotals
    days: tuple[tuple[date, Decimal], ...]
    grouping: int


class CostStatisticsView(DataPane[Costs]):
    """Tab 2 (seed, CostStatisticsView)."""

    NAME = "costs"
    SHOWS = N_("This tab shows what the calls cost, by day, provider, model and type.")
    EMPTY = N_(
        "Nothing was used in this period. Press / for another one.\n\n"
        "Import usage with: billing-console usage import FILE"
    )
    EMPTY_NEEDS = Action.IMPORT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", N_("Filter")),
        Binding("b", "group", N_("Group by")),
        Binding("t", "chart", N_("Trend"), show=False),
    ]

    def __init__(self) -> None:
        """Start with the last 30 days by day, provider, model and type."""
        super().__init__()
        self.wish = CostWish()
        self.grouping = 0

    def compose_body(self) -> ComposeResult:
        """Yield the trend above the table."""
        yield TrendChart(id="trend")
        yield RecordTable(self._columns(), key=_key, id="costs-table")

    def _columns(self) -> Sequence[Column[CostRow]]:
        grouped = GROUPINGS[self.grouping][0]
        by: dict[str, Column[CostRow]] = {
            "day": Column(
                "statDate",
                N_("Date"),
                lambda row: words.cell(words.day(row.stat_date)),
                lambda row: row.stat_date,
                min_width=10,
            ),
            "provider": Column(
                "providerId",
                N_("Provider"),
                lambda row: words.cell(row.provider_name or "–"),
                lambda row: row.provider_id,
                min_width=8,
                max_width=20,
            ),
            "model": Column(
                "modelId",
                N_("Model"),
                lambda row: words.cell(row.model_id or "–"),
                lambda row: row.model_id,
                min_width=12,
                max_width=40,
            ),
            "type": Column(
                "usageType",
                N_("Type"),
                lambda row: words.cell(_(words.USAGE_TYPES[row.usage_type]) if row.usage_type else "–"),
                lambda row: row.usage_type,
                1,
                16,
            ),
        }
        return (
            *(by[name] for name in grouped),
            Column(
                "totalUsage",
                N_("Total usage"),
                lambda row: words.number(row.total_usage),
                lambda row: wire.number(row.total_usage),
                2,
                right=True,
            ),
            Column(
                "totalCost",
                N_("Total cost"),
                lambda row: words.amount(row.total_cost, symbol=self.console.symbol),
                lambda row: row.total_cost,
                right=True,
            ),
            Column(
                "callCount",
                N_("Calls"),
                lambda row: words.number(row.call_count),
                lambda row: row.call_count,
                right=True,
            ),
            Column(
                "failedCount",
                N_("Failed"),
                lambda row: words.number(row.failed_count),
                lambda row: row.failed_count,
                3,
                right=True,
            ),
        )

    def question(self) -> Callable[[Ledger], Costs]:
        """Ask for rows, totals and trend of the filter."""
        wish, grouping = self.wish, self.grouping

        def work(ledger: Ledger) -> Costs:
            from billing_console.services.costs import cost_rows, cost_totals, daily_totals

            chosen = wish.resolve(ledger)
            rows = cost_rows(ledger, chosen, GROUPINGS[grouping][0], limit=MOST_ROWS)
            return Costs(rows, cost_totals(ledger, chosen), daily_totals(ledger, chosen), grouping)

        return work

    def nothing_in(self, data: Costs) -> bool:
        """Whether nothing was used in the period."""
        return not data.rows

    def present(self, data: Costs) -> None:
        """Draw the trend, the rows and the totals."""
        self.query_one(TrendChart).show(data.days, self.console.symbol)
        self.query_one("#costs-table", RecordTable).show(data.rows)
        today = self.console.now().date()
        totals, days = data.totals, max(sum(day <= today for day, _cost in data.days), 1)
        parts = [
            _("Total %(amount)s") % {"amount": money.shown(totals.total_cost, symbol=self.console.symbol)},
            _("%(amount)s a day") % {"amount": money.shown(totals.total_cost / days, symbol=self.console.symbol)},
            ngettext("%(count)s call", "%(count)s calls", totals.call_count) % {"count": f"{totals.call_count:,}"},
            _("%(count)s failed") % {"count": f"{totals.failed_count:,}"},
        ]
        if len(data.rows) == MOST_ROWS:
            parts.append(_("only the first %(count)s rows are shown") % {"count": f"{MOST_ROWS:,}"})
        self.set_summary(" · ".join(parts))

    # Filter, grouping, export

    def filter_text(self) -> str:
        """Describe the period, the filter and the grouping."""
        grouping = _(GROUPINGS[self.grouping][1])
        return f"{self.wish.text()} · " + _("by %(grouping)s") % {"grouping": grouping}

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
        """Group the rows in the next way."""
        self.grouping = (self.grouping + 1) % len(GROUPINGS)
        self.query_one("#costs-table", RecordTable).use_columns(self._columns())
        self.load(asked=True)

    def action_chart(self) -> None:
        """Hide the trend to give the table its room, or show it again."""
        chart = self.query_one(TrendChart)
        chart.display = not chart.display

    @on(RecordTable.Chosen)
    def _show_records(self, event: RecordTable.Chosen) -> None:
        """Go to the calls behind a row."""
        from screens.usage import UsageRecordsView

        row: CostRow = event.item
        ledger, data = self.console.ledger, self.data
        if ledger is None or data is None:
            return
        first, last = (row.stat_date, row.stat_date) if row.stat_date else (data.days[0][0], data.days[-1][0])
        wish = UsageWish(
            provider_id=row.provider_id or self.wish.provider_id,
            model_id=row.model_id or self.wish.model_id,
            usage_type=row.usage_type or self.wish.usage_type,
            period="custom",
            start=clock.start_of(first, ledger.timezone),
            end=clock.start_of(last + timedelta(days=1), ledger.timezone),
        )
        self.console.show_tab("usage")
        self.app.query_one(UsageRecordsView).look_at(wish)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the filter as soon as there is a ledger."""
        if action in ("filter", "group", "chart"):
            return self.console.ledger is not None
        return super().check_action(action, parameters)

    def exporting(self) -> Callable[[Ledger], Iterator[Sequence[object]]] | None:
        """Yield every row of the filter, not only those drawn."""
        wish, grouping, table = self.wish, self.grouping, self.query_one("#costs-table", RecordTable)

        def rows(ledger: Ledger) -> Iterator[Sequence[object]]:
            from billing_console.services.costs import cost_rows

            yield table.export_header()
            yield from map(table.export_row, cost_rows(ledger, wish.resolve(ledger), GROUPINGS[grouping][0]))

        return rows


def _key(row: CostRow) -> str:
    return f"{row.stat_date}|{row.provider_id}|{row.model_id}|{row.usage_type}"
