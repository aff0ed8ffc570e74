"""The base of the tabs that are filtered by words typed."""

from __future__ import annotations

from typing import ClassVar, Generic

from textual.binding import Binding, BindingType

from billing_console.i18n import N_, _
from billing_console.text import one_line
from screens.base import Data, DataPane
from screens.dialogs.text_filter import TextFilterDialog


class SearchPane(DataPane[Data], Generic[Data]):
    """A tab with a filter of one line. Subclasses name it and ask for what matches `self.wanted`."""

    FILTER_TITLE: ClassVar[str] = ""
    """Title of the filter, marked with N_()."""

    FILTER_LABEL: ClassVar[str] = N_("Words in the row")
    """What the text is looked for in, marked with N_()."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("slash", "filter", N_("Filter"))]

    def __init__(self) -> None:
        """Start with everything."""
        super().__init__()
        self.wanted = ""

    def filter_text(self) -> str:
        """Describe the filter."""
        return one_line(self.wanted)

    def reset_filter(self) -> None:
        """Show everything again."""
        self.wanted = ""

    def action_filter(self) -> None:
        """Choose what to look at."""
        self.app.push_screen(TextFilterDialog(_(self.FILTER_TITLE), self.FILTER_LABEL, self.wanted), self._filter)

    def _filter(self, text: str | None) -> None:
        if text is not None:
            self.wanted = text
            self.load(asked=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the filter as soon as there is a ledger."""
        if action == "filter" and self.console.ledger is None:
            return False
        return super().check_action(action, parameters)
