"""Export what a tab shows to a file: CSV, JSON lines or a spreadsheet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.widgets import Input
from textual.worker import get_current_worker

from billing_console.errors import BillingError, Refused
from billing_console.exporting import ExportFormat, export, format_of
from billing_console.i18n import N_, _, ngettext
from billing_console.text import clean
from screens.console import ask
from screens.dialogs.form import Choice, Field, FormDialog, required
from screens.widgets.keybar import with_keys

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

Rows = Callable[["Ledger"], Iterator[Sequence[object]]]

FORMATS = {ExportFormat.CSV: "CSV", ExportFormat.JSONL: "JSON Lines", ExportFormat.XLSX: "XLSX"}

SECONDS = 0.25
"""Between two looks at how far it is: each is drawn, also over a slow line."""


class ExportDialog(FormDialog[None]):
    """Asks for a path and writes the file in a thread; Esc while it writes stops it and leaves no file."""

    ENTER_ACCEPTS: ClassVar[bool] = True

    def __init__(self, name: str, rows: Rows, expected: int | None = None) -> None:
        """Keep what to write; `rows` yields the header first, `expected` is how many follow, where that is known."""
        super().__init__()
        self.file_name = name
        self.rows_of = rows
        self.expected = expected
        self._writing = False
        self._stop = Event()

    def heading(self) -> str:
        """Return the title line."""
        return _("Export to a file")

    def fields(self) -> Sequence[Field]:
        """Declare the path, with a name that is free today, and the format, which follow each other."""
        stamp = f"{self.console.now():%Y%m%d-%H%M%S}"
        path = Path.cwd() / f"{self.file_name}-{stamp}.{ExportFormat.CSV}"
        return (
            Field("path", N_("File"), required, str(path)),
            Field("format", N_("Format"), ExportFormat, choices=tuple(FORMATS.items())),
        )

    @on(Input.Changed, "#path")
    def _path_typed(self, event: Input.Changed) -> None:
        form = format_of(Path(event.value))
        if form is not None:
            self.query_one("#format", Choice).choose(form)

    @on(Choice.Changed)
    def _format_chosen(self) -> None:
        path = self.query_one("#path", Input)
        if format_of(Path(path.value)) is not None:
            path.value = str(Path(path.value).with_suffix(f".{self.query_one('#format', Choice).value}"))

    def accept(self, values: dict[str, Any]) -> None:
        """Write the file."""
        if self._writing:
            return
        self._writing = True
        self._stop = Event()
        self.say(_("Writing…"))
        path, rows = Path(values["path"]).expanduser(), self.rows_of
        form = format_of(path) or values["format"]  # the choice may not have followed yet what was just typed
        ask(
            self,
            lambda ledger: export(path, form, rows(ledger), progress=self._teller()),
            lambda count: self._written(path, count),
            self._not_written,
            group="export",
            to_show=True,
        )

    def _teller(self) -> Callable[[int], None]:
        """Return what the writing thread tells how far it is, and learns from that it is to stop."""
        worker, stop, told_at = get_current_worker(), self._stop, time.monotonic()

        def tell(count: int) -> None:
            nonlocal told_at
            if stop.is_set() or worker.is_cancelled:
                raise Refused(_("Export stopped; there is no file."))
            if time.monotonic() - told_at >= SECONDS:
                told_at = time.monotonic()
                self.call_later(self._progressed, count)

        return tell

    def _progressed(self, count: int) -> None:
        if not self._writing or self._stop.is_set():
            return
        if self.expected is not None:
            text, whole = _("Writing… %(count)s of %(all)s rows. %(close)s stops."), max(count, self.expected)
            self.say(with_keys(self, text, count=f"{count:,}", all=f"{whole:,}"))
        else:
            self.say(with_keys(self, _("Writing… %(count)s rows. %(close)s stops."), count=f"{count:,}"))

    def _written(self, path: Path, count: int) -> None:
        said = ngettext("%(count)s row written to %(path)s", "%(count)s rows written to %(path)s", count)
        self.app.notify(said % {"count": f"{count:,}", "path": clean(str(path))}, markup=False)
        self.dismiss(None)

    def _not_written(self, error: BillingError) -> None:
        """Say that it was stopped, or why it could not be written at its field."""
        self._writing = False
        self.say("")
        if self._stop.is_set():
            self.say(str(error))
        else:
            self.rows[0].fault(str(error))

    def action_close(self) -> None:
        """Stop writing; where nothing is being written, leave."""
        if self._writing:
            self._stop.set()
            self.say(_("Stopping…"))
        else:
            self.dismiss(None)
