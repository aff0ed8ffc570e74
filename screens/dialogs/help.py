"""Every key that works here, from the bindings themselves."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen

from billing_console.i18n import _
from screens.base import DataPane
from screens.dialogs.base import Dialog
from screens.widgets.keybar import bindings_in_order, key_name
from screens.widgets.line import Line
from screens.widgets.table import RecordTable


class HelpDialog(Dialog[None]):
    """The keys of a screen, grouped by where they work."""

    def __init__(self, of: Screen[Any]) -> None:
        """Read the keys before this dialog covers the screen."""
        super().__init__()
        self._groups = keys_of(of)

    def heading(self) -> str:
        """Return the title line."""
        return _("Keys that work here")

    def compose_content(self) -> ComposeResult:
        """List the keys in groups."""
        width = max((Text(key).cell_len for group in self._groups.values() for key in group.values()), default=0)
        for title, keys in self._groups.items():
            yield Line(title, classes="help-group")
            for description, key in keys.items():
                line = Line(classes="help-key")
                line.say(
                    Content.assemble(("  " + key + " " * (width - Text(key).cell_len), "bold"), f"  {description}")
                )
                yield line


def keys_of(screen: Screen[Any]) -> dict[str, dict[str, str]]:
    """Return {group: {description: keys}} of what can be pressed on a screen."""
    groups: dict[str, dict[str, str]] = {}
    for active in bindings_in_order(screen):
        if not active.binding.description:
            continue
        if isinstance(active.node, RecordTable):
            title = _("In the table")
        elif isinstance(active.node, DataPane):
            title = _("On this tab")
        else:
            title = _("Everywhere") if active.node is screen.app else _("Here")
        group = groups.setdefault(title, {})
        description = _(active.binding.description)
        name = key_name(active.binding, screen)
        group[description] = f"{group[description]}  {name}" if description in group else name
    return groups
