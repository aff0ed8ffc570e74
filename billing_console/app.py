"""The console: six tabs, the alert banner above them, and the keys that work everywhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import ContentSwitcher, TabbedContent, Tabs

import screens
from billing_console.app_keys import keymap
from billing_console.app_ledger import LedgerConsole
from billing_console.app_looks import HIGH_CONTRAST, THEMES, AsciiFilter
from billing_console.app_palette import Palette, commands
from billing_console.app_tabs import TABS, WIDE, LazyPane
from billing_console.i18n import N_, _
from billing_console.terminal import ConsoleOptions, crash_line
from screens.base import DataPane
from screens.binding_ids import named
from screens.tab_screen import TabScreen
from screens.widgets.banner import AlertBanner, ProblemLine
from screens.widgets.header import TitleBar
from screens.widgets.keybar import KeyBar

__all__ = ["TABS", "BillingConsoleApp"]

log = logging.getLogger(__name__)


class BillingConsoleApp(LedgerConsole):
    """The terminal user interface; it knows the tabs, the keys that work everywhere, and the open ledger."""

    CSS_PATH: ClassVar[list[Any]] = [str(path) for path in sorted(Path(screens.__file__).parent.glob("*.tcss"))]
    TITLE = "billing-console"
    NOTIFICATION_TIMEOUT = 5
    BINDINGS: ClassVar[list[BindingType]] = named(
        "console",
        [
            *(
                Binding(str(number), f"show_tab('{tab.id}')", tab.label, show=False)
                for number, tab in enumerate(TABS, 1)
            ),
            Binding("left_square_bracket", "step_tab(-1)", N_("Previous tab"), show=False),
            Binding("right_square_bracket", "step_tab(1)", N_("Next tab"), show=False),
            Binding("a", "alerts", N_("Alerts")),
            Binding("A", "approvals", N_("Approvals"), show=False),
            Binding("L", "audit_log", N_("Audit log"), show=False),
            Binding("colon,ctrl+p", "command_palette", N_("Commands"), show=False),
            Binding("question_mark,f1", "help", N_("Help")),
            Binding("q", "quit", N_("Quit")),
        ],
    )

    def __init__(
        self,
        options: ConsoleOptions,
        *,
        log_file: Path | None = None,
        leaving: Callable[[int], None] = lambda _code: None,
    ) -> None:
        """Keep the options; nothing of the database is touched before the first paint.

        `leaving` is called with the exit code as soon as the console begins to end, for whatever reason.
        """
        super().__init__(options)
        self._ascii = [AsciiFilter()] if options.ascii else []
        self._leaving = leaving
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self.log_file = log_file
        self._look: Callable[[Any], None] | None = None
        self.register_theme(HIGH_CONTRAST)
        self.use_theme(options.theme)
        self.set_keymap(keymap(options.keys, type(self)) if options.keys else {})

    def use_theme(self, name: str) -> None:
        """Show the colours of this name, until the console is left."""
        self.theme = THEMES[name].theme

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Add to Textual's filters the one that draws with ASCII alone, if that was asked for."""
        return [*super().get_line_filters(), *self._ascii]

    def compose(self) -> ComposeResult:
        """Lay out title, problems, alerts, tabs and keys; the panes come when their tab is first shown."""
        yield TitleBar(self.options.label, read_only=self.read_only)
        yield ProblemLine(id="problems")
        yield AlertBanner()
        with TabbedContent(initial=TABS[0].id):
            for tab in TABS:
                yield LazyPane(_(tab.label), id=tab.id)
        yield KeyBar()

    def get_default_screen(self) -> TabScreen:
        """Return the screen of the tabs."""
        return TabScreen(self._focus_pane)

    def _focus_pane(self) -> None:
        if self.pane is not None:
            self.pane.take_focus()

    def on_mount(self) -> None:
        """Keep the keyboard where the tabs' keys work."""
        self.query_one(Tabs).can_focus = False
        self._event_loop = asyncio.get_running_loop()
        self.keys.wait_for("open")

    def leave(self, code: int) -> None:
        """End the console with this exit code; for signal handlers and other threads."""
        if self._event_loop is not None:
            with suppress(RuntimeError):  # the loop has ended: so has the console
                self._event_loop.call_soon_threadsafe(self.exit, None, code)

    def exit(self, result: int | None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """End the console; what still waits for the database then may not hold up the process."""
        self._leaving(return_code)
        super().exit(result, return_code, message)

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

    # The tabs

    @property
    def _tabs(self) -> TabScreen:
        """The screen below every dialog."""
        screen = self.screen_stack[0]
        assert isinstance(screen, TabScreen)
        return screen

    @property
    def pane(self) -> DataPane[Any] | None:
        """The pane of the active tab, once it is there."""
        active = self._tabs.query_one(TabbedContent).active_pane
        panes = active.query(DataPane) if active is not None else None
        return panes.first() if panes else None

    @on(TabbedContent.TabActivated)
    async def _tab_shown(self, event: TabbedContent.TabActivated) -> None:
        for other in self.query(DataPane):
            other.sleep()
        shown = event.pane
        if not shown.query(DataPane):
            tab = next(tab for tab in TABS if tab.id == shown.id)
            await shown.mount(tab.kind()())
        if self.pane is not None:
            self.pane.wake()
            self._let_look(self.pane)
        self._tabs.release(self)

    def show_tab(self, tab: str, look: Callable[[Any], None] | None = None) -> None:
        """Show the tab with this id; `look` then tells its pane what to look at."""
        tabs, self._look = self.query_one(TabbedContent), look
        if tabs.active != tab:
            self._tabs.hold(self)
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
        if not any(isinstance(screen, Palette) for screen in self.screen_stack):
            self.push_screen(Palette(placeholder=_("Search for a command…"), id="--command-palette"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Make every action reachable by name, with its key: those that work here, and those of every other tab."""
        return commands(self, screen)

    def run_in_tab(self, tab: str, action: str) -> None:
        """Show a tab and run one of its actions, once it is there and shows something."""
        self.show_tab(tab)
        self.keys.afterwards(partial(self._run_there, tab, action))

    async def _run_there(self, tab: str, action: str) -> None:
        pane = self.pane
        if pane is None or tab != pane.NAME:
            return
        for node in (pane.table, pane):
            if node is not None and hasattr(node, f"action_{action.partition('(')[0]}"):
                if node.check_action(action, ()):
                    await self.run_action(action, node)
                else:
                    self.notify(_("That is not possible here now."), markup=False)
                return

    def _fatal_error(self) -> None:
        """Leave one line and a log entry where Textual would print a traceback with all local variables."""
        log.error("the console crashed", exc_info=self._exception)
        self._leaving(1)
        self.panic(Text(crash_line(self.log_file)))
