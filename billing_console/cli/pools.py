"""`pools`: the prepaid balance at each provider, recharges and their history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.check_output import low_below
from billing_console.cli.confirm import confirm, needs_approval
from billing_console.cli.context import opened
from billing_console.cli.options import (
    AmountArgument,
    KeyOption,
    LimitOption,
    ProviderArgument,
    ReasonOption,
    ReferenceOption,
    YesOption,
)
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    write_list,
    write_money_result,
    write_one,
    write_result,
    write_waiting,
)
from billing_console.cli.repeatable import repeatable
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _
from billing_console.money import parse_amount, parse_count, parse_decimal, shown, shown_exact

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.outlook import PoolOutlook, Suggestion
    from billing_console.services.pools import PoolView
    from billing_console.services.recharges import RechargeView

app = typer.Typer(help=N_("Resource pools: the prepaid balance at each provider."))

COLUMNS: tuple[Column[PoolView], ...] = (
    Column(N_("Provider"), lambda pool: pool.provider_id),
    Column(N_("Status"), lambda pool: pool.status or _("no pool")),
    Column(N_("Total"), lambda pool: pool.total_balance if pool.has_pool else None, right=True),
    Column(N_("Used"), lambda pool: pool.used_amount, right=True),
    Column(N_("Available"), lambda pool: pool.available_balance if pool.has_pool else None, right=True),
    Column(N_("Left"), lambda pool: _percent(pool), right=True),
    Column(N_("Last recharge"), lambda pool: pool.last_recharge_at),
    Column(N_("Last check"), lambda pool: pool.last_check_at),
)


def _of_pool(column: Column[PoolView]) -> Column[PoolOutlook]:
    return Column(column.title, lambda outlook: column.value(outlook.pool), column.right)


OUTLOOK_COLUMNS: tuple[Column[PoolOutlook], ...] = (
    *map(_of_pool, COLUMNS[:6]),
    Column(N_("Burn per day"), lambda outlook: outlook.burn_per_day, right=True),
    Column(N_("Empty at"), lambda outlook: outlook.empty.at),
    *map(_of_pool, COLUMNS[6:]),
)

RECHARGE_COLUMNS: tuple[Column[RechargeView], ...] = (
    Column(N_("Id"), lambda entry: str(entry.id), right=True),
    Column(N_("Time"), lambda entry: entry.created_at),
    Column(N_("Provider"), lambda entry: entry.provider_id),
    Column(N_("Amount"), lambda entry: entry.amount, right=True),
    Column(N_("Available after"), lambda entry: entry.available_after, right=True),
    Column(N_("Reference"), lambda entry: entry.reference),
    Column(N_("Note"), lambda entry: entry.note),
    Column(N_("Operator"), lambda entry: _people(entry)),
    Column(N_("Reversal"), lambda entry: _reversal(entry)),
)


def _percent(pool: PoolView) -> str | None:
    return f"{pool.balance_percentage:.2f}%" if pool.has_pool else None


def _people(entry: RechargeView) -> str:
    if entry.approved_by is None:
        return entry.operator
    return _("%(operator)s, approved by %(name)s") % {"operator": entry.operator, "name": entry.approved_by}


def _reversal(entry: RechargeView) -> str | None:
    if entry.reverses_id is not None:
        return _("reverses %(id)d") % {"id": entry.reverses_id}
    return None if entry.reversed_by_id is None else _("reversed by %(id)d") % {"id": entry.reversed_by_id}


@app.command("list", help=N_("List the pools."))
def list_all(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help=N_("Also providers that have no pool."))] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the pools."""
    from billing_console.services.outlook import list_outlooks

    with opened(context) as ledger:
        write_list(list_outlooks(ledger, with_no_pool=everything), wire.OUTLOOK, OUTLOOK_COLUMNS, form, ledger)


