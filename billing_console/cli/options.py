"""Options that several commands share, and how what people type becomes values."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console.clock import day_of, parse_instant
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _
from db.values import UsageType

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

ProviderOption = Annotated[str | None, typer.Option("--provider", metavar="ID", help=N_("Only this provider."))]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="ID", help=N_("Only this model."))]
TypeOption = Annotated[UsageType | None, typer.Option("--type", help=N_("Only this usage type."))]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help=N_("From this day or instant on (business time zone)."))
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help=N_("Up to the end of this day, or to this instant."))
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help=N_("At most so many."))]

ProviderArgument = Annotated[str, typer.Argument(metavar="PROVIDER", help=N_("The provider's id."))]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=N_("The model's id."))]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help=N_("The user's id."))]
AmountArgument = Annotated[str, typer.Argument(metavar="AMOUNT", help=N_("Yuan, more than 0."))]
ReferenceOption = Annotated[
    str, typer.Option("--reference", metavar="TEXT", help=N_("What it belongs to, as an invoice number."))
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help=N_("Idempotency key: the same key again changes nothing more.")),
]
YesOption = Annotated[bool, typer.Option("--yes", help=N_("Do not ask; needed without a terminal."))]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help=N_("Why."))]
CurrencyOption = Annotated[
    str | None,
    typer.Option("--currency", metavar="CODE", help=N_("Currency of the file's amounts; without it, the ledger's.")),
]
RateOption = Annotated[
    str | None,
    typer.Option("--rate", metavar="RATE", help=N_("What one unit of that currency is worth in the ledger's.")),
]


def first_of_month(text: str, field: str) -> date:
    """Read a month like 2026-11; return its first day. Raises InvalidInput for anything else."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m").date()
    except ValueError:
        raise InvalidInput(_("“%(text)s” is not a month like 2026-11.") % {"text": text[:40]}, field=field) from None


def instants(start: str | None, end: str | None, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """Read a half-open range of instants; a day as its end is included. Raises InvalidInput for an empty range."""
    first = None if start is None else parse_instant(start, zone)
    last = None if end is None else parse_instant(end, zone, end=True)
    if first is not None and last is not None and last <= first:
        raise InvalidInput(_("--from is not before --to."), field="from")
    return first, last


def days(start: str | None, end: str | None, zone: ZoneInfo, default: tuple[date, date]) -> tuple[date, date]:
    """Read a range of business days, both included; without a start, as many days as the default has."""
    length = default[1] - default[0]
    last = default[1] if end is None else day_of(parse_instant(end, zone), zone)
    first = last - length if start is None else day_of(parse_instant(start, zone), zone)
    if start is not None and end is None:
        last = max(last, first)
    if last < first:
        raise InvalidInput(_("--from is not before --to."), field="from")
    return first, last
