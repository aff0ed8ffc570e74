"""Which columns of the usage records are hidden, remembered from one time to the next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from billing_console import state_file
from billing_console.errors import Unavailable
from billing_console.text import clean
from screens.usage_table import HIDDEN, UsageTable, usage_columns, visible

if TYPE_CHECKING:
    from billing_console.services.usage import UsageRow
    from screens.usage import UsageRecordsView
    from screens.widgets.table import Column

KEY = "usage.hidden"


class ColumnChoice:
    """The hidden columns of one view."""

    def __init__(self, view: UsageRecordsView) -> None:
        """Take up what was remembered; where it is broken, say so and hide what is hidden at first."""
        self._view = view
        self.columns = usage_columns(view.console)
        self._hidden: tuple[str, ...] = HIDDEN
        try:
            kept = state_file.remembered(KEY)
        except Unavailable as error:
            self._warn(error)
        else:
            if isinstance(kept, list):
                self._hidden = tuple(key for key in kept if isinstance(key, str))

    @property
    def shown(self) -> tuple[Column[UsageRow], ...]:
        """The columns to show."""
        return visible(self.columns, self._hidden)

    def hide(self, key: str) -> None:
        """Hide one more column, unless it is the last."""
        if len(self.shown) > 1:
            self._choose((*self._hidden, key))

    def ask(self) -> None:
        """Let a person choose."""
        from screens.dialogs.usage_columns import UsageColumnsDialog

        self._view.app.push_screen(UsageColumnsDialog(self.columns, self._hidden), self._choose)

    def _choose(self, hidden: Iterable[str] | None) -> None:
        if hidden is None:
            return
        self._hidden = tuple(hidden)
        table = self._view.query_one(UsageTable)
        table.use_columns(self.shown)
        table.show(self._view.window.rows)
        try:
            state_file.remember(KEY, list(self._hidden))
        except Unavailable as error:
            self._warn(error)

    def _warn(self, error: Unavailable) -> None:
        self._view.app.notify(clean(str(error)), markup=False, severity="warning")
