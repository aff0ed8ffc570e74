"""The way to every screen and dialog: keys that open each from the stocked ledger with requests that wait."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal

import screens.dialogs
from billing_console.services.budgets import ALL, set_budget
from billing_console.services.limits import set_limit
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge
from db.values import LimitName
from screens.dialogs.base import Dialog
from tests.factories import acting, set_up
from tests.keyboard import Keyboard, console
from tests.stocked import open_stocked, stock

WAYS: dict[str, tuple[str, ...]] = {
    "usage": ("1",),
    "costs": ("2",),
    "pools": ("3",),
    "quotas": ("4",),
    "models": ("5",),
    "pricing": ("6",),
    "usage-details": ("1", "j", "enter"),
    "usage-filter": ("1", "slash"),
    "usage-export": ("1", "e"),
    "cost-filter": ("2", "slash"),
    "cost-trend": ("2", "t"),
    "usage-columns": ("1", "plus"),
    "top-users": ("2", "u"),
    "budgets": ("2", "B"),
    "budget-set": ("2", "B", "c"),
    "budget-remove": ("2", "B", "x"),
    "pool-thresholds": ("3", "t"),
    "periodic-quota": ("4", "p"),
    "provider-toggle": ("5", "D"),
    "price-what-if": ("6", "w"),
    "recharge": ("3", "c"),
    "recharge-confirm": ("3", "c", "5", "0", "0", "enter", "B", "T", "enter"),
    "recharge-history": ("3", "H"),
    "recharge-details": ("3", "H", "enter"),
    "reversal": ("3", "H", "v"),
    "pool-details": ("3", "enter"),
    "grant": ("4", "c"),
    "quota-details": ("4", "enter"),
    "text-filter": ("4", "slash"),
    "model-toggle": ("5", "space"),
    "model-details": ("5", "enter"),
    "price-form": ("6", "p"),
    "price-history": ("6", "enter"),
    "alerts": ("a",),
    "approvals": ("A",),
    "request": ("A", "enter"),
    "approve": ("A", "a"),
    "reject": ("A", "x"),
    "audit": ("L",),
    "audit-entry": ("L", "enter"),
    "audit-filter": ("L", "slash"),
    "help": ("3", "question_mark"),
    "palette": ("colon",),
    "bulk-grant": ("4", "space", "c"),
}
"""Name of a screen, and the keys from the first tab to it."""


def set_up_tour(url: str) -> None:
    """Make a ledger on which every way leads somewhere: the stocked one, with requests waiting for the tester."""
    set_up(url)
    ledger = open_stocked(url)
    stock(ledger)
    set_budget(ledger, ALL, Decimal(20000))
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(500))
    asker = acting(ledger, "wang.fang")
    grant_quota(asker, "东京团队", Decimal("700.5"), reference="TICKET-9", key="k-1")
    recharge(asker, "openai", Decimal(90000), reference="INV-20260310", note="first quarter", key="k-2")
    ledger.close()


@asynccontextmanager
async def touring(url: str, size: tuple[int, int]) -> AsyncIterator[Keyboard]:
    """The console on that ledger, at the hour at which its requests wait."""
    async with console(url, size=size, opening=lambda: open_stocked(url)) as keys:
        yield keys


def every_dialog() -> Iterator[type[Dialog[object]]]:
    """Yield every dialog that the program has, bases that others build on left out."""
    for module in pkgutil.iter_modules(screens.dialogs.__path__):
        importlib.import_module(f"screens.dialogs.{module.name}")
    kinds = list(_below(Dialog))
    yield from (kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds))


def _below(kind: type[Dialog[object]]) -> Iterator[type[Dialog[object]]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
