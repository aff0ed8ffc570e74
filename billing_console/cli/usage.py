"""`usage`: look at usage records, export them, and price those that had no price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from billing_console import negation, wire
from billing_console.cli.context import opened
from billing_console.cli.options import (
    FromOption,
    LimitOption,
    ModelOption,
    ProviderOption,
    ToOption,
    instants,
)
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    say,
    write,
    write_list,
    write_one,
    write_result,
)
from billing_console.cli.usage_import import import_usage
from billing_console.errors import InvalidInput
from billing_console.exporting import ExportFormat, export, format_of, write_text
from billing_console.i18n import N_, _, ngettext
from billing_console.money import shown_exact
from db.values import CallStatus, UsageType

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from billing_console.services.ledger import Ledger
    from billing_console.services.price_cost import CostLine
    from billing_console.services.usage import UsageDetails, UsageFilter, UsageRow

Vocabulary = TypeVar("Vocabulary", CallStatus, UsageType)

app = typer.Typer(help=N_("Usage records: every AI call."))

EXPORT_PAGE = 1000
"""Records read at a time for an export."""

COLUMNS: tuple[Column[UsageRow], ...] = (
    Column(N_("Id"), lambda row: str(row.id), right=True),
    Column(N_("Time"), lambda row: row.created_at),
    Column(N_("User"), lambda row: row.user_id),
    Column(N_("Provider"), lambda row: row.provider_id),
    Column(N_("Model"), lambda row: row.model_id),
    Column(N_("Type"), lambda row: row.usage_type),
    Column(N_("Input"), lambda row: row.input_tokens, right=True),
    Column(N_("Output"), lambda row: row.output_tokens, right=True),
    Column(N_("Cost"), lambda row: _("unpriced") if row.unpriced else row.cost_amount, right=True),
    Column(N_("Status"), lambda row: row.status),
)

COST_KINDS = {
    "input": N_("Input cost"),
    "cached_input": N_("Cached input cost"),
    "output": N_("Output cost"),
    "quantity": N_("Quantity cost"),
}
"""The parts a cost is made of, for people."""


ProviderWish = Annotated[
    str | None, typer.Option("--provider", metavar="[!]ID", help=N_("Only this provider; with ! all others."))
]
ModelWish = Annotated[
    str | None, typer.Option("--model", metavar="[!]ID", help=N_("Only this model; with ! all others."))
]
UserWish = Annotated[str | None, typer.Option("--user", metavar="[!]ID", help=N_("Only this user; with ! all others."))]
TypeWish = Annotated[
    str | None, typer.Option("--type", metavar="[!]TYPE", help=N_("Only this usage type; with ! all others."))
]
StatusWish = Annotated[
    str | None, typer.Option("--status", metavar="[!]STATUS", help=N_("Only calls that ended so; with ! the others."))
]


@app.command("list", help=N_("List usage records, newest first."))
def list_usage(
    context: typer.Context,
    user: UserWish = None,
    provider: ProviderWish = None,
    model: ModelWish = None,
    kind: TypeWish = None,
    status: StatusWish = None,
    start: FromOption = None,
    end: ToOption = None,
    limit: LimitOption = 200,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help=N_("Go on after this cursor of an earlier list."))
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List one page, and say on stderr how to get the next."""
    from billing_console.services.usage import usage_page

    chosen = _filter(user, provider, model, kind, status)
    with opened(context) as ledger:
        chosen = _between(chosen, start, end, ledger.timezone)
        page = usage_page(ledger, chosen, limit=limit, after=after)
        write_list(page.rows, wire.USAGE, COLUMNS, form, ledger)
    if page.next is not None:
        say(_("There are more; go on with: --after %(cursor)s") % {"cursor": page.next})


def _filter(
    user: str | None,
    provider: str | None,
    model: str | None,
    kind: str | None,
    status: str | None,
) -> UsageFilter:
    """Read the options of a filter, of any time; raise InvalidInput for a type or status that there is not."""
    from billing_console.services.usage import UsageFilter

    texts = {"user_id": user, "provider_id": provider, "model_id": model, "usage_type": kind, "status": status}
    read = {name: negation.read(text or "") for name, text in texts.items()}
    values = {name: value for name, (value, _negated) in read.items()}
    ended = _one_of(CallStatus, values["status"], "--status")
    if ended is not None and read["status"][1]:
        ended = CallStatus.SUCCESS if ended is CallStatus.FAILED else CallStatus.FAILED
    return UsageFilter(
        values["user_id"],
        values["provider_id"],
        values["model_id"],
        _one_of(UsageType, values["usage_type"], "--type"),
        ended,
        negated=frozenset(name for name, (_value, negated) in read.items() if negated and name != "status"),
    )


