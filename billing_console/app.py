"""The console: six tabs, the alert banner above them, and the pool check that runs while it is open."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.screen import Screen
from textual.widgets import ContentSwitcher, TabbedContent, TabPane, Tabs

import screens
from billing_console.errors import BillingError, NotPermitted
from billing_console.i18n import N_, _
from billing_console.pool_timer import PoolTimer
from billing_console.services.actions import Action
from billing_console.terminal import ConsoleOptions, crash_line
from screens import words
from screens.base import DataPane
from screens.console import Console
from screens.widgets.banner import AlertBanner, ProblemLine
from screens.widgets.header import TitleBar
from screens.widgets.keybar import KeyBar, bindings_in_order, key_name

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from db.values import Role

log = logging.getLogger(__name__)
MOVES = ("cursor_", "scroll_", "page_", "column_", "command_palette", "screen.", "app.")
"""Beginnings of actions that make no sense as commands: moving about, and Textual's own."""

WIDE = 92
"""Columns from which the tabs show their full names."""


@dataclass(frozen=True)
class TabSpec:
    """One tab: its names on wide and narrow terminals, and the pane, imported when the tab is first shown."""

    id: str
    label: str
    short: str
    pane: str

    def load(self) -> DataPane[Any]:
        """Import the pane's module and make the pane."""
        module, name = self.pane.split(":")
        pane = getattr(import_module(module), name)()
        assert isinstance(pane, DataPane)
        return pane


TABS = (
    TabSpec("usage", N_("Usage records"), N_("Usage"), "screens.usage:UsageRecordsView"),
    TabSpec("costs", N_("Cost statistics"), N_("Costs"), "screens.costs:CostStatisticsView"),
    TabSpec("pools", N_("Resource pools"), N_("Pools"), "screens.pools:ResourcePoolManagement"),
    TabSpec("quotas", N_("User quotas"), N_("Quotas"), "screens.quotas:UserQuotaManagement"),
    TabSpec("models", N_("Models"), N_("Models"), "screens.models:ModelsManagement"),
    TabSpec("pricing", N_("Pricing"), N_("Pricing"), "screens.pricing:PricingManagement"),
)
"""The seed's six modules, in its order and by its names."""


