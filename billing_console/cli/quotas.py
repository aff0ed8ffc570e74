"""`quotas`: what users may spend, and granting it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.confirm import confirm, needs_approval
from billing_console.cli.context import opened
from billing_console.cli.expiry import DaysOption, ExpiresOption, expiry
from billing_console.cli.options import AmountArgument, KeyOption, ReferenceOption, UserArgument, YesOption
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
from billing_console.cli.quota_bulk import grant_many
from billing_console.cli.repeatable import repeatable
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _
from billing_console.money import parse_amount, shown_exact
from db.values import Period

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger
    from billing_console.services.periodic_quotas import PeriodicSet
    from billing_console.services.quotas import GrantView, QuotaDetails, QuotaView

app = typer.Typer(help=N_("User quotas: what users may spend."))

COLUMNS: tuple[Column[QuotaView], ...] = (
    Column(N_("User"), lambda quota: quota.user_id),
    Column(N_("Granted"), lambda quota: quota.granted_amount if quota.has_quota else _("no quota"), right=True),
    Column(N_("Used"), lambda quota: quota.used_amount, right=True),
    Column(N_("Remaining"), lambda quota: quota.remaining_amount, right=True),
    Column(N_("Updated"), lambda quota: quota.updated_at),
)


class Sort(StrEnum):
    """What `quotas list` can be sorted by."""

    REMAINING = "remaining"
    USED = "used"


class Every(StrEnum):
    """How often a periodic quota is given."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    OFF = "off"


@app.command("list", help=N_("List users: exhausted ones and the least remaining first, those without a quota last."))
def list_all(
    context: typer.Context,
    search: Annotated[
        str, typer.Option("--search", "--user", metavar="TEXT", help=N_("Only users whose id contains this."))
    ] = "",
    granted: Annotated[bool, typer.Option("--granted", help=N_("Only users who have a quota."))] = False,
    exhausted: Annotated[bool, typer.Option("--exhausted", help=N_("Only users whose next call is refused."))] = False,
    sort: Annotated[
        Sort, typer.Option("--sort", help=N_("The least remaining first, or the most used first."))
    ] = Sort.REMAINING,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help=N_("At most so many."))] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List quotas."""
    from billing_console.services.quotas import QuotaOrder, QuotaSort, list_quotas

    order = QuotaOrder(QuotaSort(sort), descending=sort is Sort.USED)
    with opened(context) as ledger:
        rows = list_quotas(
            ledger, search=search, only_with_quota=granted, only_blocked=exhausted, order=order, limit=limit
        )
        write_list(rows, wire.QUOTA, COLUMNS, form, ledger)


@app.command("show", help=N_("Show a user's quota, its grants and the newest calls."))
def show(context: typer.Context, user: UserArgument, form: OneFormatOption = OneFormat.TEXT) -> None:
    """Show one quota."""
    from billing_console.services.quotas import quota_details

    with opened(context) as ledger:
        details = quota_details(ledger, user)
        write_one(wire.quota_details(details), _facts(details, ledger), form, ledger)


def _facts(details: QuotaDetails, ledger: Ledger) -> Iterable[tuple[str, object]]:
    from billing_console.cli.table import spell
    from billing_console.services.quota_periods import EVERY

    yield from ((_(column.title), column.value(details.quota)) for column in COLUMNS)
    yield from _use(details, ledger)
    if details.periodic is not None:
        amount = shown_exact(details.periodic.amount, symbol=ledger.symbol)
        yield _("Periodic quota"), f"{amount} {_(EVERY[details.periodic.period])}"
    for grant in details.grants:
        amount = shown_exact(grant.amount, symbol=ledger.symbol)
        until = ""
        if grant.expires_at is not None:
            until = " " + _("(until %(until)s)") % {"until": spell(grant.expires_at, ledger)}
        name = _("Grant %(id)d") % {"id": grant.id}
        yield name, f"{spell(grant.created_at, ledger)} {amount}{until} {grant.reference}"
    for row in details.recent:
        cost = _("unpriced") if row.unpriced else shown_exact(row.cost_amount, symbol=ledger.symbol)
        words = f"{spell(row.created_at, ledger)} {row.provider_id} {row.model_id} {cost} {row.error_message or ''}"
        yield _("Call %(id)d") % {"id": row.id}, words


def _use(details: QuotaDetails, ledger: Ledger) -> Iterable[tuple[str, object]]:
    use, left = details.use, details.use.days_left(details.quota.remaining_amount)
    seen = use.unusual
    yield _("Use a day"), _("%(amount)s (last 7 days)") % {"amount": shown_exact(use.per_day, symbol=ledger.symbol)}
    if left is not None:
        yield _("Lasts"), _("%(days)s d") % {"days": f"{left:.1f}"}
    word = _("unusual") if seen.is_unusual else _("usual")
    if not seen.has_history:
        word = _("not enough history to compare")
    yield _("Today"), f"{shown_exact(seen.today, symbol=ledger.symbol)} ({word})"
    if seen.has_history:
        yield _("Unusual above"), shown_exact(seen.threshold, symbol=ledger.symbol)


@app.command("grant", help=N_("Let a user, known or new, spend more."))
def grant(
    context: typer.Context,
    user: UserArgument,
    amount: AmountArgument,
    reference: ReferenceOption,
    expires: ExpiresOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    yes: YesOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Grant quota after showing what that changes."""
    from billing_console.services.quotas import grant_quota
    from billing_console.services.recharges import new_key

    more = parse_amount(amount)
    with opened(context) as ledger:
        until = expiry(expires, days, ledger)
        if not yes:
            _ask(ledger, user, more, reference, revoke=False)
        key = key or new_key()
        with repeatable(key):
            granted = grant_quota(ledger, user, more, reference=reference, key=key, expires_at=until)
            write_granted(granted, ledger, form)