def _one_of(kind: type[Vocabulary], value: str | None, option: str) -> Vocabulary | None:
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        said = {"name": option, "choices": ", ".join(kind)}
        raise InvalidInput(_("%(name)s takes one of: %(choices)s.") % said) from None


def _between(chosen: UsageFilter, start: str | None, end: str | None, zone: ZoneInfo) -> UsageFilter:
    first, last = instants(start, end, zone)
    return replace(chosen, start=first, end=last)


@app.command("show", help=N_("Show one usage record whole: why it failed, and how its cost comes about."))
def show_usage(
    context: typer.Context,
    record_id: Annotated[int, typer.Argument(metavar="ID", help=N_("The record's id, as “usage list” shows it."))],
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Show one record."""
    from billing_console.services.usage import usage_details

    with opened(context) as ledger:
        details = usage_details(ledger, record_id)
        write_one(wire.usage_details(details), _facts(details, ledger), form, ledger)


def _facts(details: UsageDetails, ledger: Ledger) -> Iterable[tuple[str, object]]:
    row = details.row
    yield _("Id"), str(row.id)
    yield _("Time"), row.created_at
    yield _("User"), row.user_id
    yield _("Provider"), row.provider_id
    yield _("Model"), row.model_id
    yield _("Type"), row.usage_type
    yield _("Status"), row.status
    yield _("Failure reason"), row.error_message
    yield _("Input tokens"), row.input_tokens
    yield _("of these cached"), row.cached_input_tokens
    yield _("Output tokens"), row.output_tokens
    yield _("Total tokens"), row.total_tokens
    yield _("Quantity"), f"{row.quantity.normalize():,f}"
    yield _("Cost"), _("unpriced") if row.unpriced else shown_exact(row.cost_amount, symbol=ledger.symbol)
    for line in details.lines:
        yield f"  {_(COST_KINDS[line.kind])}", _cost_line(line, ledger.symbol)
    if details.price is not None:
        yield _("Price holds from"), details.price.effective_from
    yield _("Request id"), row.request_id
    yield _("Imported from"), details.import_file
    if details.import_currency is not None:
        yield _("Converted from"), f"{details.import_currency} × {details.import_rate}"


def _cost_line(line: CostLine, symbol: str) -> str:
    from billing_console.cli.table import NAMES

    price = f"{shown_exact(line.unit_price, symbol=symbol)} / {_(NAMES[line.unit])}"
    return f"{line.count.normalize():,f} × {price} = {shown_exact(line.amount, symbol=symbol)}"


@app.command("export", help=N_("Write every record of a filter to a file, oldest first."))
def export_usage(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=N_("Where to write; - is standard output."))],
    user: UserWish = None,
    provider: ProviderWish = None,
    model: ModelWish = None,
    kind: TypeWish = None,
    status: StatusWish = None,
    start: FromOption = None,
    end: ToOption = None,
    form: Annotated[
        ExportFormat | None,
        typer.Option("--format", help=N_("How to write it; without this, by the file's suffix, else csv.")),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=N_("Overwrite a file that is there."))] = False,
) -> None:
    """Stream all pages of the filter; the file appears when it is whole."""
    form, chosen = form or format_of(file) or ExportFormat.CSV, _filter(user, provider, model, kind, status)
    with opened(context) as ledger:
        rows = _every_record(ledger, _between(chosen, start, end, ledger.timezone))
        to_stdout = str(file) == "-"
        written = write_text(form, rows, write) if to_stdout else export(file, form, rows, overwrite=force)
    say(ngettext("%(count)d record written.", "%(count)d records written.", written) % {"count": written})


def _every_record(ledger: Ledger, chosen: UsageFilter) -> Iterator[Sequence[object]]:
    """Yield the names of the fields, then the values of every record."""
    from billing_console.services.usage import usage_page

    yield tuple(wire.USAGE)
    after = None
    while True:
        page = usage_page(ledger, chosen, limit=EXPORT_PAGE, after=after, oldest_first=True)
        yield from (tuple(wire.record(wire.USAGE, row).values()) for row in page.rows)
        after = page.next
        if after is None:
            return


@app.command("reprice", help=N_("Bill the records that had no price, where one holds for their time now."))
def reprice_usage(
    context: typer.Context,
    provider: ProviderOption = None,
    model: ModelOption = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Price what was unpriced, and say how much is still open."""
    from billing_console.services.settlement import reprice

    with opened(context) as ledger:
        done = reprice(ledger, provider, model)
        words = _("Records priced: %(priced)d. Still without a price: %(open)d. Cost added: %(cost)s.") % {
            "priced": done.priced,
            "open": done.still_unpriced,
            "cost": shown_exact(done.cost, symbol=ledger.symbol),
        }
        write_result(wire.record(wire.REPRICED, done), words, form)


app.command("import", help=N_("Import usage from CSV or JSONL files, each row once."))(import_usage)
