"""`prices`: what usage costs, now and before, and adding prices, one or a list."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import (
    CurrencyOption,
    ModelArgument,
    ModelOption,
    ProviderArgument,
    ProviderOption,
    RateOption,
    TypeOption,
)
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    write_json,
    write_list,
    write_result,
)
from billing_console.cli.progress import bar
from billing_console.clock import iso, parse_instant
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _
from billing_console.money import parse_decimal, plain
from db.values import PriceUnit, UsageType

if TYPE_CHECKING:
    from billing_console.services.price_cost import Rates
    from billing_console.services.prices import PriceView

app = typer.Typer(help=N_("Prices: what usage costs."))

COLUMNS: tuple[Column[PriceView], ...] = (
    Column(N_("Provider"), lambda price: price.provider_id),
    Column(N_("Model"), lambda price: price.model_id),
    Column(N_("Type"), lambda price: price.usage_type),
    Column(N_("Unit"), lambda price: price.unit),
    Column(N_("Input"), lambda price: plain(price.input_price), right=True),
    Column(N_("Output"), lambda price: plain(price.output_price), right=True),
    Column(
        N_("Cached"),
        lambda price: None if price.cached_input_price is None else plain(price.cached_input_price),
        right=True,
    ),
    Column(N_("Holds from"), lambda price: price.effective_from),
    Column(N_("In force"), lambda price: price.in_force),
)


@app.command("list", help=N_("List the prices in force."))
def list_all(
    context: typer.Context,
    provider: ProviderOption = None,
    model: ModelOption = None,
    kind: TypeOption = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help=N_("Those in force then (business time zone)."))
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help=N_("Every version, newest first."))] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """List prices."""
    from billing_console.services.prices import list_prices

    with opened(context) as ledger:
        instant = None if at is None else parse_instant(at, ledger.timezone)
        rows = list_prices(ledger, provider, model, kind, at=instant, all_versions=everything)
        write_list(rows, wire.PRICE, COLUMNS, form, ledger)


TypeArgument = Annotated[UsageType, typer.Argument(metavar="TYPE", help=N_("The usage type."))]
UnitOption = Annotated[
    PriceUnit | None, typer.Option("--unit", help=N_("What one price buys; without it, the type's own unit."))
]
InputOption = Annotated[
    str | None, typer.Option("--input", metavar="YUAN", help=N_("Price of the input, or of the quantity."))
]
OutputOption = Annotated[str | None, typer.Option("--output", metavar="YUAN", help=N_("Price of the output."))]
CachedOption = Annotated[
    str | None,
    typer.Option("--cached-input", metavar="YUAN", help=N_("Price of cached input; without it, as other input.")),
]


@app.command("set", help=N_("Add a price; prices are never edited, so history stays as it was billed."))
def set_one(
    context: typer.Context,
    provider: ProviderArgument,
    model: ModelArgument,
    kind: TypeArgument,
    unit: UnitOption = None,
    input_price: InputOption = None,
    output_price: OutputOption = None,
    cached: CachedOption = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help=N_("Holds from then on; without it, from now."))
    ] = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Add a price."""
    from billing_console.services.prices import NewPrice, set_price

    into, out = _amounts(input_price, output_price)
    with opened(context) as ledger:
        new = NewPrice(
            provider_id=provider,
            model_id=model,
            usage_type=kind,
            unit=unit,
            input_price=into,
            output_price=out,
            cached_input_price=None if cached is None else parse_decimal(cached),
            effective_from=None if start is None else parse_instant(start, ledger.timezone),
        )
        price = set_price(ledger, new)
        words = _("%(model)s costs %(input)s in, %(output)s out per %(unit)s from %(instant)s on (price %(id)d).") % {
            "model": f"{price.provider_id} {price.model_id} {price.usage_type}",
            "input": plain(price.input_price),
            "output": plain(price.output_price),
            "unit": price.unit,
            "instant": iso(price.effective_from),
            "id": price.id,
        }
        write_result(wire.record(wire.PRICE, price), words, form)


def _amounts(input_price: str | None, output_price: str | None) -> tuple[Decimal, Decimal]:
    """Read the two prices, of which one may be left out."""
    if input_price is None and output_price is None:
        raise InvalidInput(_("A price needs --input, --output, or both."), field="inputPrice")
    return parse_decimal(input_price or "0"), parse_decimal(output_price or "0")


@app.command("what-if", help=N_("Compare the last 30 days under another price, or another model's; changes nothing."))
def what_if(
    context: typer.Context,
    provider: ProviderArgument,
    model: ModelArgument,
    kind: TypeArgument,
    like: Annotated[
        str | None, typer.Option("--like", metavar="PROVIDER/MODEL", help=N_("The prices of this model instead."))
    ] = None,
    unit: UnitOption = None,
    input_price: InputOption = None,
    output_price: OutputOption = None,
    cached: CachedOption = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Compare prices on real usage."""
    from billing_console.cli.what_if import draw_what_if, what_if_record
    from billing_console.services import price_what_if

    typed = [text for text in (input_price, output_price, cached, unit) if text is not None]
    if (like is None) != bool(typed):
        raise InvalidInput(_("Give the prices, or --like a model, not both."), field="inputPrice")
    with opened(context) as ledger, bar(_("Adding up 30 days")) as progress:
        if like is None:
            into, out = _amounts(input_price, output_price)
            cached_price = None if cached is None else parse_decimal(cached)
            other: Rates = price_what_if.typed_price(kind, unit, into, out, cached_price)
        else:
            other = price_what_if.price_like(ledger, like, kind)
        found = price_what_if.what_if(ledger, provider, model, kind, other, progress)
    if form is OneFormat.JSON:
        names = {"providerId": provider, "modelId": model, "usageType": kind, "like": like}
        write_json({**names, **what_if_record(found), "method": price_what_if.METHOD})
    else:
        draw_what_if(found, kind, ledger)


@app.command("import", help=N_("Add the prices of a CSV, JSON or JSONL file, all or none."))
def import_list(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=N_("The price list; - is standard input."))],
    currency: CurrencyOption = None,
    rate: RateOption = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Add a price list."""
    from billing_console.services.price_import import import_prices

    with opened(context) as ledger:
        exchange = None if rate is None else parse_decimal(rate)
        done = import_prices(ledger, file, currency=currency, rate=exchange)
        words = _("Prices added: %(added)d. There already: %(unchanged)d.") % {
            "added": done.added,
            "unchanged": done.unchanged,
        }
        write_result(wire.record(wire.PRICES_ADDED, done), words, form)
