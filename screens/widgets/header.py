"""The first line: which product, which ledger, who works with it, in which mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget

from billing_console.i18n import N_, _
from billing_console.text import one_line
from screens.console import ask, console_of

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from db.replica import Standing

LEAST = 8
"""Columns that the database's name keeps at least, and after it the person's."""

ROOMY = 100
"""Columns from which the first line says the time too; on narrower terminals the tab alone says it."""


FAILURES = {"away": N_("replica away"), "promoted": N_("replica promoted"), "foreign": N_("replica of another ledger")}
"""Why the replica is not read from, by its state; the primary answers then."""


class TitleBar(Widget):
    """Product, database, person, mode, replica, time zone and "as of"; no clock, which would repaint every second."""

    zone: reactive[str] = reactive("")
    person: reactive[str] = reactive("")
    """Who works with the ledger; empty before it is open."""

    role: reactive[str] = reactive("")
    replica: reactive[str] = reactive("")
    """How far the read replica is behind, or why nothing is read from it; empty without one."""

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
        if self.replica:
            right.append(f" {self.replica} ")
        spare = self.size.width - left.cell_len - right.cell_len - 3 - 2 * LEAST
        if self.zone and (not self.replica or cell_len(self.zone) + 2 <= spare):
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

    def poll(self) -> None:
        """Ask how the replica stands, where there is one."""
        ledger = console_of(self).ledger
        if ledger is not None and ledger.has_replica:
            ask(self, _replica_words, self._show_replica, lambda _error: None, group="replica")

    def _show_replica(self, words: str) -> None:
        self.replica = words


def _replica_words(ledger: Ledger) -> str:
    from billing_console.services.replica import replica_standing

    return words_of(replica_standing(ledger))


def words_of(standing: Standing | None) -> str:
    """Say how a replica stands; nothing for a ledger without one."""
    if standing is None:
        return ""
    if standing.state in FAILURES:
        return _(FAILURES[standing.state])
    if standing.behind is None:
        return _("replica behind")
    return _("replica %(seconds)d s behind") % {"seconds": standing.behind}
