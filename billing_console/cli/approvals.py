"""`approvals`: money operations that wait for a second person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli import pools, quotas
from billing_console.cli.confirm import confirm
from billing_console.cli.context import opened
from billing_console.cli.options import LimitOption, ReasonOption, YesOption
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    write_list,
    write_result,
)
from billing_console.i18n import N_, _
from billing_console.money import shown_exact
from db.values import ApprovalKind

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.decisions import Approved
    from billing_console.services.ledger import Ledger
    from billing_console.services.pools import BalanceChange

app = typer.Typer(help=N_("Approvals: what waits for a second person."))

RequestArgument = Annotated[int, typer.Argument(metavar="ID", help=N_("As “approvals list” shows it."))]

COLUMNS: tuple[Column[ApprovalView], ...] = (
    Column(N_("Id"), lambda request: str(request.id), right=True),
    Column(N_("Asked"), lambda request: request.created_at),
    Column(N_("Operator"), lambda request: request.operator),
    Column(N_("Kind"), lambda request: request.kind),
    Column(N_("For"), lambda request: request.subject),
    Column(N_("Amount"), lambda request: request.amount, right=True),
    Column(N_("Reference"), lambda request: request.reference),
    Column(N_("State"), lambda request: request.state.spelled),
    Column(N_("Expires"), lambda request: request.expires_at),
    Column(N_("Decided by"), lambda request: request.decided_by),
)


@app.command("list", help=N_("List the requests that wait for approval, newest first."))
def list_all(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help=N_("Also those that were decided or have expired."))
    ] = False,
    limit: LimitOption = 100,
    form: FormatOption = Format.TABLE,
) -> None:
    """List requests."""
    from billing_console.services.approvals import list_approvals

    with opened(context) as ledger:
        rows = list_approvals(ledger, only_pending=not everything, limit=limit)
        write_list(rows, wire.APPROVAL, COLUMNS, form, ledger)


@app.command("approve", help=N_("Approve somebody else's request, which books it at once."))
def approve(
    context: typer.Context,
    request_id: RequestArgument,
    yes: YesOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Approve a request after showing who asked for what."""
    from billing_console.services.approvals import get_approval
    from billing_console.services.decisions import approve as decide
    from billing_console.services.decisions import preview_approval

    with opened(context) as ledger:
        if not yes:
            request = get_approval(ledger, request_id)
            confirm(_question(request, preview_approval(ledger, request_id), ledger))
        done = decide(ledger, request_id)
        words = _("Approved, asked for by %(operator)s: %(what)s") % {
            "operator": done.request.operator,
            "what": _booked_words(done, ledger),
        }
        write_result({**wire.record(wire.APPROVAL, done.request), "booked": _booked(done)}, words, form)


@app.command("reject", help=N_("Reject a request, also one's own."))
def reject(
    context: typer.Context,
    request_id: RequestArgument,
    reason: ReasonOption,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Reject a request."""
    from billing_console.services.decisions import reject as decide

    with opened(context) as ledger:
        request = decide(ledger, request_id, reason=reason)
        words = _("Request %(id)d of %(operator)s is rejected.") % {"id": request.id, "operator": request.operator}
        write_result(wire.record(wire.APPROVAL, request), words, form)


def _question(request: ApprovalView, change: BalanceChange, ledger: Ledger) -> str:
    asked = {
        ApprovalKind.RECHARGE: _(
            "%(operator)s asks to recharge %(subject)s by %(amount)s (%(reference)s): available %(before)s → %(after)s."
            " Approve it?"
        ),
        ApprovalKind.REVERSAL: _(
            "%(operator)s asks to take back recharge %(reverses)s of %(subject)s, %(amount)s, which overdraws the pool"
            " (%(reference)s): available %(before)s → %(after)s. Approve it?"
        ),
        ApprovalKind.GRANT: _(
            "%(operator)s asks to grant %(amount)s to %(subject)s (%(reference)s): remaining %(before)s → %(after)s."
            " Approve it?"
        ),
    }[request.kind]
    return asked % {
        "operator": request.operator,
        "subject": request.subject,
        "amount": shown_exact(request.amount, symbol=ledger.symbol),
        "reference": f"{request.reference}, {request.note}" if request.note else request.reference,
        "reverses": request.reverses_id,
        "before": shown_exact(change.before, symbol=ledger.symbol),
        "after": shown_exact(change.after, symbol=ledger.symbol),
    }


def _booked_words(done: Approved, ledger: Ledger) -> str:
    from billing_console.services.quotas import GrantView

    if isinstance(done.booked, GrantView):
        return quotas.granted_words(done.booked, ledger)
    return pools.booked_words(done.booked, ledger)


def _booked(done: Approved) -> Mapping[str, object]:
    from billing_console.services.quotas import GrantView

    if isinstance(done.booked, GrantView):
        return wire.record(wire.GRANT, done.booked)
    return wire.record(wire.RECHARGE, done.booked)
