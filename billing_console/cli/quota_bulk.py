"""`quotas grant-many`: the same quota to every user of a file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cells import as_text, missing
from billing_console.cli.confirm import confirm
from billing_console.cli.context import opened
from billing_console.cli.expiry import DaysOption, ExpiresOption, expiry
from billing_console.cli.options import AmountArgument, KeyOption, ReferenceOption, YesOption
from billing_console.cli.output import OneFormat, OneFormatOption, write_money_result
from billing_console.cli.repeatable import repeatable
from billing_console.errors import InvalidInput
from billing_console.i18n import N_, _, ngettext
from billing_console.money import exact_sum, parse_amount, shown_exact
from billing_console.rows import Row
from billing_console.tabular import form_of, located, open_table

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.quota_bulk import BulkGrant

COLUMN = "userId"


def grant_many(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=N_("CSV, JSON or JSON lines with a userId, as `quotas list` writes it; - is CSV on stdin."),
        ),
    ],
    amount: AmountArgument,
    reference: ReferenceOption,
    expires: ExpiresOption = None,
    days: DaysOption = None,
    key: KeyOption = None,
    yes: YesOption = False,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Grant to all or none, after showing what that comes to."""
    from billing_console.services.quota_bulk import grant_each
    from billing_console.services.recharges import new_key

    each = parse_amount(amount)
    users = _users(file)
    with opened(context) as ledger:
        until = expiry(expires, days, ledger)
        if not yes:
            _ask(ledger, users, each, reference)
        key = key or new_key()
        with repeatable(key):
            done = grant_each(ledger, users, each, reference=reference, key=key, expires_at=until)
            data = {
                "grants": [wire.record(wire.GRANT, grant) for grant in done.grants],
                "requests": [wire.record(wire.APPROVAL, request) for request in done.requests],
                "idempotencyKey": key,
            }
            replayed = all(grant.replayed for grant in done.grants) and all(
                request.replayed for request in done.requests
            )
            write_money_result(data, _words(done, each, key, ledger), replayed, form)


def _users(file: Path) -> list[str]:
    """Read the users of a file; raise InvalidInput for a row without one, Unavailable for a file that is none."""
    form = form_of(file)
    users = []
    with open_table(file, form) as table:
        if table.columns is not None and COLUMN not in table.columns:
            raise InvalidInput(
                _("%(file)s: the column %(name)s is missing.") % {"file": table.name, "name": COLUMN}, field=COLUMN
            )
        for row in table.rows:
            try:
                users.append(_user(row))
            except InvalidInput as error:
                raise located(error, table.name, form, row.line) from None
    return users


def _user(row: Row) -> str:
    if row.problem:
        raise InvalidInput(f"{row.problem}.")
    user = as_text(row.values.get(COLUMN), COLUMN)
    if user is None:
        raise missing(COLUMN)
    return user


def _ask(ledger: Ledger, users: list[str], each: Decimal, reference: str) -> None:
    from billing_console.services.quota_bulk import preview_bulk

    change = preview_bulk(ledger, users, each)
    question = _("Grant %(amount)s to each of %(count)d users, %(sum)s in all, reference “%(reference)s”?") % {
        "amount": shown_exact(each, symbol=ledger.symbol),
        "count": len(change.changes),
        "sum": shown_exact(change.sum, symbol=ledger.symbol),
        "reference": reference,
    }
    if change.needs_approval:
        question += " " + _("Each will wait for another admin's approval.")
    confirm(question)


def _words(done: BulkGrant, each: Decimal, key: str, ledger: Ledger) -> str:
    count = len(done.grants) + len(done.requests)
    if done.requests:
        text = ngettext(
            "%(count)d request for %(amount)s waits for another admin's approval (key %(key)s)",
            "%(count)d requests for %(amount)s each wait for another admin's approval (key %(key)s)",
            count,
        )
    else:
        text = ngettext(
            "%(amount)s granted to %(count)d user, %(sum)s in all (key %(key)s)",
            "%(amount)s granted to each of %(count)d users, %(sum)s in all (key %(key)s)",
            count,
        )
    return text % {
        "amount": shown_exact(each, symbol=ledger.symbol),
        "count": count,
        "sum": shown_exact(exact_sum([each] * count), symbol=ledger.symbol),
        "key": key,
    }
