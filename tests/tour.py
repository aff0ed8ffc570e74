"""The way to every screen and dialog: keys that open each from the stocked ledger with requests that wait."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import NamedTuple

from textual.screen import Screen

import billing_console
import screens.dialogs
from billing_console.errors import NotPermitted
from billing_console.services.budgets import ALL, set_budget
from billing_console.services.decisions import reject
from billing_console.services.limits import set_limit
from billing_console.services.periodic_quotas import set_periodic
from billing_console.services.pools import set_thresholds
from billing_console.services.quotas import grant_quota
from billing_console.services.recharges import recharge
from billing_console.services.setup import init
from billing_console.services.thresholds import NewThresholds
from db.values import LimitName, Period, Role
from tests.factories import acting
from tests.keyboard import Keyboard, console
from tests.stocked import SOMEBODY, open_stocked, stock


class Way(NamedTuple):
    """The name of the screen that is on top when these keys were pressed on the first tab."""

    top: str
    keys: tuple[str, ...]


WAYS: dict[str, Way] = {
    "usage": Way("TabScreen", ("1",)),
    "costs": Way("TabScreen", ("2",)),
    "pools": Way("TabScreen", ("3",)),
    "quotas": Way("TabScreen", ("4",)),
    "models": Way("TabScreen", ("5",)),
    "pricing": Way("TabScreen", ("6",)),
    "usage-details": Way("UsageDetailsDialog", ("1", "j", "enter")),
    "usage-filter": Way("UsageFilterDialog", ("1", "slash")),
    "usage-export": Way("ExportDialog", ("1", "e")),
    "cost-filter": Way("CostFilterDialog", ("2", "slash")),
    "cost-trend": Way("TabScreen", ("2", "t")),
    "usage-columns": Way("UsageColumnsDialog", ("1", "plus")),
    "top-users": Way("TopUsersDialog", ("2", "u")),
    "budgets": Way("BudgetsDialog", ("2", "B")),
    "budget-set": Way("SetBudgetDialog", ("2", "B", "c")),
    "budget-remove": Way("RemoveBudgetDialog", ("2", "B", "x")),
    "pool-thresholds": Way("PoolThresholdsDialog", ("3", "t")),
    "periodic-quota": Way("PeriodicQuotaDialog", ("4", "p")),
    "provider-toggle": Way("ProviderToggleDialog", ("5", "D")),
    "price-what-if": Way("PriceWhatIfDialog", ("6", "w")),
    "recharge": Way("RechargeDialog", ("3", "c")),
    "recharge-confirm": Way("RechargeDialog", ("3", "c", *"500", "enter", *"BT", "enter")),
    "recharge-history": Way("RechargeHistoryDialog", ("3", "H")),
    "recharge-details": Way("EntryDialog", ("3", "H", "enter")),
    "reversal": Way("ReversalDialog", ("3", "H", "v")),
    "pool-details": Way("PoolDetailsDialog", ("3", "enter")),
    "grant": Way("GrantDialog", ("4", "c")),
    "revoke": Way("GrantDialog", ("4", "v")),
    "quota-details": Way("QuotaDetailsDialog", ("4", "enter")),
    "text-filter": Way("TextFilterDialog", ("4", "slash")),
    "model-toggle": Way("ModelToggleDialog", ("5", "space")),
    "model-details": Way("ModelDetailsDialog", ("5", "enter")),
    "price-form": Way("PriceDialog", ("6", "p")),
    "price-history": Way("PriceHistoryDialog", ("6", "enter")),
    "alerts": Way("AlertsDialog", ("a",)),
    "approvals": Way("ApprovalsDialog", ("A",)),
    "request": Way("RequestDialog", ("A", "enter")),
    "approve": Way("ApproveDialog", ("A", "a")),
    "reject": Way("RejectDialog", ("A", "x")),
    "audit": Way("AuditDialog", ("L",)),
    "audit-entry": Way("AuditEntryDialog", ("L", "enter")),
    "audit-filter": Way("AuditFilterDialog", ("L", "slash")),
    "help": Way("HelpDialog", ("3", "question_mark")),
    "palette": Way("Palette", ("colon",)),
    "bulk-grant": Way("BulkGrantDialog", ("4", "space", "c")),
}
"""Every screen and dialog: its name in the tests, and the way to it. A new dialog is one more line."""


def set_up_tour(url: str) -> None:
    """Make a ledger on which every way leads somewhere.

    It is the stocked one, with two requests that wait for the tester and a rejected one, and a viewer who was refused.
    The audit log is longer than a screen of 40 lines: the time of its first row differs from ledger to ledger.
    """
    init(url, founder=SOMEBODY)
    ledger = open_stocked(url)
    stock(ledger)
    set_budget(ledger, ALL, Decimal(20000))
    set_budget(ledger, "openai", Decimal(70))
    set_thresholds(ledger, "openai", NewThresholds(amount=Decimal(100), days=7))
    set_periodic(ledger, "u-00042", Period.MONTH, Decimal(200))
    set_limit(ledger, LimitName.APPROVAL_ABOVE, Decimal(500))
    asker, viewer = acting(ledger, "wang.fang"), acting(ledger, "li.na", Role.VIEWER)
    grant_quota(asker, "东京团队", Decimal("700.5"), reference="TICKET-9", key="k-1")
    recharge(asker, "openai", Decimal(90000), reference="INV-20260310", note="first quarter", key="k-2")
    recharge(asker, "deepseek", Decimal(600), reference="INV-20260311", key="k-3")
    reject(ledger, 3, reason="the invoice names another account")
    with suppress(NotPermitted):
        grant_quota(viewer, "u-00007", Decimal(5), reference="TICKET-10")
    ledger.close()


@asynccontextmanager
async def touring(url: str, size: tuple[int, int]) -> AsyncIterator[Keyboard]:
    """The console on that ledger, at the hour at which its requests wait."""
    async with console(url, size=size, opening=lambda: open_stocked(url)) as keys:
        yield keys


def every_screen() -> Iterator[type[Screen[object]]]:
    """Yield every screen and dialog that the program has, bases that others build on left out."""
    for package in (billing_console, screens, screens.dialogs):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    kinds = [kind for kind in _below(Screen) if kind.__module__.split(".")[0] in ("billing_console", "screens")]
    yield from (kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds))


def _below(kind: type[Screen[object]]) -> Iterator[type[Screen[object]]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
