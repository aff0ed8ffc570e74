"""`backup` and `restore`: the ledger as one file, and back."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened, writable
from billing_console.cli.output import OneFormat, OneFormatOption, say, write, write_json
from billing_console.cli.progress import bar
from billing_console.errors import ExitCode
from billing_console.i18n import N_, _, ngettext
from billing_console.text import clean


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=N_("The new file; none is overwritten."))],
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Write the ledger to a new file; exit 1 where the ledger, and so the backup, contradicts itself."""
    from billing_console.services.backup import back_up
    from billing_console.services.backup_check import contradiction

    with opened(context) as ledger, _cleaning_up(), bar(_("Backing up")) as progress:
        done = back_up(ledger, file, progress)
    words = _("Backed up to %(path)s: %(size)s bytes, %(rows)s, %(seconds)s s.") % {
        "path": done.path,
        "size": f"{done.size:,}",
        "rows": _count(done.rows),
        "seconds": done.seconds,
    }
    _answer(wire.record(wire.BACKED_UP, done), words, done.rows, form)
    if done.wrong:
        say(contradiction(done.wrong, str(done.path)) + " " + _("See: billing-console reconcile, and audit verify"))
        raise typer.Exit(ExitCode.REFUSED)


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=N_("The backup."))],
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Put a backup to the database the settings name, which must be empty or not there."""
    from billing_console.services.backup import restore as put_back

    root = writable(context)
    settings = root.settings
    with _cleaning_up(), bar(_("Restoring")) as progress:
        done = put_back(
            settings.database_url, file, progress, low_threshold=settings.low_threshold_percent, person=root.actor()
        )
    words = _("Restored to %(database)s: %(rows)s, %(seconds)s s.") % {
        "database": done.database,
        "rows": _count(done.rows),
        "seconds": done.seconds,
    }
    _answer(wire.record(wire.RESTORED, done), words, done.rows, form)


def _count(rows: Mapping[str, int]) -> str:
    count = sum(rows.values())
    return ngettext("%(count)s row", "%(count)s rows", count) % {"count": f"{count:,}"}


def _answer(data: Mapping[str, object], words: str, rows: Mapping[str, int], form: OneFormat) -> None:
    if form is OneFormat.JSON:
        write_json(data)
        return
    write(f"{clean(words)}\n")
    for table, count in rows.items():
        write(f"  {table:<20} {count:>12,}\n")


@contextmanager
def _cleaning_up() -> Iterator[None]:
    """End as after Ctrl+C, and so without a half-written file, when the connection is lost or a service is stopped."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
