"""How the screens spell where a pool is heading."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from billing_console import money
from billing_console.i18n import _
from db.values import BalanceStatus

if TYPE_CHECKING:
    from billing_console.services.burn import Emptying
    from billing_console.services.outlook import PoolOutlook, Suggestion

HOURS_BELOW = timedelta(days=2)
"""A pool that lasts for less is spoken of in hours."""


def lasts(outlook: PoolOutlook) -> str:
    """Say for how long a pool lasts, with the range, or why nothing can be said."""
    pool = outlook.pool
    if pool.status is None:
        return "–"
    if pool.status is BalanceStatus.DEPLETED:
        return _("empty")
    if outlook.burn_per_day is None:
        return _("not enough history")
    return lasts_from(outlook.empty, outlook.as_of)


def lasts_from(empty: Emptying, now: datetime) -> str:
    """Spell how far away it is that a pool is empty."""
    if empty.at is None or empty.earliest is None:
        return _("over a year")
    unit, spelled = timedelta(days=1), _("%(time)s d")
    if empty.at - now < HOURS_BELOW:
        unit, spelled = timedelta(hours=1), _("%(time)s h")
    expected, earliest = (empty.at - now) // unit, (empty.earliest - now) // unit
    latest = None if empty.latest is None else (empty.latest - now) // unit
    if earliest == latest:
        return spelled % {"time": expected}
    span = f"{earliest}+" if latest is None else f"{earliest}–{latest}"
    return spelled % {"time": expected} + f" ({span})"


def needed(wanted: Suggestion, symbol: str) -> str:
    """Say what to recharge: the expected amount, and the one to be on the safe side."""
    if wanted.expected is None or wanted.at_most is None:
        return _("not enough history")
    expected, most = (money.shown(amount, places=0, symbol=symbol) for amount in (wanted.expected, wanted.at_most))
    if not wanted.at_most:
        return _("no recharge needed")
    if wanted.expected == wanted.at_most:
        return _("recharge %(amount)s") % {"amount": expected}
    return _("recharge %(amount)s, to be safe %(most)s") % {"amount": expected, "most": most}
