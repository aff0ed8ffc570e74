"""The first line: which product, which ledger, in which mode."""

from __future__ import annotations

from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget

from billing_console.i18n import _
from billing_console.text import one_line


class TitleBar(Widget):
    """Product, database, mode and time zone; no clock, which would repaint every second."""

    zone: reactive[str] = reactive("")

    def __init__(self, label: str, *, read_only: bool) -> None:
        """Keep what does not change while the console runs."""
        super().__init__(id="title")
        self.label = one_line(label)
        self.read_only = read_only

    def render(self) -> RenderResult:
        """Draw the parts; the database gives way where the line is too short."""
        right = Text(end="")
        if self.read_only:
            right.append(" " + _("READ-ONLY") + " ", style="bold reverse")
        if self.zone:
            right.append(f" {self.zone} ")
        left = Text(" " + _("Billing console"), style="bold", end="")
        middle = Text(self.label, end="")
        middle.truncate(max(8, self.size.width - left.cell_len - right.cell_len - 3), overflow="ellipsis")
        gap = " " * max(1, self.size.width - left.cell_len - right.cell_len - middle.cell_len - 2)
        return Text.assemble(left, "  ", (middle.plain, "not bold"), gap, right, no_wrap=True, overflow="crop", end="")
