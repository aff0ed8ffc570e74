"""`costs`: what was spent, by business day, provider, model and usage type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import FromOption, ModelOption, ProviderOption, ToOption, TypeOption, days
from billing_console.cli.output import Column, Format, FormatOption, say, write_list
from billing_console.i18n import N_, _
from billing_console.money import shown_exact

if TYPE_CHECKING:
    from billing_console.services.costs import CostRow

GROUPED: dict[str, tuple[str, Column[CostRow]]] = {
    "day": ("statDate", Column(N_("Day"), lambda row: row.stat_date)),
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
)


def costs(
    context: typer.Context,
    start: FromOption = None,
    end: ToOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    kind: TypeOption = None,
    group_by: Annotated[
        str, typer.Option("--group-by", metavar="LIST", help=N_("Any of day, provider, model, type, with commas."))
    ] = ",".join(GROUPED),
    limit: Annotated[int | None, typer.Option("--limit", min=1, help=N_("At most so many."))] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the statistics of the last 30 days or of a range; the totals go to stderr with a table."""
    from billing_console.services.costs import CostFilter, cost_rows, cost_totals, last_days

    groups = [name.strip() for name in group_by.split(",") if name.strip()]
    with opened(context) as ledger:
        usual = last_days(ledger)
        chosen = CostFilter(*days(start, end, ledger.timezone, (usual.start, usual.end)), provider, model, kind)
        rows = cost_rows(ledger, chosen, groups, limit)
        left_out = {field for name, (field, _column) in GROUPED.items() if name not in groups}
        fields = {name: value for name, value in wire.COST.items() if name not in left_out}
        columns = [column for name, (_field, column) in GROUPED.items() if name in groups]
        write_list(rows, fields, [*columns, *SUMS], form, ledger)
        if form is Format.TABLE and rows:
            totals = cost_totals(ledger, chosen)
            say(
                _("%(start)s to %(end)s: %(cost)s, %(calls)d calls, %(failed)d of them failed.")
                % {
                    "start": chosen.start,
                    "end": chosen.end,
                    "cost": shown_exact(totals.total_cost, symbol=ledger.symbol),
                    "calls": totals.call_count,
                    "failed": totals.failed_count,
                }
            )
