"""Forms that write: a page that shows before → after and waits for `y`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from billing_console.errors import BillingError
from billing_console.i18n import N_, _
from billing_console.text import clean
from screens.console import ask
from screens.dialogs.base import Result
from screens.dialogs.form import FormDialog
from screens.widgets.keybar import with_keys
from screens.widgets.line import Line

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger


@dataclass(frozen=True)
class Change:
    """One line of a confirmation page."""

    label: str
    before: str
    after: str
    waits: bool = False
    """Whether it happens only once another admin has approved it."""


class ConfirmPage(Vertical, can_focus=True):
    """What will happen, before → after; nothing happens before `y`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "screen.confirm", N_("Yes, do it")),
        Binding("n", "screen.close", N_("No, back"), show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        yield Line(classes="confirm-text")


class ConfirmedForm(FormDialog[Result], Generic[Result]):
    """A form that writes: preview in a thread, a page with before → after, `y`, one write with one key."""

    key = ""
    """Idempotency key, made when the form opens: however often it is submitted, it happens once."""

    _writing = False
    _left: Widget | None = None
    _values: dict[str, Any]
    _changes: Sequence[Change] = ()
    _asked: object = None
    """The database that the page was computed from; a yes to it is none for another one."""

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Return what computes the lines before → after, in a thread, and refuses what cannot be done."""
        raise NotImplementedError

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], Result]:
        """Return what writes, in a thread, with `self.key`; its result closes the dialog."""
        raise NotImplementedError

    def question(self, values: dict[str, Any]) -> str:
        """Return the sentence above the changes: what will be done to whom."""
        raise NotImplementedError

    def waits(self) -> str:
        """Return the sentence below changes that another admin must approve."""
        return _("It will wait for another admin's approval.")

    @property
    def needs_approval(self) -> bool:
        """Whether the page says that another admin must approve it."""
        return any(change.waits for change in self._changes)

    def compose_content(self) -> ComposeResult:
        """Lay out the form and the page after it."""
        yield from super().compose_content()
        yield ConfirmPage(id="confirm")

    def on_mount(self) -> None:
        """Make the key and show the form."""
        from billing_console.services.recharges import new_key

        self.key = new_key()
        self.query_one("#confirm").display = False

    @property
    def confirming(self) -> bool:
        """Whether the page is shown."""
        return self.query_one("#confirm").display

    def accept(self, values: dict[str, Any]) -> None:
        """Ask for the preview; the page follows."""
        self._values, self._left, self._asked = values, self.focused, self._database
        ask(self, self.preview(values), self._show_page, self.refused, group="preview", keys_wait=True)

    @property
    def _database(self) -> object:
        """Which database is open: another one can take its place while the page is shown."""
        ledger = self.console.ledger
        return None if ledger is None else ledger.database

    def _show_page(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        lines = [clean(self.question(self._values)), ""]
        width = max((Text(change.label).cell_len for change in changes), default=0)
        for change in changes:
            pad = " " * (width - Text(change.label).cell_len)
            lines.append(f"{change.label}{pad}  {change.before} → {change.after}")
        if self.needs_approval:
            lines += ["", "◆ " + self.waits()]
        lines += ["", with_keys(self, _("Press y to do it, %(close)s to go back."))]
        self.query_one(".confirm-text", Line).say("\n".join(lines))
        self._turn_to(confirm=True)
        self.console.keys.forget()

    def _turn_to(self, *, confirm: bool) -> None:
        self.query_one("#form").display = not confirm
        page = self.query_one("#confirm")
        page.display = confirm
        if confirm:
            self.set_focus(page)
        else:
            self.set_focus(self._left)

    def action_confirm(self) -> None:
        """Write, once; a second `y` while it is being written does nothing."""
        if self._writing or not self.confirming:
            return
        if self._database is not self._asked:
            self.accept(self._values)
            return
        self._writing = True
        self.say(_("Writing…"))
        ask(self, self.write(self._values), self._written, self._not_written, group="write", keys_wait=True)

    def _written(self, result: Result) -> None:
        self.dismiss(result)

    def _not_written(self, error: BillingError) -> None:
        self._writing = False
        self._turn_to(confirm=False)
        self.refused(error)

    def action_close(self) -> None:
        """Go from the page back to the form, from the form back to the tab; not while it is being written."""
        if self._writing:
            return
        if self.confirming:
            self._turn_to(confirm=False)
            self.say("")
        else:
            self.dismiss(None)

    def on_key(self, event: events.Key) -> None:
        """Swallow Enter on the page: a double Enter in the form must not confirm anything."""
        if self.confirming and event.key == "enter":
            event.stop()
