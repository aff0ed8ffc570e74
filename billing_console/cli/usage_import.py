"""`usage import`: take in usage files, each row once."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import CurrencyOption, RateOption
from billing_console.cli.output import OneFormat, say, write_result
from billing_console.clock import zone
from billing_console.errors import ExitCode, Unavailable
from billing_console.i18n import N_, _, ngettext
from billing_console.money import parse_decimal

if TYPE_CHECKING:
    from billing_console.services.usage_import_run import Imported, Progress


class FileFormat(StrEnum):
    """How a file of usage is written."""

    CSV = "csv"
    JSONL = "jsonl"


def import_usage(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help=N_("CSV or JSONL files, also gzip; - is standard input."))
    ],
    form: Annotated[
        FileFormat | None,
        typer.Option("--format", help=N_("How they are written; without this, by each file's suffix, else csv.")),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help=N_("Which column holds a field; may be repeated.")),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help=N_("One value for all rows; may be repeated.")),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option("--tz", metavar="ZONE", help=N_("Zone of times without one; else the business time zone.")),
    ] = None,
    currency: CurrencyOption = None,
    rate: RateOption = None,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", metavar="FILE", help=N_("Where rejected rows go; else beside each file.")),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help=N_("Import nothing if one row is rejected."))] = False,
    summary: Annotated[OneFormat, typer.Option("--summary", help=N_("How to write the counts."))] = OneFormat.TEXT,
) -> None:
    """Import files; rejected rows are exit 1, whatever was imported besides them."""
    from billing_console.services.conversion import conversion_from
    from billing_console.services.usage_import import import_usage as take_in
    from billing_console.services.usage_import_run import ImportOptions
    from billing_console.services.usage_rows import FieldSources
    from billing_console.tabular import Form

    with opened(context) as ledger:
        options = ImportOptions(
            sources=FieldSources.parse(maps or [], sets or []),
            form=None if form is None else Form(form),
            zone=None if timezone is None else zone(timezone),
            conversion=conversion_from(ledger, currency, None if rate is None else parse_decimal(rate)),
            rejects=rejects,
            strict=strict,
        )
        # What is loaded stays, and a batch leaves no garbage: to look for some took an eighth of the time.
        gc.freeze()
        gc.set_threshold(100_000)
        with _watched(files, strict) as progress:
            done = take_in(ledger, files, options, progress)
    write_result(wire.record(wire.IMPORTED, done), _counts(done), summary)
    if done.rejected:
        if strict:
            say(_("Nothing was imported, because rows were rejected."))
        for path in done.rejects:
            say(_("Rejected rows, with line and reason: %(file)s") % {"file": path})
        raise typer.Exit(ExitCode.REFUSED)
    if done.unpriced:
        say(_("Where a price is missing: billing-console prices set or import, then usage reprice."))


def _counts(done: Imported) -> str:
    return _("Imported: %(imported)d. Duplicates: %(duplicates)d. Rejected: %(rejected)d. Unpriced: %(unpriced)d.") % {
        "imported": done.imported,
        "duplicates": done.duplicates,
        "rejected": done.rejected,
        "unpriced": done.unpriced,
    }


@contextmanager
def _watched(files: Sequence[Path], strict: bool) -> Iterator[Progress]:
    """Show how far the import is, and after an interruption say what is in the ledger and how to go on."""
    imported = 0
    try:
        with _bar(files, strict) as show:

            def progress(counts: Imported, position: int) -> None:
                nonlocal imported
                imported = counts.imported
                show(counts.imported + counts.duplicates + counts.rejected, position)

            yield progress
    except (KeyboardInterrupt, Unavailable):
        so_far = 0 if strict else imported
        words = ngettext(
            "%(count)d record was imported; the same command again goes on from there.",
            "%(count)d records were imported; the same command again goes on from there.",
            so_far,
        )
        say(words % {"count": so_far} if so_far else _("Nothing was imported."))
        raise


@contextmanager
def _bar(files: Sequence[Path], strict: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows rows and bytes read: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda rows, position: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=_bytes_to_read(files, strict))

        def show(rows: int, position: int) -> None:
            words = ngettext("%(count)d row", "%(count)d rows", rows) % {"count": rows}
            bar.update(task, completed=position, description=words)

        yield show


def _bytes_to_read(files: Sequence[Path], strict: bool) -> int | None:
    """Return how many bytes the files have, each twice for a strict import; None if one of them is no file."""
    if not all(path.is_file() for path in files):
        return None
    return sum(os.path.getsize(path) for path in files) * (2 if strict else 1)
