"""The table of the usage records: its columns, and which of them a person has hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from billing_console import clock
from billing_console.i18n import N_, _, pgettext
from db.values import UsageType
from screens import words
from screens.console import Console
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from billing_console.services.usage import UsageRow

MEASURES = {
    UsageType.IMAGE_GENERATION: N_("%(count)s img"),
    UsageType.AUDIO_TTS: N_("%(count)s ch"),
    UsageType.AUDIO_STT: N_("%(count)s s"),
    UsageType.VIDEO_GENERATION: N_("%(count)s s"),
}
"""What types that are not counted in tokens are counted in, short."""


HIDDEN = ("errorMessage", "requestId")
"""Columns that are not shown until a person wants them."""


class UsageTable(RecordTable["UsageRow"]):
    """The window's table; first and last row mean those of the filter, not of the window."""

    PURE = True

    def __init__(self, columns: Sequence[Column[UsageRow]], go: Callable[[str], None]) -> None:
        """Start with these columns; `go` is told “first” or “last”."""
        super().__init__(columns, key=lambda row: str(row.id), sortable=False, id="usage-table")
        self._go = go

    def action_scroll_top(self) -> None:
        """Go to the very first record."""
        self._go("first")

    def action_scroll_bottom(self) -> None:
        """Go to the very last record."""
        self._go("last")

    @property
    def marked(self) -> str:
        """The key of the column that `y` means."""
        return self._column_key


def visible(columns: Iterable[Column[UsageRow]], hidden: Iterable[str]) -> tuple[Column[UsageRow], ...]:
    """Return the columns that are not hidden; all of them rather than none."""
    columns, away = tuple(columns), set(hidden)
    return tuple(column for column in columns if column.key not in away) or columns


def usage_columns(console: Console) -> tuple[Column[UsageRow], ...]:
    """Return every column there is, the seed's and the ids and reasons behind them, in order."""

    def time(row: UsageRow) -> Text:
        return words.cell(words.instant(row.created_at, console.now()))

    def cost(row: UsageRow) -> Text:
        if row.unpriced:
            return Text(_("unpriced"), style=words.WARN, justify="right", no_wrap=True, overflow="ellipsis", end="")
        return words.amount(row.cost_amount, places=4, symbol=console.symbol)

    return (
        Column("createdAt", N_("Time"), time, lambda row: clock.iso(row.created_at), min_width=14),
        Column("userId", N_("User"), _user, lambda row: row.user_id, 0, 8, 28),
        Column("providerId", N_("Provider"), _provider, lambda row: row.provider_id, 1, 8, 20),
        Column("modelId", N_("Model"), lambda row: words.cell(row.model_id), lambda row: row.model_id, 0, 12, 36),
        Column("usageType", N_("Type"), _type, lambda row: row.usage_type.value, 3, 16, 16),
        Column("inputTokens", N_("Input"), _input, lambda row: row.input_tokens, 4, 7, right=True),
        Column("outputTokens", N_("Output"), _output, lambda row: row.output_tokens, 4, 7, right=True),
        Column("totalTokens", pgettext("amount", "Usage"), _usage, lambda row: row.usage, 2, 7, right=True),
        Column("costAmount", N_("Cost"), cost, lambda row: row.cost_amount, min_width=10, right=True),
        Column("status", N_("Status"), _status, lambda row: row.status.value, min_width=9),
        Column("errorMessage", N_("Failure reason"), _reason, lambda row: row.error_message, 5, 16, 60),
        Column(
            "requestId", N_("Request"), lambda row: words.cell(row.request_id), lambda row: row.request_id, 6, 12, 40
        ),
    )


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


def _reason(row: UsageRow) -> Text:
    return words.cell(row.error_message or "")


def _status(row: UsageRow) -> Text:
    return words.state(row.status)
