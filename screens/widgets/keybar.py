"""One line of keys at the foot: what works here and now, most useful first, never cut in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import RenderResult
from textual.reactive import reactive
from textual.widget import Widget

from billing_console.i18n import _

if TYPE_CHECKING:
    from textual.binding import ActiveBinding, Binding
    from textual.dom import DOMNode
    from textual.screen import Screen

ALWAYS = ("help", "quit")
"""Actions that keep their place when the line is too short: `?` tells all the others."""

LATE = ("reload", "export", "alerts", *ALWAYS)
"""Actions of every tab, after those of this one."""

KEY_NAMES = {
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "tab": "Tab",
    "shift+tab": "Shift+Tab",
    "delete": "Del",
    "backspace": "Backspace",
    "f1": "F1",
    "ctrl+home": "Ctrl+Home",
    "ctrl+end": "Ctrl+End",
    "ctrl+c": "Ctrl+C",
    "ctrl+f": "Ctrl+F",
    "ctrl+p": "Ctrl+P",
}


def key_name(binding: Binding, screen: Screen[object]) -> str:
    """Spell a key the way people type it."""
    if binding.key_display:
        return binding.key_display
    return KEY_NAMES.get(binding.key) or screen.app.get_key_display(binding).replace("^", "Ctrl+")


def key_for(node: DOMNode, action: str) -> str:
    """Spell the key that runs an action of a node, which the settings may have moved; for texts that name it."""
    bindings = node._bindings.copy()
    bindings.apply_keymap(node.app._keymap)
    return next(key_name(binding, node.screen) for _key, binding in bindings if binding.action == action)


class _Keys(dict[str, object]):
    """What fills a text: values by their names, and by the name of an action the key that runs it."""

    def __init__(self, node: DOMNode, said: dict[str, object]) -> None:
        super().__init__(said)
        self._node = node

    def __missing__(self, action: str) -> str:
        return key_for(self._node, action)


def with_keys(node: DOMNode, text: str, **said: object) -> str:
    """Fill a text in which `%(recharge)s` stands for the key of the node's action of that name."""
    return text % _Keys(node, said)


def bindings_in_order(screen: Screen[object]) -> list[ActiveBinding]:
    """Return what can be pressed on a screen, what only works here before what works everywhere.

    An action keeps its place when the settings give it another key, which Textual would put last.
    """
    late = {action: number for number, action in enumerate(LATE, 1)}
    active = list(screen.active_bindings.values())
    nodes = list(dict.fromkeys(each.node for each in active))
    declared = {node: [binding.action for _key, binding in node._bindings] for node in nodes}

    def place(each: ActiveBinding) -> tuple[int, int, int]:
        action = each.binding.action
        return late.get(action, 0), nodes.index(each.node), declared[each.node].index(action)

    return sorted(active, key=place)


class KeyBar(Widget):
    """The keys of the screen it is on; it repaints only when the line really changed."""

    line: reactive[tuple[tuple[str, str], ...]] = reactive(())

    def on_mount(self) -> None:
        """Follow focus and check_action."""
        self.screen.bindings_updated_signal.subscribe(self, self._update)
        self._update()

    def on_resize(self) -> None:
        """Fit the line to the new width."""
        self._update()

    def _update(self, _screen: Screen[object] | None = None) -> None:
        screen = self.screen
        if not screen.is_attached:
            return
        parts: dict[str, tuple[str, str]] = {}
        last: dict[str, tuple[str, str]] = {}
        for active in bindings_in_order(screen):
            binding = active.binding
            if binding.show and active.enabled and binding.description:
                part = (key_name(binding, screen), _(binding.description))
                (last if binding.action in ALWAYS else parts).setdefault(binding.action, part)
        self.line = self._fit(list(parts.values()), list(last.values()))

    def _fit(self, parts: list[tuple[str, str]], last: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        room = self.size.width - sum(self._width(part) for part in last)
        chosen = []
        for part in parts:
            if self._width(part) <= room:
                chosen.append(part)
                room -= self._width(part)
        return (*chosen, *last)

    @staticmethod
    def _width(part: tuple[str, str]) -> int:
        return Text(f" {part[0]} {part[1]} ").cell_len

    def render(self) -> RenderResult:
        """Draw keys bold, what they do plain."""
        text = Text(no_wrap=True, overflow="crop", end="")
        for key, description in self.line:
            text.append(f" {key}", style="bold")
            text.append(f" {description} ")
        return text
