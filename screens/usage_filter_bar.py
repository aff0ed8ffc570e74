"""The filter in force, always on the screen, part by part: each can be taken off or turned round with a key."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from billing_console.i18n import N_, _
from billing_console.text import one_line
from screens.widgets.line import Line

PART = 40
"""Characters of a part shown at most; the filter dialog shows it whole."""


class FilterBar(Line, can_focus=True):
    """The parts of a filter; with the focus on it, one of them is the one that the keys mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "choose(-1)", N_("Choose"), key_display="← →"),
        Binding("right,l", "choose(1)", N_("Next part"), show=False),
        Binding("x,delete,backspace", "take_off", N_("Remove"), key_display="x"),
        Binding("exclamation_mark", "turn", N_("Exclude/include")),
        Binding("escape", "leave", N_("Back")),
    ]

    class TakenOff(Message):
        """A part is to go."""

        def __init__(self, field: str) -> None:
            """Keep which."""
            super().__init__()
            self.field = field

    class Turned(TakenOff):
        """A part is to be excluded instead of wanted, or wanted again."""

    class Left(Message):
        """The keyboard is wanted in the table again."""

    def __init__(self) -> None:
        """Start without a filter."""
        super().__init__(classes="pane-filter")
        self.can_focus = False
        self.parts: tuple[tuple[str, str], ...] = ()
        self._chosen = 0

    def show_parts(self, parts: tuple[tuple[str, str], ...]) -> None:
        """Show these (field, words)."""
        self.parts = parts
        self._chosen = max(0, min(self._chosen, len(parts) - 1))
        if not parts and self._is_active:
            self.post_message(self.Left())
        self.can_focus = bool(parts)
        self._draw()

    def on_focus(self) -> None:
        """Begin at the last part."""
        self._chosen = max(0, len(self.parts) - 1)
        self._draw()

    def on_blur(self) -> None:
        """Show no part as chosen."""
        self._draw()

    def _draw(self) -> None:
        texts = [one_line(words, PART) for _field, words in self.parts]
        chosen = self._chosen if self._is_active else None
        marked = [
            Content.styled(f"[{text}]", "reverse") if i == chosen else Content(text) for i, text in enumerate(texts)
        ]
        title = _("Filter: %(filter)s") % {"filter": ""}
        self.say(Content.assemble(title, Content(" · ").join(marked)) if texts else "")

    @property
    def _is_active(self) -> bool:
        """Whether the keyboard is here; `has_focus` follows only after the messages about it."""
        return self.screen.focused is self

    def action_choose(self, step: int) -> None:
        """Choose the next or the previous part."""
        self._chosen = (self._chosen + step) % max(1, len(self.parts))
        self._draw()

    def action_take_off(self) -> None:
        """Ask for the filter without the chosen part."""
        if self.parts:
            self.post_message(self.TakenOff(self.parts[self._chosen][0]))

    def action_turn(self) -> None:
        """Ask for the chosen part to be turned round."""
        if self.parts:
            self.post_message(self.Turned(self.parts[self._chosen][0]))

    def action_leave(self) -> None:
        """Go back to the table."""
        self.post_message(self.Left())
