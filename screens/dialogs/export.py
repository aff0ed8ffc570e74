"""Export what a tab shows to a CSV file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.worker import get_current_worker

from billing_console.errors import BillingError, Conflict, Unavailable
from billing_console.i18n import N_, _, ngettext
from billing_console.text import clean, csv_line
from screens.console import ask
from screens.dialogs.form import Field, FormDialog, required

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

Rows = Callable[["Ledger"], Iterator[Sequence[object]]]


class ExportDialog(FormDialog[None]):
    """Asks for a path and writes the file in a thread; Esc while it writes stops and removes the part written."""

    def __init__(self, name: str, rows: Rows) -> None:
        """Keep what to write; `rows` yields the header first."""
        super().__init__()
        self.file_name = name
        self.rows_of = rows

    def heading(self) -> str:
        """Return the title line."""
        return _("Export to a CSV file")

    def fields(self) -> Sequence[Field]:
        """Declare the path, with a name that is free today."""
        stamp = f"{self.console.now():%Y%m%d-%H%M%S}"
        return (Field("path", N_("File"), required, str(Path.cwd() / f"{self.file_name}-{stamp}.csv")),)

    def accept(self, values: dict[str, Any]) -> None:
        """Write the file."""
        self.say(_("Writing…"))
        path, rows = Path(values["path"]).expanduser(), self.rows_of
        ask(
            self,
            lambda ledger: write_csv(path, rows(ledger)),
            lambda count: self._written(path, count),
            self.refused,
            group="export",
        )

    def _written(self, path: Path, count: int) -> None:
        said = ngettext("%(count)s row written to %(path)s", "%(count)s rows written to %(path)s", count)
        self.app.notify(said % {"count": f"{count:,}", "path": clean(str(path))}, markup=False)
        self.dismiss(None)

    def refused(self, error: BillingError) -> None:
        """Show why the file could not be written at its field."""
        self.say("")
        self.rows[0].fault(str(error))


def write_csv(path: Path, rows: Iterator[Sequence[object]]) -> int:
    """Write rows, header first, to a new file readable by its owner; return how many without the header.

    Raises Conflict if the file exists, Unavailable if it cannot be written; a file not written to its end is removed.
    """
    count = -1
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Conflict(_("There is a file of that name already."), _("Choose another name.")) from None
    except OSError as error:
        raise Unavailable(_("The file cannot be written: %(reason)s.") % {"reason": error.strerror}) from error
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            for row in rows:
                file.write(csv_line(row))
                count += 1
                if get_current_worker().is_cancelled:
                    raise Unavailable(_("Export stopped."))
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Unavailable(_("The file cannot be written: %(reason)s.") % {"reason": error.strerror}) from error
        raise
    return count