app.command("grant-many", help=N_("Let every user of a file spend so much more: all of them, or none."))(grant_many)


@app.command("revoke", help=N_("Take unused quota back from a user."))
def revoke(
    context: typer.Context,
    user: UserArgument,
    amount: AmountArgument,
    reference: ReferenceOption,
    key: KeyOption = None,
    yes: YesOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Revoke quota after showing what that changes."""
    from billing_console.services.quotas import revoke_quota
    from billing_console.services.recharges import new_key

    less = parse_amount(amount)
    with opened(context) as ledger:
        if not yes:
            _ask(ledger, user, less, reference, revoke=True)
        key = key or new_key()
        with repeatable(key):
            write_granted(revoke_quota(ledger, user, less, reference=reference, key=key), ledger, form)


@app.command("period", help=N_("Give a user so much every day, week or month anew; off ends that."))
def period(
    context: typer.Context,
    user: UserArgument,
    every: Annotated[Every, typer.Argument(metavar="day|week|month|off", help=N_("How often, or off."))],
    amount: Annotated[str | None, typer.Argument(metavar="AMOUNT", help=N_("Yuan, more than 0."))] = None,
    yes: YesOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Set or end a periodic quota; what is left of a period ends with it."""
    from billing_console.services.periodic_quotas import set_periodic
    from billing_console.services.quota_periods import EVERY

    if (every is Every.OFF) is not (amount is None):
        raise InvalidInput(_("Give an amount with day, week or month, and none with off."), field="amount")
    each = None if amount is None else parse_amount(amount)
    with opened(context) as ledger:
        if not yes and each is not None:
            question = _("Give %(user)s %(amount)s %(every)s from now on?")
            words = {"user": user, "amount": shown_exact(each, symbol=ledger.symbol), "every": _(EVERY[Period(every)])}
            confirm(question % words)
        done = set_periodic(ledger, user, None if every is Every.OFF else Period(every), each)
        data = {
            "userId": user,
            "periodic": None if done.periodic is None else wire.record(wire.PERIODIC, done.periodic),
            "grantedAmount": done.given,
            "remainingAmount": done.remaining,
        }
        write_result(data, _periodic_words(user, done, ledger), form)


def _periodic_words(user: str, done: PeriodicSet, ledger: Ledger) -> str:
    from billing_console.services.quota_periods import EVERY

    given = shown_exact(done.given, symbol=ledger.symbol)
    words = {"user": user, "given": given, "remaining": shown_exact(done.remaining, symbol=ledger.symbol)}
    if done.periodic is None:
        return _("%(user)s has no periodic quota; remaining %(remaining)s.") % words
    words["amount"] = shown_exact(done.periodic.amount, symbol=ledger.symbol)
    words["every"] = _(EVERY[done.periodic.period])
    return _("%(user)s: %(amount)s %(every)s; granted now %(given)s, remaining %(remaining)s.") % words


def _ask(ledger: Ledger, user: str, amount: Decimal, reference: str, *, revoke: bool) -> None:
    from billing_console.services.quotas import preview_grant

    change = preview_grant(ledger, user, amount, revoke=revoke)
    question = _("%(user)s %(amount)s (%(reference)s): remaining %(before)s → %(after)s?") % {
        "user": user,
        "amount": shown_exact(-amount if revoke else amount, symbol=ledger.symbol),
        "reference": reference,
        "before": shown_exact(change.before, symbol=ledger.symbol) if change.had_quota else _("no quota"),
        "after": shown_exact(change.after, symbol=ledger.symbol),
    }
    if change.is_blocked:
        question += " " + _("The next call is refused then.")
    confirm(question + needs_approval(change))


def write_granted(grant: GrantView | ApprovalView, ledger: Ledger, form: OneFormat) -> None:
    """Write what was granted or taken back, or that it waits for approval."""
    from billing_console.services.approvals import ApprovalView

    if isinstance(grant, ApprovalView):
        write_waiting(grant, form)
        return
    write_money_result(wire.record(wire.GRANT, grant), granted_words(grant, ledger), grant.replayed, form)


def granted_words(grant: GrantView, ledger: Ledger) -> str:
    """Say what was granted or taken back."""
    return _("%(user)s %(amount)s: remaining %(before)s → %(after)s (grant %(id)d, key %(key)s)") % {
        "user": grant.user_id,
        "amount": shown_exact(grant.amount, symbol=ledger.symbol),
        "before": shown_exact(grant.remaining_before, symbol=ledger.symbol),
        "after": shown_exact(grant.remaining_after, symbol=ledger.symbol),
        "id": grant.id,
        "key": grant.idempotency_key,
    }
