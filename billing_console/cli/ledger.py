"""`reconcile` and `settle`: the ledger's own books."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import first_of_month
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    say,
    write,
    write_list,
    write_result,
)
from billing_console.cli.progress import bar
from billing_console.errors import ExitCode, InvalidInput
from billing_console.i18n import N_, _, ngettext
from billing_console.money import plain
from billing_console.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from billing_console.services.archive_units import Archived
    from billing_console.services.reconcile import Finding

COLUMNS: tuple[Column[Finding], ...] = (
    Column(N_("What"), lambda finding: finding.what),
    Column(N_("Where"), lambda finding: finding.where),
    Column(N_("Stored"), lambda finding: finding.stored, right=True),
    Column(N_("Computed"), lambda finding: finding.computed, right=True),
    Column(N_("Repaired"), lambda finding: finding.repaired),
)


def reconcile(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help=N_("Set right what the facts contradict."))] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare every balance and statistic with the facts; findings that stay are exit 1."""
    from billing_console.services.reconcile import reconcile as compare

    with opened(context) as ledger:
        with bar(_("Comparing with the facts")) as progress:
            findings = compare(ledger, repair, progress)
        if findings or form is not Format.TABLE:
            write_list(findings, wire.FINDING, COLUMNS, form, ledger)
    if not findings:
        say(_("Every balance and statistic agrees with the facts."))
    elif repair:
        mended = ngettext("%(count)d value was set right.", "%(count)d values were set right.", len(findings))
        say(mended % {"count": len(findings)})
    else:
        say(_("Set them right with: billing-console reconcile --repair"))
        raise typer.Exit(ExitCode.REFUSED)


def maintain(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", metavar="MONTH", help=N_("Also the months from this one on, as 2026-01."))
    ] = None,
    keep_months: Annotated[
        int | None,
        typer.Option(
            "--keep-months", metavar="N", help=N_("Archive usage records, but those of this month and N before it.")
        ),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIRECTORY", help=N_("Where the archived records go."))
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=N_("Say what would be done, and do nothing."))] = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Make the partitions of usage records that PostgreSQL needs; move old records to files, where asked to."""
    from billing_console.services.archive import archive_usage
    from billing_console.services.archive_units import archivable
    from billing_console.services.maintenance import Maintained, missing
    from billing_console.services.maintenance import maintain as make

    if (keep_months is None) != (archive is None):
        raise InvalidInput(_("--keep-months and --archive go together."), field="archive")
    month = None if since is None else first_of_month(since, "since")
    with opened(context) as ledger:
        done = Maintained(missing(ledger, month), ()) if dry_run else make(ledger, month)
        moved: tuple[Archived, ...] = ()
        if keep_months is not None and archive is not None:
            moved = archivable(ledger, keep_months) if dry_run else archive_usage(ledger, keep_months, archive)
    words = [_("Partitions made: %(made)s.") % {"made": _months(done.made)}] if done.made else []
    words += [_archived_line(each) for each in moved]
    record: dict[str, object] = {
        **wire.record(wire.MAINTAINED, done),
        "archived": [wire.record(wire.ARCHIVED, each) for each in moved],
    }
    if form is OneFormat.JSON:
        write_result(record, "", form)
    else:
        write("".join(f"{clean(line)}\n" for line in words or [_("There was nothing to do.")]))
    if dry_run:
        say(_("Nothing was changed."))
    if done.late:
        say(_("In one partition, since records came before it was made: %(months)s.") % {"months": _months(done.late)})


def _archived_line(done: Archived) -> str:
    return _("Archived: %(first)s to %(last)s, %(calls)d calls, %(cost)s yuan. %(file)s") % {
        "first": f"{done.first:%Y-%m}",
        "last": f"{done.last:%Y-%m}",
        "calls": done.calls,
        "cost": plain(done.cost),
        "file": done.file,
    }


def _months(months: Sequence[date]) -> str:
    return ", ".join(f"{month:%Y-%m}" for month in months)


def settle(context: typer.Context, form: OneFormatOption = OneFormat.TEXT) -> None:
    """Count the usage that a gateway inserted by itself, and book what is due of quotas."""
    from billing_console.services.quota_due import book_all_due
    from billing_console.services.settlement import settle as count

    with opened(context) as ledger:
        done = count(ledger)
        book_all_due(ledger)
        words = _("Records counted: %(counted)d. Without a price: %(unpriced)d.") % {
            "counted": done.counted,
            "unpriced": done.unpriced,
        }
        write_result(wire.record(wire.SETTLED, done), words, form)
    if done.beyond:
        say(
            _("Not counted, because a number or a time in them is beyond what a call can have: records %(ids)s.")
            % {"ids": ", ".join(map(str, done.beyond))}
        )
        raise typer.Exit(ExitCode.REFUSED)
