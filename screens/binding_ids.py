"""Names of the keys' bindings, by which the settings file gives them other keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from textual.binding import Binding, BindingType

IDS = {
    "select_cursor": "details",
    "cursor_down": "down",
    "cursor_up": "up",
    "column_left": "left",
    "column_right": "right",
    "scroll_top": "top",
    "scroll_bottom": "bottom",
    "scroll_home": "top",
    "scroll_end": "bottom",
    "step_tab(-1)": "previous-tab",
    "step_tab(1)": "next-tab",
    "command_palette": "commands",
    "quit": "quit",
}
"""Actions whose own name would say little."""


def named(scope: str, bindings: Iterable[BindingType]) -> list[BindingType]:
    """Give every binding without an id one: where it works, and what it does, as `pools-recharge`."""
    return [replace(each, id=each.id or f"{scope}-{_spelled(each.action)}") for each in _bindings(bindings)]


def _bindings(bindings: Iterable[BindingType]) -> Iterator[Binding]:
    for binding in bindings:
        yield binding if isinstance(binding, Binding) else Binding(*binding)


def _spelled(action: str) -> str:
    """Spell an action in kebab-case: show_tab('usage') becomes show-tab-usage."""
    return IDS.get(action) or re.sub(r"[^a-z0-9]+", "-", action.rpartition(".")[2].lower()).strip("-")


def scope_of(name: str) -> str:
    """Spell a class as the scope of its bindings: RechargeHistoryDialog becomes recharge-history."""
    words = re.findall("[A-Z][a-z0-9]*", name)
    return "-".join(word.lower() for word in words if word not in ("Dialog", "Pane", "View", "Table")) or "tab"
