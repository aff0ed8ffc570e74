"""What the palette offers: every action of every tab by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import SystemCommand
from textual.binding import Binding
from textual.command import CommandPalette
from textual.widgets import Input
from textual.worker import WorkerError

from billing_console.app_looks import THEMES
from billing_console.app_tabs import TABS, TabSpec
from billing_console.i18n import _
from screens.widgets.keybar import bindings_in_order, key_name
from screens.widgets.table import RecordTable

if TYPE_CHECKING:
    from textual.screen import Screen

    from billing_console.app import BillingConsoleApp

MOVES = ("cursor_", "scroll_", "page_", "column_", "command_palette", "clear_filter", "screen.", "app.")
"""Beginnings of actions that make no sense as commands: moving about, and Textual's own."""


class Palette(CommandPalette):
    """Textual's palette, without two faults of it.

    It crashes on a page key while it has found nothing, or has not drawn what it found; and Enter right after a name
    runs what it had found before, or nothing.
    """

    @on(Input.Submitted)
    async def _take_when_found(self, event: Input.Submitted) -> None:
        """Wait until the search for what was typed is over, then take its first hit."""
        event.prevent_default()
        for worker in [worker for worker in self.workers if worker.group == self._GATHER_COMMANDS_GROUP]:
            with suppress(WorkerError):
                await worker.wait()
        self._select_or_command(event)

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError):
            super()._action_command_list(action)


def commands(console: BillingConsoleApp, screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Yield what works here first, then what works on the other tabs, with their names before it, then the themes."""
    seen: set[str] = set()
    for active in bindings_in_order(screen):
        binding = active.binding
        if binding.action in seen or not _is_command(binding):
            continue
        seen.add(binding.action)
        run = partial(console.run_action, binding.action, active.node)
        yield SystemCommand(_(binding.description), _key(binding, screen), run)
    if screen is console.screen_stack[0]:
        for tab in TABS:
            if console.pane is None or tab.id != console.pane.NAME:
                yield from _of_tab(console, screen, tab)
    for name, theme in THEMES.items():
        yield SystemCommand(
            _("Colours: %(theme)s") % {"theme": _(theme.title)},
            _("Until you leave; to keep them: theme = “%(name)s” in the settings file") % {"name": name},
            partial(console.use_theme, name),
        )


def _of_tab(console: BillingConsoleApp, screen: Screen[Any], tab: TabSpec) -> Iterator[SystemCommand]:
    kind = tab.kind()
    seen: set[str] = set()
    for base in (*kind.__mro__, RecordTable):
        for binding in base.__dict__.get("BINDINGS", ()):
            action = binding.action
            forbidden = action in kind.NEEDS and not console.may(kind.NEEDS[action])
            if action in seen or forbidden or not _is_command(binding):
                continue
            seen.add(action)
            name = f"{_(tab.label)}: {_(binding.description)}"
            yield SystemCommand(name, _key(binding, screen), partial(console.run_in_tab, tab.id, action))


def _is_command(binding: Binding) -> bool:
    return bool(binding.description) and not binding.action.startswith(MOVES)


def _key(binding: Binding, screen: Screen[Any]) -> str:
    return _("Key: %(key)s") % {"key": key_name(binding, screen)}
