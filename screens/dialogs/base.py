"""The frame of every dialog: a title, a body that scrolls, the keys; Esc goes one layer back."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen

from billing_console.i18n import N_
from screens.binding_ids import named, scope_of
from screens.console import Console, console_of
from screens.widgets.keybar import KeyBar
from screens.widgets.line import Line

Result = TypeVar("Result")

AROUND = 6
"""Lines of a dialog that are not its body: frame, title, message, and the keys under a blank line."""


class Body(VerticalScroll):
    """The scrolling part of a dialog, with vim keys."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "text",
        [
            Binding("j", "scroll_down", N_("Down"), show=False),
            Binding("k", "scroll_up", N_("Up"), show=False),
            Binding("g", "scroll_home", N_("Top"), show=False),
            Binding("G", "scroll_end", N_("Bottom"), show=False),
        ],
    )


class Dialog(ModalScreen[Result], Generic[Result]):
    """A modal layer over the tabs. Subclasses give `heading` and `compose_content`."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "dialog",
        [
            Binding("escape", "close", N_("Back")),
            Binding("question_mark,f1", "help", N_("Help"), show=False),
        ],
    )

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the bindings of the dialog, so that the settings file can give them other keys."""
        if "BINDINGS" in cls.__dict__:
            cls.BINDINGS = named(scope_of(cls.__name__), cls.__dict__["BINDINGS"])
        super().__init_subclass__(**options)

    def heading(self) -> str:
        """Return the title line."""
        raise NotImplementedError

    def compose_content(self) -> ComposeResult:
        """Yield what the dialog shows."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Lay out title, body and keys."""
        with Vertical(classes="dialog"):
            yield Line(self.heading(), classes="dialog-title")
            with Body(classes="dialog-body"):
                yield from self.compose_content()
            yield Line(classes="dialog-message")
            yield KeyBar()

    @property
    def console(self) -> Console:
        """The running console."""
        return console_of(self)

    def on_resize(self, event: events.Resize) -> None:
        """Let the body take what the rest leaves, in lines: a share of the screen would leave some blank below."""
        if not self.query(".dialog.-full"):
            self.query_one(Body).styles.max_height = max(1, event.size.height - AROUND)

    def say(self, text: str) -> None:
        """Show a sentence above the keys: an error, or what is going on; empty takes it away."""
        line = self.query_one(".dialog-message", Line)
        line.say(text)
        line.set_class(text.startswith("✖"), "-error")
        line.display = bool(text)

    def action_close(self) -> None:
        """Leave without doing anything."""
        self.dismiss(None)

    def on_unmount(self) -> None:
        """Stop what is still being read for it."""
        if self.app.is_running:
            self.console.stop_reading(self)

    def action_help(self) -> None:
        """List every key of this dialog."""
        from screens.dialogs.help import HelpDialog

        if not isinstance(self, HelpDialog):
            self.app.push_screen(HelpDialog(self))