@app.command("show", help=N_("Show one pool."))
def show(
    context: typer.Context,
    provider: ProviderArgument,
    days: Annotated[
        int, typer.Option("--days", metavar="N", help=N_("Say what to recharge for so many days from now."))
    ] = 30,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Show one pool."""
    from billing_console.services.outlook import get_outlook, suggest

    with opened(context) as ledger:
        outlook = get_outlook(ledger, provider)
        (wanted,) = suggest(ledger, provider, days)
        data = {"forDays": days, "rechargeExpected": wanted.expected, "rechargeAtMost": wanted.at_most}
        write_one(wire.record(wire.OUTLOOK, outlook) | data, _facts(outlook, wanted, ledger), form, ledger)


def _facts(outlook: PoolOutlook, wanted: Suggestion, ledger: Ledger) -> Iterable[tuple[str, object]]:
    pool, empty = outlook.pool, outlook.empty
    yield _("Name"), pool.provider_name
    yield from ((_(column.title), column.value(outlook)) for column in OUTLOOK_COLUMNS)
    yield _("At the earliest"), empty.earliest
    yield _("At the latest"), empty.latest
    yield _("Days of history"), outlook.history_days
    yield _("Recharge for %(days)d days") % {"days": wanted.days}, wanted.expected
    yield _("At most for %(days)d days") % {"days": wanted.days}, wanted.at_most
    yield _("Low below"), low_below(pool, ledger.symbol)
    yield _("Models suspended"), pool.suspended_at


@app.command("add", help=N_("Give a provider, known or new, a pool with nothing in it."))
def add(
    context: typer.Context,
    provider: ProviderArgument,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help=N_("The provider's name."))] = None,
    low_threshold: Annotated[
        str | None,
        typer.Option("--low-threshold", metavar="PERCENT", help=N_("Low below this; without it, as the settings say.")),
    ] = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Open a pool."""
    from billing_console.services.pools import open_pool

    threshold = None if low_threshold is None else parse_decimal(low_threshold.removesuffix("%"))
    with opened(context) as ledger:
        pool = open_pool(ledger, provider, name=name, low_threshold=threshold)
        words = _("%(provider)s has a pool now.") % {"provider": pool.provider_id}
        write_result(wire.record(wire.POOL, pool), words, form)


@app.command("threshold", help=N_("Set below what a pool is low; one that is crossed is enough. Checked at once."))
def threshold(
    context: typer.Context,
    provider: ProviderArgument,
    percent: Annotated[
        str | None,
        typer.Option("--percent", metavar="P", help=N_("From 0 to 100; “default” for what the settings say.")),
    ] = None,
    amount: Annotated[
        str | None, typer.Option("--amount", metavar="A", help=N_("Yuan that must be left; “off” for none."))
    ] = None,
    days: Annotated[
        str | None, typer.Option("--days", metavar="D", help=N_("Days that it must last; “off” for none."))
    ] = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Set a pool's thresholds; those that are not named stay as they are."""
    from billing_console.services.pools import set_thresholds
    from billing_console.services.thresholds import NewThresholds

    wanted: NewThresholds = {}
    if percent is not None:
        wanted["percent"] = None if percent == "default" else parse_decimal(percent.removesuffix("%"))
    if amount is not None:
        wanted["amount"] = None if amount == "off" else parse_amount(amount, places=2)
    if days is not None:
        wanted["days"] = None if days == "off" else parse_count(days)
    if not wanted:
        raise InvalidInput(_("Name at least one of --percent, --amount and --days."), field="percent")
    with opened(context) as ledger:
        pool = set_thresholds(ledger, provider, wanted)
        words = _("%(provider)s is low below %(thresholds)s now.") % {
            "provider": pool.provider_id,
            "thresholds": low_below(pool, ledger.symbol),
        }
        write_result(wire.record(wire.POOL, pool), words, form)


@app.command("history", help=N_("List recharges and reversals, newest first."))
def history(
    context: typer.Context,
    provider: Annotated[str | None, typer.Argument(metavar="[PROVIDER]", help=N_("Only this provider."))] = None,
    limit: LimitOption = 100,
    form: FormatOption = Format.TABLE,
) -> None:
    """List recharges."""
    from billing_console.services.recharges import recharge_history

    with opened(context) as ledger:
        rows = recharge_history(ledger, provider, limit=limit)
        write_list(rows, wire.RECHARGE, RECHARGE_COLUMNS, form, ledger)


@app.command("recharge", help=N_("Pay money into a pool; its alert and suspension are lifted at once."))
def recharge(
    context: typer.Context,
    provider: ProviderArgument,
    amount: AmountArgument,
    reference: ReferenceOption,
    key: KeyOption = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help=N_("Anything else worth knowing."))] = "",
    yes: YesOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Recharge a pool after showing what that changes."""
    from billing_console.services import recharges

    paid = parse_amount(amount)
    with opened(context) as ledger:
        key = key or recharges.new_key()
        if not yes:
            change = recharges.preview_recharge(ledger, provider, paid)
            confirm(
                _("Recharge %(provider)s by %(amount)s (%(reference)s): available %(before)s → %(after)s?")
                % {
                    "provider": provider,
                    "amount": shown(paid, symbol=ledger.symbol),
                    "reference": reference,
                    "before": shown_exact(change.before, symbol=ledger.symbol),
                    "after": shown_exact(change.after, symbol=ledger.symbol),
                }
                + needs_approval(change)
            )
        with repeatable(key):
            done = recharges.recharge(ledger, provider, paid, reference=reference, key=key, note=note)
            write_booked(done, ledger, form)


@app.command("reverse", help=N_("Take a recharge back by a new entry that names it, once."))
def reverse(
    context: typer.Context,
    recharge_id: Annotated[int, typer.Argument(metavar="RECHARGE_ID", help=N_("As “pools history” shows it."))],
    reason: ReasonOption,
    overdraw: Annotated[
        bool, typer.Option("--overdraw", help=N_("Where the money is used already, ask another admin to approve it."))
    ] = False,
    yes: YesOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Reverse a recharge after showing what that changes."""
    from billing_console.services.recharges import preview_reversal, reverse_recharge

    with opened(context) as ledger:
        if not yes:
            change = preview_reversal(ledger, recharge_id, overdraw=overdraw)
            confirm(
                _("Reverse recharge %(id)d (%(reason)s): available %(before)s → %(after)s?")
                % {
                    "id": recharge_id,
                    "reason": reason,
                    "before": shown_exact(change.before, symbol=ledger.symbol),
                    "after": shown_exact(change.after, symbol=ledger.symbol),
                }
                + needs_approval(change)
            )
        write_booked(reverse_recharge(ledger, recharge_id, reason=reason, overdraw=overdraw), ledger, form)


def write_booked(entry: RechargeView | ApprovalView, ledger: Ledger, form: OneFormat) -> None:
    """Write what was booked, or that it waits for approval."""
    from billing_console.services.approvals import ApprovalView

    if isinstance(entry, ApprovalView):
        write_waiting(entry, form)
        return
    write_money_result(wire.record(wire.RECHARGE, entry), booked_words(entry, ledger), entry.replayed, form)


def booked_words(entry: RechargeView, ledger: Ledger) -> str:
    """Say what was booked."""
    return _("%(provider)s %(amount)s: available %(before)s → %(after)s (recharge %(id)d, key %(key)s)") % {
        "provider": entry.provider_id,
        "amount": shown_exact(entry.amount, symbol=ledger.symbol),
        "before": shown_exact(entry.available_before, symbol=ledger.symbol),
        "after": shown_exact(entry.available_after, symbol=ledger.symbol),
        "id": entry.id,
        "key": entry.idempotency_key,
    }
