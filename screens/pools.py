"""Resource pools: how full they are, recharging them, checking them now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from billing_console import clock, money
from billing_console.check_output import CHANGES
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from db.values import BalanceStatus
from screens import words
from screens.base import DataPane
from screens.console import ask
from screens.waiting import said_waiting
from screens.widgets.banner import AlertBanner
from screens.widgets.bar import bar
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from billing_console.errors import BillingError
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.check import CheckReport
    from billing_console.services.ledger import Ledger
    from billing_console.services.pools import PoolView
    from billing_console.services.recharges import RechargeView


class ResourcePoolManagement(DataPane["tuple[PoolView, ...]"]):
    """Tab 3 (seed, ResourcePoolManagement)."""

    NAME = "pools"
    SHOWS = N_("This tab shows what is left of the prepaid balance at each provider, and recharges it.")
    EMPTY = N_("No provider is known yet.\n\nAdd one with its pool: billing-console pools add PROVIDER")
    EMPTY_NEEDS = Action.POOL_OPEN
    NEEDS: ClassVar = {"recharge": Action.RECHARGE, "check_now": Action.POOL_CHECK}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "recharge", N_("Recharge")),
        Binding("n", "check_now", N_("Check now")),
        Binding("H", "history", N_("History")),
    ]

    def compose_body(self) -> ComposeResult:
        """Yield the table of the seed's columns."""
        yield RecordTable(self._columns(), key=lambda pool: pool.provider_id, id="pools-table")

    def _columns(self) -> Sequence[Column[PoolView]]:
        return (
            Column(
                "providerId", N_("Provider"), lambda p: words.cell(p.provider_name), lambda p: p.provider_id, 0, 8, 24
            ),
            Column("status", N_("Status"), status_cell, lambda p: p.status and p.status.value, min_width=12),
            Column("totalBalance", N_("Total"), self._total, lambda p: p.total_balance, 1, right=True),
            Column("usedAmount", N_("Used"), self._used, lambda p: p.used_amount, 2, right=True),
            Column("availableBalance", N_("Available"), self._available, lambda p: p.available_balance, right=True),
            Column(
                "balancePercentage",
                N_("Balance %"),
                _level,
                lambda p: p.balance_percentage if p.has_pool else None,
                min_width=16,
            ),
            Column(
                "lastRechargeDate",
                N_("Last recharge"),
                lambda p: self._when(p.last_recharge_at),
                lambda p: _iso(p.last_recharge_at),
                3,
                11,
            ),
            Column(
                "lastCheckDate",
                N_("Last check"),
                lambda p: self._when(p.last_check_at),
                lambda p: _iso(p.last_check_at),
                4,
                11,
            ),
        )

    def _total(self, pool: PoolView) -> Text:
        return self._money(pool, pool.total_balance)

    def _used(self, pool: PoolView) -> Text:
        return words.amount(pool.used_amount, symbol=self.console.symbol)

    def _available(self, pool: PoolView) -> Text:
        return self._money(pool, pool.available_balance)

    def _money(self, pool: PoolView, amount: Decimal) -> Text:
        return words.amount(amount, symbol=self.console.symbol) if pool.has_pool else Text("–", justify="right", end="")

    def _when(self, instant: datetime | None) -> Text:
        return words.cell(words.instant(instant, self.console.now(), seconds=False))

    def question(self) -> Callable[[Ledger], tuple[PoolView, ...]]:
        """Ask for every provider, with or without a pool."""
        return _pools

    def present(self, data: tuple[PoolView, ...]) -> None:
        """Draw the pools and their totals."""
        self.query_one("#pools-table", RecordTable).show(data)
        pools = [pool for pool in data if pool.has_pool]
        counts = Counter(pool.status for pool in pools)
        parts = [
            ngettext("%(count)d pool", "%(count)d pools", len(pools)) % {"count": len(pools)},
            *(f"{counts[status]} {_(word)}" for status, word in words.BALANCE_STATUSES.items() if counts[status]),
            _("available %(amount)s")
            % {"amount": self._shown(money.exact_sum([pool.available_balance for pool in pools]))},
        ]
        self.set_summary(" · ".join(parts))

    def _shown(self, amount: Decimal) -> str:
        return money.shown(amount, symbol=self.console.symbol)

    @property
    def current(self) -> PoolView | None:
        """The pool under the cursor."""
        pool: PoolView | None = self.query_one("#pools-table", RecordTable).current
        return pool

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer a pool's actions only where there is one."""
        if action in ("recharge", "history", "check_now") and not self.has_class("-filled"):
            return False
        return super().check_action(action, parameters)

    def _changed(self) -> None:
        """Show at once what a write did, here and in the banner."""
        self.load(asked=True)
        self.screen.query_one(AlertBanner).poll()

    # Recharge, history, details

    def action_recharge(self) -> None:
        """Pay into the pool under the cursor."""
        from screens.dialogs.recharge import RechargeDialog

        if self.current is not None:
            self.app.push_screen(RechargeDialog(self.current.provider_id, self.current.provider_name), self._recharged)

    def _recharged(self, entry: RechargeView | ApprovalView | None) -> None:
        if entry is None or said_waiting(entry, self.app):
            return
        self._changed()
        said = _("%(provider)s recharged by %(amount)s: %(before)s → %(after)s (recharge %(id)d)") % {
            "provider": words.cell(entry.provider_id).plain,
            "amount": self._shown(entry.amount),
            "before": self._shown(entry.available_before),
            "after": self._shown(entry.available_after),
            "id": entry.id,
        }
        self.app.notify(said, markup=False)

    def action_history(self) -> None:
        """Show what was paid into the pool under the cursor."""
        from screens.dialogs.recharge_history import RechargeHistoryDialog

        if self.current is not None:
            self.app.push_screen(RechargeHistoryDialog(self.current, self._changed))

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.pool_details import PoolDetailsDialog

        self.app.push_screen(PoolDetailsDialog(event.item))

    # Check now

    def action_check_now(self) -> None:
        """Check every pool now, whoever checked it a moment ago."""
        ask(self, _check, self._checked, self._not_checked, group="check")

    def _checked(self, report: CheckReport) -> None:
        self._changed()
        said = [
            ngettext("%(count)d pool checked", "%(count)d pools checked", len(report.pools))
            % {"count": len(report.pools)}
        ]
        for check in report.pools:
            if check.change:
                said.append(f"{words.cell(check.pool.provider_name).plain}: {_(CHANGES[check.change])}")
        if len(said) == 1:
            said.append(_("no alert changed"))
        depleted = any(check.pool.status is BalanceStatus.DEPLETED for check in report.pools)
        self.app.notify("\n".join(said), markup=False, severity="warning" if depleted else "information")

    def _not_checked(self, error: BillingError) -> None:
        self.app.notify(
            _("The pools could not be checked: %(reason)s") % {"reason": error}, markup=False, severity="error"
        )


def status_cell(pool: PoolView) -> Text:
    """Spell how full a pool is, or that there is none: not every provider is prepaid."""
    if pool.status is None:
        return words.cell(f"{words.MARKS[words.DIM]} " + _("no pool"), words.DIM)
    return words.state(pool.status)


def _level(pool: PoolView) -> Text:
    if pool.status is None:
        return words.cell("–")
    return bar(pool.balance_percentage, words.STATES[pool.status][0])


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else clock.iso(instant)


def _pools(ledger: Ledger) -> tuple[PoolView, ...]:
    from billing_console.services.pools import list_pools

    return list_pools(ledger, with_no_pool=True)


def _check(ledger: Ledger) -> CheckReport:
    from billing_console.services.check import check_pools

    return check_pools(ledger)
