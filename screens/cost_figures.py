"""How the figures of cost statistics are spelled: changes with their sign, the month, and its budget."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from billing_console import money
from billing_console.i18n import _, ngettext
from billing_console.services.budgets import STATUS_WORDS, BudgetStatus
from billing_console.services.projection import LEAST_DAYS
from screens import words

if TYPE_CHECKING:
    from billing_console.services.budgets import BudgetView
    from billing_console.services.costs_compare import Change, ComparedTotals

BUDGET_STYLES = {
    BudgetStatus.NO_BUDGET: words.DIM,
    BudgetStatus.UNKNOWN: words.DIM,
    BudgetStatus.WITHIN: words.GOOD,
    BudgetStatus.AT_RISK: words.WARN,
    BudgetStatus.PROJECTED_OVER: words.WARN,
    BudgetStatus.EXCEEDED: words.BAD,
}


def budget_status(status: BudgetStatus) -> str:
    """Spell whether a month stays within its budget: symbol and words."""
    return f"{words.MARKS[BUDGET_STYLES[status]]} {_(STATUS_WORDS[status])}"


def rounded(amount: Decimal, symbol: str) -> str:
    """Spell an amount for an overview: whole yuan from a hundred on."""
    return money.shown(amount, places=0 if abs(amount) >= 100 else 2, symbol=symbol)


def change_in_percent(change: Change) -> str:
    """Spell a change in percent with its sign; “new” where there was nothing before, blank where nothing compares."""
    if change.previous is None:
        return ""
    if change.percentage is None:
        return _("new") if change.cost else "0.0%"
    return f"{change.percentage:+,}%" if change.percentage else "0.0%"


def signed(amount: Decimal, spelled: str) -> str:
    """Put the sign of a rise before an amount that is spelled already."""
    return f"+{spelled}" if amount > 0 else spelled


def change_words(compared: ComparedTotals, symbol: str) -> str:
    """Spell what was spent before and how that changed, and what a call and a million tokens cost."""
    totals, change, before = compared.totals, compared.change, compared.before
    parts = []
    if before is not None and change.previous is not None:
        days = (before.end - before.start).days + 1
        said = ngettext("%(count)d day before: %(amount)s", "%(count)d days before: %(amount)s", days)
        parts.append(said % {"count": days, "amount": rounded(change.previous, symbol)})
        rise = totals.total_cost - change.previous
        parts.append(f"{signed(rise, rounded(rise, symbol))} ({change_in_percent(change)})")
    if totals.cost_per_call is not None:
        per_call = money.shown(totals.cost_per_call, symbol=symbol)
        parts.append(_("%(amount)s a call") % {"amount": per_call})
    if totals.cost_per_million_tokens is not None:
        per_million = money.shown(totals.cost_per_million_tokens, symbol=symbol)
        parts.append(_("%(amount)s/1m tokens") % {"amount": per_million})
    return " · ".join(parts)


def month_words(month: BudgetView, symbol: str) -> str:
    """Spell the current month: so far, by its end, and what is left of its budget."""
    projection = month.projection
    so_far = money.shown(projection.to_date, symbol=symbol)
    parts = [_("%(month)s: %(amount)s so far") % {"month": f"{projection.month:%Y-%m}", "amount": so_far}]
    if projection.expected is not None and projection.low is not None and projection.high is not None:
        expected, low, high = (
            rounded(amount, symbol) for amount in (projection.expected, projection.low, projection.high)
        )
        said = _("projected %(expected)s (%(low)s to %(high)s)")
        parts.append(said % {"expected": expected, "low": low, "high": high})
    else:
        said = _("not enough history to project (%(count)d of %(least)d days)")
        parts.append(said % {"count": projection.history_days, "least": LEAST_DAYS})
    if month.amount is not None and month.left is not None:
        said = _("budget %(amount)s, %(left)s left: %(status)s")
        amount, left = rounded(month.amount, symbol), rounded(month.left, symbol)
        parts.append(said % {"amount": amount, "left": left, "status": budget_status(month.status)})
    return " · ".join(parts)
