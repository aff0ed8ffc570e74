"""What must be seen on every tab: open balance alerts, what waits for approval, problems of the console itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from billing_console import money
from billing_console.errors import NotPermitted
from billing_console.i18n import _, ngettext
from billing_console.services.actions import Action
from billing_console.text import one_line
from db.values import AlertLevel
from screens import words
from screens.console import ask, console_of
from screens.widgets.line import Line

if TYPE_CHECKING:
    from billing_console.errors import BillingError
    from billing_console.services.alerts import AlertView
    from billing_console.services.ledger import Ledger
    from db.values import Role

LINES = 3
"""Alerts shown at most: at 80x24 the tab below needs its room."""

WIDE = 96
"""Columns from which a line has room for the time of an alert beside its day, and for its type beside its level."""


@dataclass(frozen=True, slots=True)
class News:
    """What the banner asks for: the role of the person, who may have lost it, open alerts, requests to be decided."""

    role: Role
    alerts: tuple[AlertView, ...]
    waiting: int


class AlertBanner(Vertical):
    """The open alerts, most urgent first; it asks the ledger itself and takes no room while there are none.

    Below them is how many requests wait for this person's approval.
    """

    def __init__(self) -> None:
        """Start without alerts."""
        super().__init__(id="alerts")
        self.alerts: tuple[AlertView, ...] = ()
        self.waiting = 0

    def compose(self) -> ComposeResult:
        """Lay out the lines once; only their text and visibility change."""
        for _index in range(LINES + 1):
            yield Line(classes="alert")
        yield Line(classes="alert -request")

    def poll(self) -> None:
        """Ask what is new."""
        if console_of(self).ledger is not None:
            ask(self, _news, self._show, self._failed, group="alerts")

    def _failed(self, error: BillingError) -> None:
        if isinstance(error, NotPermitted):
            console_of(self).shut_out(error)
        else:
            console_of(self).report("alerts", error)

    def _show(self, news: News) -> None:
        console = console_of(self)
        if console.ledger is None:  # closed since the question was asked
            return
        console.report("alerts", None)
        console.work_as(news.role)
        waiting = news.waiting if console.may(Action.APPROVE) else 0
        if (news.alerts, waiting) != (self.alerts, self.waiting):
            self.alerts, self.waiting = news.alerts, waiting
            self.draw()

    def forget(self) -> None:
        """Show nothing of the ledger any more."""
        self.alerts, self.waiting = (), 0
        self.draw()

    def on_resize(self) -> None:
        """Align again for the new width."""
        self.draw()

    def draw(self) -> None:
        """Write the lines, aligned in columns; the symbol and the word say what the colour says."""
        room = self.size.width - 2
        rows = [self._columns(alert, wide=room >= WIDE) for alert in self.alerts[:LINES]]
        if room < WIDE and any(row[-1] for row in rows):  # the level says what the type says
            rows = [(*row[:2], "", *row[3:]) for row in rows]
        widths = [max((words.cell(row[i]).cell_len for row in rows), default=0) for i in range(7)]
        lines = list(self.query(Line))
        for index, line in enumerate(lines[:LINES]):
            shown = index < len(rows)
            if shown:
                level = self.alerts[index].alert_level
                known = self.alerts[index].acknowledged_at is not None
                line.set_class(level == AlertLevel.CRITICAL and not known, "-critical")
                line.set_class(level == AlertLevel.WARNING and not known, "-warning")
                line.say(_aligned(rows[index], widths, room))
            line.display = shown
        more = len(self.alerts) - LINES
        lines[LINES].say(ngettext("+%(count)d more alert (a)", "+%(count)d more alerts (a)", more) % {"count": more})
        lines[LINES].display = more > 0
        wait = ngettext(
            "%(count)d request waits for approval (A)", "%(count)d requests wait for approval (A)", self.waiting
        )
        lines[-1].say("◆ " + wait % {"count": self.waiting})
        lines[-1].display = self.waiting > 0
        self.display = bool(self.alerts or self.waiting)

    def _columns(self, alert: AlertView, *, wide: bool) -> tuple[str, ...]:
        style, word = words.STATES[alert.alert_level]
        console = console_of(self)
        when = words.instant(alert.created_at, console.now(), seconds=False)
        if not wide:
            today = f"{console.now():%m-%d}"
            when = when.removeprefix(f"{today} ").split()[0]
        return (
            f"{words.MARKS[style]} {_(word)}",
            one_line(alert.provider_name, 24),
            _(words.ALERT_TYPES[alert.alert_type]),
            words.percent(alert.balance_percentage),
            _("available %(amount)s") % {"amount": money.shown(alert.available_balance, symbol=console.symbol)},
            when,
            _("acknowledged") if alert.acknowledged_at is not None else "",
        )


def _news(ledger: Ledger) -> News:
    from billing_console.services.alerts import list_alerts
    from billing_console.services.approvals import count_waiting
    from billing_console.services.operators import role_now

    role = role_now(ledger)
    waiting = count_waiting(ledger) if replace(ledger, role=role).may(Action.APPROVE) else 0
    return News(role, list_alerts(ledger, resolved=False), waiting)


def _aligned(row: tuple[str, ...], widths: list[int], room: int) -> str:
    """Pad the cells to columns, numbers to the right; the provider gives way where the line is too short."""
    gaps = sum(width > 0 for width in widths) - 1
    gap = "  " if sum(widths) + 2 * gaps <= room else " "
    over = max(0, sum(widths) + len(gap) * gaps - room)
    parts = []
    for index, (text, width) in enumerate(zip(row, widths, strict=True)):
        if not width:
            continue
        cell = words.cell(text)
        wanted = max(4, width - over) if index == 1 else width
        cell.truncate(wanted, overflow="ellipsis")
        pad = " " * (wanted - cell.cell_len)
        parts.append(pad + cell.plain if index in (3, 4) else cell.plain + pad)
    return gap.join(parts)


class ProblemLine(Line):
    """One line that says what does not work now and what to do; never lost, gone when it works again."""

    def show_problems(self, problems: dict[str, BillingError]) -> None:
        """Show the first problem and how many more there are."""
        self.display = bool(problems)
        if not problems:
            return
        first = next(iter(problems.values()))
        messages = {str(problem) for problem in problems.values()}
        more = len(messages) - 1
        tail = (
            " " + ngettext("(+%(count)d more problem)", "(+%(count)d more problems)", more) % {"count": more}
            if more
            else ""
        )
        self.say("✖ " + str(first) + tail)