class LazyPane(TabPane):
    """A tab that is shown only when asked for: focus arriving late in a tab just left must not bring it back."""

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Keep Textual from activating the tab of whatever gets the focus."""
        event.prevent_default()


class BillingConsoleApp(Console):
    """The terminal user interface; it knows the tabs, the keys that work everywhere, and the open ledger."""

    CSS_PATH: ClassVar[list[Any]] = [str(path) for path in sorted(Path(screens.__file__).parent.glob("*.tcss"))]
    TITLE = "billing-console"
    NOTIFICATION_TIMEOUT = 5
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"show_tab('{tab.id}')", tab.label, show=False) for number, tab in enumerate(TABS, 1)),
        Binding("left_square_bracket", "step_tab(-1)", N_("Previous tab"), show=False),
        Binding("right_square_bracket", "step_tab(1)", N_("Next tab"), show=False),
        Binding("a", "alerts", N_("Alerts")),
        Binding("A", "approvals", N_("Approvals"), show=False),
        Binding("L", "audit_log", N_("Audit log"), show=False),
        Binding("colon,ctrl+p", "command_palette", N_("Commands"), show=False),
        Binding("question_mark,f1", "help", N_("Help")),
        Binding("q", "quit", N_("Quit")),
    ]

    def __init__(self, options: ConsoleOptions, *, log_file: Path | None = None) -> None:
        """Keep the options; nothing of the database is touched before the first paint."""
        super().__init__()
        self.options = options
        self.read_only = options.read_only
        self.refresh_seconds = min(options.refresh_seconds, 5.0)
        self.log_file = log_file
        self._opening = False
        self._pool_timer: PoolTimer | None = None
        self._polls = False
        self._look: Callable[[Any], None] | None = None

    def compose(self) -> ComposeResult:
        """Lay out title, problems, alerts, tabs and keys; the panes come when their tab is first shown."""
        yield TitleBar(self.options.label, read_only=self.read_only)
        yield ProblemLine(id="problems")
        yield AlertBanner()
        with TabbedContent(initial=TABS[0].id):
            for tab in TABS:
                yield LazyPane(_(tab.label), id=tab.id)
        yield KeyBar()

    def on_mount(self) -> None:
        """Leave cleanly when the line drops or the machine stops: Textual would leave the terminal in its mode."""
        self.query_one(Tabs).can_focus = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            loop.add_signal_handler(number, self.exit, None, 128 + number)

    def on_ready(self) -> None:
        """After the first paint, import the services and open the ledger."""
        self.call_after_refresh(self.open_ledger)

    def on_resize(self, event: events.Resize) -> None:
        """Use the short names where the long ones do not fit."""
        tabs = self.query_one(TabbedContent)
        for number, tab in enumerate(TABS, 1):
            label = f"{number} {_(tab.label if event.size.width >= WIDE else tab.short)}"
            if str(tabs.get_tab(tab.id).label) != label:
                tabs.get_tab(tab.id).label = label

    # The ledger

    def open_ledger(self) -> None:
        """Open the database in a thread, now; after a failure again and again until it works."""
        if self._opening or self.ledger is not None:
            return
        self._opening = True
        self.run_worker(self._open, thread=True, exit_on_error=False)

    def _open(self) -> None:
        try:
            ledger = self.options.open()
            timer = self._timer_for(ledger)
        except Exception as error:
            self.call_later(self._not_opened, self.explain(error))
        else:
            self.call_later(self._opened, ledger, timer)

    def _timer_for(self, ledger: Ledger) -> PoolTimer | None:
        """Begin to check the pools, for somebody who may; the check itself acts as a part of the program."""
        if self.read_only or not ledger.may(Action.POOL_CHECK):
            return None
        timer = PoolTimer(ledger, self.options.check_interval, self._pools_checked)
        timer.start()
        return timer

    def _not_opened(self, error: BillingError) -> None:
        """Try again later, unless the ledger refused this person: each attempt leaves a row in the audit log."""
        self._opening = False
        self.report("open", error)
        pane = self.pane
        if pane is not None:
            pane.load()
        if not isinstance(error, NotPermitted):
            self.set_timer(self.refresh_seconds, self.open_ledger)

    def _opened(self, ledger: Ledger, timer: PoolTimer | None) -> None:
        self._opening = False
        self.ledger, self._pool_timer = ledger, timer
        self.report("open", None)
        self.query_one(TitleBar).zone = str(ledger.timezone)
        self._show_person()
        banner = self.query_one(AlertBanner)
        banner.poll()
        if not self._polls:
            self._polls = True
            self.set_interval(self.refresh_seconds, banner.poll)
        if self.pane is not None:
            self.pane.wake()

    def _show_person(self) -> None:
        title, ledger = self.query_one(TitleBar), self.ledger
        title.role = _(words.ROLES[ledger.role]) if ledger and ledger.role else ""
        title.person = ledger.operator if ledger else ""

    def work_as(self, role: Role) -> None:
        """Offer what this role allows, from now on; check the pools, or no longer."""
        if self.ledger is None or self.ledger.role is role:
            return
        self.ledger = replace(self.ledger, role=role)
        self._show_person()
        if not self.may(Action.POOL_CHECK):
            self._stop_timer()
        elif self._pool_timer is None:
            self._pool_timer = self._timer_for(self.ledger)
        for pane in self.query(DataPane):
            pane.role_changed()
        for screen in self.screen_stack:
            screen.refresh_bindings()

    def shut_out(self, error: NotPermitted) -> None:
        """Show why instead of the ledger, which is closed; only a person tries again."""
        if self.ledger is None:
            return
        ledger, self.ledger = self.ledger, None
        self._stop_timer()
        ledger.close()
        self.problems.clear()
        self.problems["open"] = error
        self.query_one(ProblemLine).show_problems({})
        self._show_person()
        self.query_one(AlertBanner).forget()
        while len(self.screen_stack) > 1:
            self.pop_screen()
        for pane in self.query(DataPane):
            pane.forget()

    def _stop_timer(self) -> None:
        if self._pool_timer is not None:
            self._pool_timer.stop()
            self._pool_timer = None

    def _pools_checked(self, error: BillingError | None) -> None:
        self.call_later(self.report, "check", error)

    def report(self, source: str, error: BillingError | None) -> None:
        """Say above the tabs that a part of the console failed, or with None that it works again."""
        before = dict(self.problems)
        self.problems.pop(source, None)
        if error is not None:
            self.problems[source] = error
        if self.problems != before:
            self.query_one(ProblemLine).show_problems({k: v for k, v in self.problems.items() if k != "open"})

    def on_unmount(self) -> None:
        """Stop the pool check and close the database."""
        self._stop_timer()

    # The tabs

    @property
    def pane(self) -> DataPane[Any] | None:
        """The pane of the active tab, once it is there."""
        active = self.screen_stack[0].query_one(TabbedContent).active_pane
        panes = active.query(DataPane) if active is not None else None
        return panes.first() if panes else None

    @on(TabbedContent.TabActivated)
    async def _tab_shown(self, event: TabbedContent.TabActivated) -> None:
        for other in self.query(DataPane):
            other.sleep()
        shown = event.pane
        if not shown.query(DataPane):
            tab = next(tab for tab in TABS if tab.id == shown.id)
            await shown.mount(tab.load())
        if self.pane is not None:
            self.pane.wake()
            self._let_look(self.pane)

    def show_tab(self, tab: str, look: Callable[[Any], None] | None = None) -> None:
        """Show the tab with this id; `look` then tells its pane what to look at."""
        tabs, self._look = self.query_one(TabbedContent), look
        if tabs.active != tab:
            tabs.active = tab
        elif self.pane is not None:
            self._let_look(self.pane)

    def _let_look(self, pane: DataPane[Any]) -> None:
        look, self._look = self._look, None
        if look is not None:
            look(pane)

    def action_show_tab(self, tab: str) -> None:
        """Show the tab of a number key."""
        self.show_tab(tab)

    def action_step_tab(self, step: int) -> None:
        """Show the next or the previous tab."""
        ids = [tab.id for tab in TABS]
        here = ids.index(self.query_one(ContentSwitcher).current or ids[0])
        self.show_tab(ids[(here + step) % len(ids)])

    # Everywhere

    def action_alerts(self) -> None:
        """Show every alert, open ones first."""
        from screens.dialogs.alerts import AlertsDialog

        self.push_screen(AlertsDialog(self.query_one(AlertBanner).poll))

    def action_approvals(self) -> None:
        """Show what waits for a second person, and what became of it."""
        from screens.dialogs.approvals import ApprovalsDialog

        self.push_screen(ApprovalsDialog(self._decided))

    def _decided(self) -> None:
        self.query_one(AlertBanner).poll()
        if self.pane is not None:
            self.pane.load(asked=True)

    def action_audit_log(self) -> None:
        """Show who did what, and who was refused."""
        from screens.dialogs.audit import AuditDialog

        self.push_screen(AuditDialog())

    def action_help(self) -> None:
        """List every key that works here."""
        from screens.dialogs.help import HelpDialog

        self.push_screen(HelpDialog(self.screen))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what looks into the ledger only when it is open."""
        if action in ("alerts", "approvals", "audit_log"):
            return self.ledger is not None
        return True

    def action_command_palette(self) -> None:
        """Search every action by name."""
        if not any(isinstance(screen, CommandPalette) for screen in self.screen_stack):
            self.push_screen(CommandPalette(placeholder=_("Search for a command…"), id="--command-palette"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Make every action that works here reachable by name, with its key."""
        seen: set[str] = set()
        for active in bindings_in_order(screen):
            binding = active.binding
            if not binding.description or binding.action in seen or binding.action.startswith(MOVES):
                continue
            seen.add(binding.action)
            help_text = _("Key: %(key)s") % {"key": key_name(binding, screen)}
            run = partial(self.run_action, binding.action, active.node)
            yield SystemCommand(_(binding.description), help_text, run)
        yield SystemCommand(_("Theme"), _("Change the colours"), self.action_change_theme)

    def _fatal_error(self) -> None:
        """Leave one line and a log entry where Textual would print a traceback with all local variables."""
        log.error("the console crashed", exc_info=self._exception)
        self.panic(Text(crash_line(self.log_file)))
