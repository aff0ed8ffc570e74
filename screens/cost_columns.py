"""The columns of cost statistics: what rows are grouped by, what they cost, and how that has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from billing_console import money, wire
from billing_console.i18n import N_, _
from screens import words
from screens.cost_figures import change_in_percent, signed
from screens.widgets.table import Column

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.costs_compare import ComparedRow

    CostColumn = Column[ComparedRow]


def cost_columns(groups: Sequence[str], symbol: str) -> Sequence[CostColumn]:
    """Return the columns of rows that are grouped by these; where the room ends, the seed's are kept longest."""
    return (*(_group_columns()[name] for name in groups), *_sums(symbol), *_comparison(symbol))


def _group_columns() -> dict[str, CostColumn]:
    return {
        "day": _start(N_("Date")),
        "week": _start(N_("Week from")),
        "month": Column(
            "statDate",
            N_("Month"),
            lambda c: words.cell(f"{c.row.stat_date:%Y-%m}" if c.row.stat_date else "–"),
            lambda c: c.row.stat_date,
            min_width=7,
        ),
        "provider": Column(
            "providerId",
            N_("Provider"),
            lambda c: words.cell(c.row.provider_name or "–"),
            lambda c: c.row.provider_id,
            min_width=8,
            max_width=20,
        ),
        "model": Column(
            "modelId",
            N_("Model"),
            lambda c: words.cell(c.row.model_id or "–"),
            lambda c: c.row.model_id,
            min_width=12,
            max_width=40,
        ),
        "type": Column(
            "usageType",
            N_("Type"),
            lambda c: words.cell(_(words.USAGE_TYPES[c.row.usage_type]) if c.row.usage_type else "–"),
            lambda c: c.row.usage_type,
            1,
            16,
        ),
    }


def _start(title: str) -> CostColumn:
    return Column(
        "statDate", title, lambda c: words.cell(words.day(c.row.stat_date)), lambda c: c.row.stat_date, min_width=10
    )


def _sums(symbol: str) -> tuple[CostColumn, ...]:
    return (
        Column(
            "totalUsage",
            N_("Total usage"),
            lambda c: words.number(c.row.total_usage),
            lambda c: wire.number(c.row.total_usage),
            2,
            right=True,
        ),
        Column(
            "totalCost",
            N_("Total cost"),
            lambda c: words.amount(c.row.total_cost, symbol=symbol),
            lambda c: c.row.total_cost,
            right=True,
        ),
        Column(
            "callCount", N_("Calls"), lambda c: words.number(c.row.call_count), lambda c: c.row.call_count, right=True
        ),
        Column(
            "costChangePercentage",
            N_("Change %"),
            lambda c: right(change_in_percent(c.change)),
            lambda c: c.change.percentage,
            3,
            right=True,
        ),
        Column("costShare", N_("Share"), lambda c: right(f"{c.share}%"), lambda c: c.share, 4, right=True),
        Column(
            "failedCount",
            N_("Failed"),
            lambda c: words.number(c.row.failed_count),
            lambda c: c.row.failed_count,
            5,
            right=True,
        ),
    )


def _comparison(symbol: str) -> tuple[CostColumn, ...]:
    return (
        Column(
            "costChange",
            N_("Difference"),
            lambda c: _rise(c.change.amount, symbol),
            lambda c: c.change.amount,
            6,
            right=True,
        ),
        Column(
            "costPerCall",
            N_("Per call"),
            lambda c: words.amount(c.row.cost_per_call, places=4, symbol=symbol),
            lambda c: c.row.cost_per_call,
            7,
            right=True,
        ),
        Column(
            "costPerMillionTokens",
            N_("Per 1m tokens"),
            lambda c: words.amount(c.row.cost_per_million_tokens, symbol=symbol),
            lambda c: c.row.cost_per_million_tokens,
            8,
            right=True,
        ),
        Column(
            "previousCost",
            N_("Previous"),
            lambda c: words.amount(c.change.previous, symbol=symbol),
            lambda c: c.change.previous,
            9,
            right=True,
        ),
    )


def _rise(amount: Decimal | None, symbol: str) -> Text:
    return right("" if amount is None else signed(amount, money.shown(amount, symbol=symbol)))


def right(text: str) -> Text:
    """Make a right-aligned cell of a number that is spelled already."""
    return Text(text, justify="right", no_wrap=True, overflow="ellipsis", end="")
