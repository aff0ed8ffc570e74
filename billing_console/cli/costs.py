"""`costs`: what was spent, by business day, provider, model and usage type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import FromOption, ModelOption, ProviderOption, ToOption, TypeOption, days
from billing_console.cli.output import Column, Format, FormatOption, say, write_list
from billing_console.i18n import N_, _
from billing_console.money import shown_exact

if TYPE_CHECKING:
    from decimal import Decimal

    from billing_console.services.costs import CostFilter, CostRow
    from billing_console.services.costs_compare import ComparedRow
    from billing_console.services.ledger import Ledger

DEFAULT_GROUPS = "day,provider,model,type"

GROUPED: dict[str, tuple[str, Column[CostRow]]] = {
    "day": ("statDate", Column(N_("Day"), lambda row: row.stat_date)),
    "week": ("statDate", Column(N_("Week from"), lambda row: row.stat_date)),
    "month": ("statDate", Column(N_("Month"), lambda row: row.stat_date and f"{row.stat_date:%Y-%m}")),
    "provider": ("providerId", Column(N_("Provider"), lambda row: row.provider_id)),
    "model": ("modelId", Column(N_("Model"), lambda row: row.model_id)),
    "type": ("usageType", Column(N_("Type"), lambda row: row.usage_type)),
}
"""What costs can be grouped by: the field that then is there, and its column."""

SUMS: tuple[Column[CostRow], ...] = (
    Column(N_("Total usage"), lambda row: wire.number(row.total_usage), right=True),
    Column(N_("Total cost"), lambda row: row.total_cost, right=True),
    Column(N_("Calls"), lambda row: row.call_count, right=True),
    Column(N_("Failed"), lambda row: row.failed_count, right=True),
    Column(N_("Per call"), lambda row: row.cost_per_call, right=True),
    Column(N_("Per 1m tokens"), lambda row: row.cost_per_million_tokens, right=True),
)

COMPARED: tuple[Column[ComparedRow], ...] = (
    Column(N_("Share"), lambda row: f"{row.share}%", right=True),
    Column(N_("Previous"), lambda row: row.change.previous, right=True),
    Column(N_("Difference"), lambda row: row.change.amount, right=True),
    Column(N_("Change %"), lambda row: _signed(row.change.percentage), right=True),
)


def costs(
    context: typer.Context,
    start: FromOption = None,
    end: ToOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    kind: TypeOption = None,
    group_by: Annotated[
        str,
        typer.Option(
            "--group-by", metavar="LIST", help=N_("One of day, week, month; provider, model, type; with commas.")
        ),
    ] = DEFAULT_GROUPS,
    compare: Annotated[
        bool, typer.Option("--compare", help=N_("Add the share of the whole and the change to the period before."))
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help=N_("At most so many."))] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the statistics of the last 30 days or of a range; the totals go to stderr with a table."""
    from billing_console.services.costs import CostFilter, cost_rows, groups_of, last_days
    from billing_console.services.costs_compare import compared_rows

    with opened(context) as ledger:
        groups = groups_of([name.strip() for name in group_by.split(",") if name.strip()])
        usual = last_days(ledger)
        chosen = CostFilter(*days(start, end, ledger.timezone, (usual.start, usual.end)), provider, model, kind)
        grouped = {GROUPED[name][0] for name in groups}
        left_out = {field for field, _column in GROUPED.values()} - grouped
        fields = {name: value for name, value in wire.COST.items() if name not in left_out}
        columns = [*(GROUPED[name][1] for name in groups), *SUMS]
        if compare:
            wider = [Column(column.title, _of_row(column.value), column.right) for column in columns]
            write_list(
                compared_rows(ledger, chosen, groups, limit), wire.compared(fields), [*wider, *COMPARED], form, ledger
            )
        else:
            write_list(cost_rows(ledger, chosen, groups, limit), fields, columns, form, ledger)
        if form is Format.TABLE:
            _say_totals(ledger, chosen, compare=compare)


def _of_row(value: Callable[[CostRow], object]) -> Callable[[ComparedRow], object]:
    return lambda compared: value(compared.row)


def _say_totals(ledger: Ledger, chosen: CostFilter, *, compare: bool) -> None:
    from billing_console.services.costs_compare import compared_totals

    compared = compared_totals(ledger, chosen)
    totals, change, before = compared.totals, compared.change, compared.before
    if not totals.call_count:
        return
    said = _("%(start)s to %(end)s: %(cost)s, %(calls)d calls, %(failed)d of them failed.") % {
        "start": chosen.start,
        "end": chosen.end,
        "cost": shown_exact(totals.total_cost, symbol=ledger.symbol),
        "calls": totals.call_count,
        "failed": totals.failed_count,
    }
    if compare and before is not None and change.previous is not None:
        said += " " + _("%(start)s to %(end)s: %(cost)s (%(change)s).") % {
            "start": before.start,
            "end": before.end,
            "cost": shown_exact(change.previous, symbol=ledger.symbol),
            "change": _signed(change.percentage) or _("nothing to compare with"),
        }
    say(said)


def _signed(percentage: Decimal | None) -> str | None:
    return None if percentage is None else f"{percentage:+}%"
