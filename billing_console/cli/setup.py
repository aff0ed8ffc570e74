"""`init`, `upgrade` and `demo`: the ledger itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from billing_console.cli.context import Root, root_of
from billing_console.cli.output import write
from billing_console.errors import Conflict, NotPermitted
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

    root = _writable(context)
    settings = root.settings
    try:
        setup.init(
            settings.database_url,
            timezone=timezone or settings.business_timezone or setup.DEFAULT_TIMEZONE,
            currency=currency or settings.currency or setup.DEFAULT_CURRENCY,
        )
    except Conflict as already:
        write(f"{already.message}\n")
    else:
        write(_("The ledger is set up: %(url)s") % {"url": label_of(settings.database_url)} + "\n")


def upgrade(context: typer.Context) -> None:
    """Bring the schema up to date."""
    from billing_console.services import setup

    root = _writable(context)
    before, after = setup.upgrade(root.settings.database_url)
    if before == after:
        write(_("The schema is up to date (%(revision)s).") % {"revision": after} + "\n")
    else:
        write(_("The schema was brought from %(before)s to %(after)s.") % {"before": before, "after": after} + "\n")


def open_console(root: Root) -> int:
    """Open the console on the ledger the settings name and return its exit code."""
    from billing_console.terminal import ConsoleOptions, run_console

    settings = root.settings
    options = ConsoleOptions(
        open=root.open,
        label=label_of(settings.database_url),
        read_only=root.read_only,
        refresh_seconds=settings.refresh_seconds,
        check_interval=timedelta(minutes=settings.check_interval_minutes),
    )
    return run_console(options)


def _writable(context: typer.Context) -> Root:
    root = root_of(context)
    if root.read_only:
        raise NotPermitted(
            _("This is a read-only session; nothing was changed."), _("Leave out --read-only to make changes.")
        )
    return root


def label_of(url: str) -> str:
    """Name a database for people: the path of a file, or the URL without its password."""
    from urllib.parse import urlsplit, urlunsplit

    if url.startswith("sqlite:///"):
        return url.removeprefix("sqlite:///")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    user = host[0].partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{host[2]}" if user else host[2], query=""))
