"""When granted quota lapses, as commands are told."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console.clock import parse_instant
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

ExpiresOption = Annotated[
    str | None, typer.Option("--expires", metavar="DATE", help=N_("Usable to the end of this day, or this instant."))
]
DaysOption = Annotated[
    int | None, typer.Option("--days", min=0, max=36500, help=N_("Usable to the end of so many days after today."))
]


def expiry(expires: str | None, days: int | None, ledger: Ledger) -> datetime | None:
    """Return when a grant expires: at the end of a business day, so that the same key means the same all day."""
    from billing_console.services.quota_periods import end_of_day

    if expires is not None and days is not None:
        raise InvalidInput(_("Give --expires or --days, not both."), field="expires")
    if expires is not None:
        return parse_instant(expires, ledger.timezone, end=True)
    if days is None:
        return None
    return end_of_day(ledger.clock(), days, ledger.timezone)
