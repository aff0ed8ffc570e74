"""`init`, `upgrade` and `demo`: the ledger itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from billing_console.cli.console import label_of, open_console
from billing_console.cli.context import root_of, writable
from billing_console.cli.output import say, write
from billing_console.cli.progress import bar
from billing_console.errors import Conflict, ExitCode, InvalidInput
from billing_console.i18n import N_, _


def init(
    context: typer.Context,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="ZONE", help=N_("Business time zone, as Asia/Shanghai."))
    ] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", metavar="CODE", help=N_("Currency of all amounts, as CNY."))
    ] = None,
) -> None:
    """Create the schema; where there is one already, say so."""
    from billing_console.services import setup

    root = writable(context)
    settings = root.settings
    try:
        setup.init(
            settings.database_url,
            timezone=timezone or settings.business_timezone or setup.DEFAULT_TIMEZONE,
            currency=currency or settings.currency or setup.DEFAULT_CURRENCY,
            founder=root.actor(),
        )
    except Conflict as already:
        write(f"{already.message}\n")
    else:
        write(_("The ledger is set up: %(url)s") % {"url": label_of(settings.database_url)} + "\n")


def upgrade(context: typer.Context) -> None:
    """Bring the schema up to date."""
    from billing_console.services import setup

    root = writable(context)
    before, after = setup.upgrade(root.settings.database_url, founder=root.actor())
    if before == after:
        write(_("The schema is up to date (%(revision)s).") % {"revision": after} + "\n")
    else:
        write(_("The schema was brought from %(before)s to %(after)s.") % {"before": before, "after": after} + "\n")


def demo(
    context: typer.Context,
    no_tui: Annotated[bool, typer.Option("--no-tui", help=N_("Only build the demo ledger."))] = False,
) -> None:
    """Build the demo ledger where there is none of today, and open the console on it.

    It has a place of its own, so no setting and no option can make it write to another ledger.
    """
    from billing_console.services.setup import DEFAULT_CURRENCY, DEFAULT_TIMEZONE
    from billing_console.settings import data_file, sqlite_url
    from billing_console.terminal import has_terminal

    root = root_of(context)
    if root.options.get("database_url") is not None:
        raise InvalidInput(
            _("The demo has a ledger of its own and takes no --database."),
            _("Leave out --database, or leave out demo to open that ledger."),
        )
    if not no_tui and not has_terminal():
        raise typer.Exit(ExitCode.USAGE)
    path = data_file("demo.db")
    with _demo_ledger(path, root.read_only):
        say(_("The demo ledger is %(path)s") % {"path": path})
        if not no_tui:
            own = {
                "database_url": sqlite_url(path),
                "business_timezone": DEFAULT_TIMEZONE,
                "currency": DEFAULT_CURRENCY,
            }
            raise typer.Exit(open_console(replace(root, options={**root.options, **own})))


@contextmanager
def _demo_ledger(path: Path, read_only: bool) -> Iterator[None]:
    """Have the demo ledger at `path` and keep it while the block runs; a read-only session builds none."""
    from billing_console.clock import now
    from billing_console.demo.place import held
    from billing_console.settings import sqlite_url

    def build(building: Path) -> None:
        from billing_console.demo.build import build as build_demo

        with bar(_("Building the demo ledger: 60 days of usage")) as progress:
            build_demo(sqlite_url(building), now(), progress=progress)

    def waiting() -> None:
        say(_("Waiting for the demo ledger that another billing-console is building."))

    with held(path, sqlite_url(path), now(), None if read_only else build, waiting):
        yield
