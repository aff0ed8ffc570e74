"""The base of every tab: load in a thread, show when something changed, say what is missing or wrong."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content

from billing_console.errors import NotPermitted
from billing_console.i18n import N_, _
from screens.binding_ids import named
from screens.console import Console, ask, console_of
from screens.question import Question
from screens.tab_screen import HOLD_SECONDS, TabScreen
from screens.widgets.keybar import with_keys
from screens.widgets.line import Line, paragraphs
from screens.widgets.table import RecordTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from textual.timer import Timer

    from billing_console.errors import BillingError
    from billing_console.services.actions import Action
    from billing_console.services.ledger import Ledger

Data = TypeVar("Data")

LOOK_SECONDS = 0.3
"""After so long somebody who waits is told that it is still loading."""


class DataPane(Vertical, Generic[Data], can_focus=True):
    """One tab. Subclasses say what to ask (`question`), how to draw it (`present`) and what to show without any."""

    NAME: ClassVar[str] = ""
    """Short name: begins the names of exported files."""

    SHOWS: ClassVar[str] = ""
    """What this tab shows, in a sentence marked with N_(), for whoever meets it empty."""

    EMPTY: ClassVar[str] = ""
    """What to do when there is nothing to show, marked with N_(): names the command that fills this tab.

    `%(recharge)s` is the key of its action `recharge`.
    """

    EMPTY_NEEDS: ClassVar[Action | None] = None
    """Who may do what the second paragraph of EMPTY advises; others are not told."""

    NEEDS: ClassVar[Mapping[str, Action]] = {}
    """Actions of this tab that change the ledger, and what somebody must be allowed to do to be offered them."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "tab",
        [
            Binding("r", "reload", N_("Refresh")),
            Binding("e", "export", N_("Export")),
            Binding("escape", "clear_filter", N_("Clear filter"), show=False),
        ],
    )

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the bindings of the tab, so that the settings file can give them other keys."""
        if "BINDINGS" in cls.__dict__:
            cls.BINDINGS = named(cls.NAME or "tab", cls.__dict__["BINDINGS"])
        super().__init_subclass__(**options)

    def __init__(self) -> None:
        """Start with nothing loaded; the console wakes the pane when its tab is shown."""
        super().__init__()
        self.data: Data | None = None
        self._timer: Timer | None = None
        self._awake = False
        self._busy = False
        self._changed_at = ""
        self._question: Question | None = None
        self._stopped = False

    def compose(self) -> ComposeResult:
        """Lay out the filter line, the body or a notice in its place, and the summary."""
        with Horizontal(classes="pane-top"):
            yield self.filter_line()
            yield Line(classes="pane-age")
        with Vertical(classes="pane-body"):
            yield from self.compose_body()
        yield Line(classes="pane-notice")
        yield Line(classes="pane-summary")

    # What a subclass provides

    def compose_body(self) -> ComposeResult:
        """Yield the widgets that show the data; the first RecordTable takes the focus."""
        raise NotImplementedError

    def filter_line(self) -> Line:
        """Make the line that shows the filter in force."""
        return Line(classes="pane-filter")

    def question(self) -> Callable[[Ledger], Data]:
        """Return the question to ask in a thread; called on the UI thread, so that it may read widgets and filters."""
        raise NotImplementedError

    def present(self, data: Data) -> None:
        """Draw new data; called only when it differs from what is on the screen."""
        raise NotImplementedError

    def nothing_in(self, data: Data) -> bool:
        """Whether there is nothing to draw, so that the notice explains it."""
        return not data

    def filter_text(self) -> str:
        """Describe the filter in force; empty for none. Always visible while it is not empty."""
        return ""

    def is_filtered(self) -> bool:
        """Whether there is a filter that Esc can drop."""
        return bool(self.filter_text())

    def reset_filter(self) -> None:
        """Drop the filter; called before the pane loads again."""

    def exporting(self) -> Callable[[Ledger], Iterator[Sequence[object]]] | None:
        """Return what yields the header and all rows of the filter, in a thread; by default the rows of the table."""
        table = self.table
        if table is None or not table.items:
            return None
        items, row = table.items, table.export_row
        header = table.export_header()

        def rows(_ledger: Ledger) -> Iterator[Sequence[object]]:
            yield header
            yield from map(row, items)

        return rows

    # What the console and the subclass call

    @property
    def console(self) -> Console:
        """The running console."""
        return console_of(self)

    @property
    def _tabs(self) -> TabScreen:
        """The screen this tab is on."""
        assert isinstance(self.screen, TabScreen)
        return self.screen

    @property
    def table(self) -> RecordTable[object] | None:
        """The pane's main table."""
        tables = self.query(RecordTable) if self.is_mounted else None
        return tables.first() if tables else None

    def wake(self) -> None:
        """Load, then poll, because the tab is shown."""
        self._awake = True
        if self._timer is None:
            self._timer = self.set_interval(self.console.refresh_seconds, self._poll)
        self._timer.resume()
        self.console.show_as_of(self._changed_at)
        if self.data is None:
            self.load()
        else:  # what is known already is painted before a query takes the processor
            self.set_timer(HOLD_SECONDS, self._look_again)
        self.take_focus()

    def sleep(self) -> None:
        """Stop polling while the tab is hidden."""
        self._awake = False
        if self._timer is not None:
            self._timer.pause()

    def load(self, *, asked: bool = False) -> None:
        """Ask the question of this pane again; `asked` when a person wanted it, who then sees a new time."""
        if self.console.ledger is None:
            self._notice(self._opening())
            return
        first = self.data is None or asked
        if first:
            self._tabs.hold(self)
        if self.data is None:
            self._notice(_("Loading…") + " " + with_keys(self, _("%(clear_filter)s stops it.")))
        self._busy, self._stopped = True, False
        self._show_filter()
        done = partial(self._loaded, asked)
        question = ask(self, self.question(), done, self._failed, group="load", keys_wait=first, to_show=True)
        self._question = question if first else None
        if first:
            self.set_timer(LOOK_SECONDS, partial(self._say_loading, question))

    def role_changed(self) -> None:
        """Offer what the role allows now."""
        self.refresh_bindings()
        if self.data is not None and self.nothing_in(self.data):
            self._fill(self.data)

    def forget(self) -> None:
        """Show nothing of the ledger any more, but why it was closed."""
        self.data, self._busy, self._changed_at = None, False, ""
        self._write(".pane-age", "")
        self._write(".pane-summary", "")
        if self.table is not None:
            self.table.show(())
        self._notice(self._opening())
        self.take_focus()

    def set_summary(self, text: str) -> None:
        """Write the line under the table."""
        self._write(".pane-summary", text)

    def take_focus(self) -> None:
        """Put the keyboard where this pane's keys work."""
        if not self._awake or self.screen is not self.app.screen:
            return
        table = self.table
        if table is not None and self.has_class("-filled"):
            self.screen.set_focus(table)
        else:
            self.screen.set_focus(self)

    # The cycle

    def _say_loading(self, question: Question | None) -> None:
        """Say that an answer somebody waits for is not there yet; a quick one is not worth the bytes."""
        if self._loading and question is self._question:
            self._write(".pane-age", with_keys(self, _("loading… %(clear_filter)s stops it.")))

    @property
    def _loading(self) -> bool:
        """Whether somebody waits for what is being loaded, so that Esc stops it."""
        return self._busy and self._question is not None

    def _stop_loading(self) -> None:
        """Give up what is being loaded, until somebody wants it again."""
        if self._question is not None:
            self._question.stop()
        self._busy, self._stopped, self._question = False, True, None
        if self.data is None:
            self._notice(with_keys(self, _("Stopped. Press %(reload)s to load it again.")))
        self._write(".pane-age", with_keys(self, _("stopped, %(reload)s loads again")))
        self.refresh_bindings()

    def _look_again(self) -> None:
        """Load what may have changed while another tab was shown."""
        if self._awake and not self._busy:
            self.load()

    def _poll(self) -> None:
        """Load again unless a dialog covers the tab; say so when the last question is still waiting for its answer."""
        if not self._awake or self._stopped or self.screen is not self.app.screen:
            return
        if self._loading:
            return
        if self._busy:
            self._write(".pane-age", _("waiting for the database…"))
        else:
            self.load()

    def _loaded(self, asked: bool, data: Data) -> None:
        self._busy = False
        if self.console.ledger is None:  # closed since the question was asked
            return
        self.console.report(self.NAME, None)
        changed = data != self.data
        if changed:
            self.data = data
            with self.app.batch_update():
                self._fill(data)
        if changed or asked or not self._changed_at:
            self._changed_at = f"{self.console.now():%H:%M:%S}"
        if self._awake:
            self.console.show_as_of(self._changed_at)
        self._write(".pane-age", _("live, changed %(time)s") % {"time": self._changed_at})
        self._tabs.release(self)

    def _fill(self, data: Data) -> None:
        empty = self.nothing_in(data)
        focused = self.has_focus_within
        if empty:
            nothing = _("Nothing matches the filter. %(clear_filter)s clears it.")
            self._notice(with_keys(self, nothing) if self.is_filtered() else self._empty())
        else:
            self.set_class(True, "-filled")
        self.present(data)
        if self._awake and (focused or self.app.focused is None):
            self.take_focus()

    def _empty(self) -> str:
        text = with_keys(self, _(self.EMPTY))
        advised = self.EMPTY_NEEDS is None or self.console.may(self.EMPTY_NEEDS)
        text = text if advised else text.partition("\n\n")[0]
        return f"{text}\n\n{_(self.SHOWS)}" if self.SHOWS else text

    def _failed(self, error: BillingError) -> None:
        self._busy = False
        if self.console.ledger is None:
            return
        self.console.report(self.NAME, error)
        if self.data is None:
            self._write(".pane-age", "")
            self._notice(paragraphs(error.message, error.hint, self._retrying()))
        else:
            self._write(".pane-age", _("as of %(time)s, not refreshed") % {"time": self._changed_at})
        self._tabs.release(self)

    def _opening(self) -> str | Content:
        error = self.console.problems.get("open")
        if error is None:
            return _("Opening the database…")
        by_itself = not isinstance(error, NotPermitted)
        again = self._retrying() if by_itself else with_keys(self, _("%(reload)s tries again."))
        return paragraphs(error.message, error.hint, again)

    def _retrying(self) -> str:
        text = _("Trying again every %(seconds)g s; %(reload)s tries now.")
        return with_keys(self, text, seconds=self.console.refresh_seconds)

    def _notice(self, text: str | Content) -> None:
        self.set_class(False, "-filled")
        self._write(".pane-notice", text)
        if self.app.focused is None and self._awake:
            self.take_focus()

    def _show_filter(self) -> None:
        text = self.filter_text()
        self._write(".pane-filter", _("Filter: %(filter)s") % {"filter": text} if text else "")
        self.refresh_bindings()

    def _write(self, selector: str, text: str | Content) -> None:
        self.query_one(selector, Line).say(text)

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what works here and now."""
        if action in self.NEEDS and not self.console.may(self.NEEDS[action]):
            return False
        if action == "clear_filter":
            return self._loading or self.is_filtered()
        if action == "export":
            return self.has_class("-filled")
        return True

    def action_reload(self) -> None:
        """Load again now; also tries again to open the database."""
        if self.console.ledger is None:
            self.console.open_ledger()
        else:
            self.load(asked=True)

    def action_clear_filter(self) -> None:
        """Stop what is being loaded; else show everything again."""
        if self._loading:
            self._stop_loading()
            return
        self.reset_filter()
        self.load(asked=True)

    def action_export(self) -> None:
        """Write what the tab shows to a CSV file."""
        from screens.dialogs.export import ExportDialog

        rows = self.exporting()
        if rows is not None:
            self.app.push_screen(ExportDialog(self.NAME, rows))
