"""The first line: which product, which ledger, who works with it, in which mode."""

from __future__ import annotations

from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget

from billing_console.i18n import _
from billing_console.text import one_line

LEAST = 8
"""Columns that the database's name keeps at least, and after it the person's."""

ROOMY = 100
"""Columns from which the first line says the time too; on narrower terminals the tab alone says it."""


class TitleBar(Widget):
    """Product, database, person, mode, time zone and "as of"; no clock, which would repaint every second."""

    zone: reactive[str] = reactive("")
    person: reactive[str] = reactive("")
    """Who works with the ledger; empty before it is open."""

    role: reactive[str] = reactive("")
    as_of: reactive[str] = reactive("")
    """When what the tab shows was last found changed; not the last look, which would repaint every few seconds."""

    def __init__(self, label: str, *, read_only: bool) -> None:
        """Keep what does not change while the console runs."""
        super().__init__(id="title")
        self.label = one_line(label)
        self.read_only = read_only

    def render(self) -> RenderResult:
        """Draw the parts; the database gives way where the line is too short, then the person's name."""
        left = Text(" " + _("Billing console"), style="bold", end="")
        right = Text(f" · {self.role}  " if self.person else "", end="")
        if self.read_only:
            right.append(" " + _("READ-ONLY") + " ", style="bold reverse")
        if self.zone:
            right.append(f" {self.zone} ")
        if self.as_of and self.size.width >= ROOMY:
            right.append(_("as of %(time)s") % {"time": self.as_of} + " ")
        room = self.size.width - left.cell_len - right.cell_len - 3
        person = Text(one_line(self.person), style="bold", end="")
        person.truncate(max(LEAST, room - LEAST), overflow="ellipsis")
        middle = Text(self.label, end="")
        middle.truncate(max(LEAST, room - person.cell_len), overflow="ellipsis")
        gap = " " * max(1, room + 1 - person.cell_len - middle.cell_len)
        parts = (left, "  ", (middle.plain, "not bold"), gap, person, right)
        return Text.assemble(*parts, no_wrap=True, overflow="crop", end="")
