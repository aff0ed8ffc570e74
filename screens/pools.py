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
from billing_console.check_output import CHANGES, low_below
from billing_console.i18n import N_, _, ngettext
from billing_console.services.actions import Action
from db.values import BalanceStatus
from screens import words
from screens.base import DataPane
from screens.console import ask
from screens.outlooks import lasts
from screens.waiting import said_waiting
from screens.widgets.banner import AlertBanner
from screens.widgets.bar import bar
from screens.widgets.spark import sparkline
from screens.widgets.table import Column, RecordTable

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from billing_console.errors import BillingError
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.check import CheckReport
    from billing_console.services.ledger import Ledger
    from billing_console.services.outlook import PoolOutlook
    from billing_console.services.pools import PoolView
    from billing_console.services.recharges import RechargeView


TREND = 15
"""Cells of the level's history in the table: one for two days."""


class ResourcePoolManagement(DataPane["tuple[PoolOutlook, ...]"]):
    """Tab 3 (seed, ResourcePoolManagement)."""

    NAME = "pools"
    SHOWS = N_("This tab shows what is left of the prepaid balance at each provider, and recharges it.")
    EMPTY = N_("No provider is known yet.\n\nAdd one with its pool: billing-console pools add PROVIDER")
    EMPTY_NEEDS = Action.POOL_OPEN
    NEEDS: ClassVar = {
        "recharge": Action.RECHARGE,
        "check_now": Action.POOL_CHECK,
        "thresholds": Action.POOL_THRESHOLD,
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "recharge", N_("Recharge")),
        Binding("n", "check_now", N_("Check now")),
        Binding("H", "history", N_("History")),
        Binding("t", "thresholds", N_("Thresholds")),
        Binding("m", "models", N_("Models")),
    ]

    def compose_body(self) -> ComposeResult:
        """Yield the table: the seed's columns, and how long the balance lasts."""
        yield RecordTable(self._columns(), key=lambda outlook: outlook.pool.provider_id, id="pools-table")

    def _columns(self) -> Sequence[Column[PoolOutlook]]:
        return (
            Column("providerId", N_("Provider"), _provider, lambda o: o.pool.provider_id, 0, 12, 24),
            Column("status", N_("Status"), _status, lambda o: o.pool.status and o.pool.status.value, min_width=12),
            Column("totalBalance", N_("Total"), self._total, lambda o: o.pool.total_balance, 3, right=True),
            Column("usedAmount", N_("Used"), self._used, lambda o: o.pool.used_amount, 5, right=True),
            Column("availableBalance", N_("Available"), self._left, lambda o: o.pool.available_balance, right=True),
            Column("balancePercentage", N_("Balance %"), _level, _percentage, min_width=16),
            Column("emptyAt", N_("Lasts"), _lasts, lambda o: _iso(o.empty.at), 1, 18, 24),
            Column("burnPerDay", N_("Burn/day"), self._burn, lambda o: o.burn_per_day, 2, right=True),
            Column("levels", N_("Level, 30 days"), _trend, _levels, 4, TREND, sort=_percentage),
            Column("lastRechargeDate", N_("Last recharge"), self._recharged_at, _recharge_iso, 6, 11),
            Column("lastCheckDate", N_("Last check"), self._checked_at, _check_iso, 7, 11),
        )

    def _total(self, outlook: PoolOutlook) -> Text:
        return self._money(outlook, outlook.pool.total_balance)

    def _used(self, outlook: PoolOutlook) -> Text:
        return words.amount(outlook.pool.used_amount, symbol=self.console.symbol)

    def _left(self, outlook: PoolOutlook) -> Text:
        return self._money(outlook, outlook.pool.available_balance)

    def _money(self, outlook: PoolOutlook, amount: Decimal) -> Text:
        shown = words.amount(amount, symbol=self.console.symbol)
        return shown if outlook.pool.has_pool else Text("–", justify="right", end="")

    def _burn(self, outlook: PoolOutlook) -> Text:
        return words.amount(outlook.burn_per_day, symbol=self.console.symbol)

    def _recharged_at(self, outlook: PoolOutlook) -> Text:
        return self._when(outlook.pool.last_recharge_at)

    def _checked_at(self, outlook: PoolOutlook) -> Text:
        return self._when(outlook.pool.last_check_at)

    def _when(self, instant: datetime | None) -> Text:
        return words.cell(words.instant(instant, self.console.now(), seconds=False))

    def question(self) -> Callable[[Ledger], tuple[PoolOutlook, ...]]:
        """Ask for every provider, with or without a pool."""
        return _outlooks

    def present(self, data: tuple[PoolOutlook, ...]) -> None:
        """Draw the pools and their totals."""
        self.query_one("#pools-table", RecordTable).show(data)
        pools = [outlook.pool for outlook in data if outlook.pool.has_pool]
        burns = [outlook.burn_per_day for outlook in data if outlook.pool.has_pool and outlook.burn_per_day is not None]
        counts = Counter(pool.status for pool in pools)
        parts = [
            ngettext("%(count)d pool", "%(count)d pools", len(pools)) % {"count": len(pools)},
            *words.counted(counts, words.BALANCE_STATUSES),
            _("available %(amount)s")
            % {"amount": self._shown(money.exact_sum([pool.available_balance for pool in pools]))},
        ]
        if burns:
            parts.append(_("burn %(amount)s a day") % {"amount": self._shown(money.exact_sum(burns))})
        self.set_summary(" · ".join(parts))

    def _shown(self, amount: Decimal) -> str:
        return money.shown(amount, symbol=self.console.symbol)

    @property
    def current(self) -> PoolView | None:
        """The pool under the cursor."""
        outlook: PoolOutlook | None = self.query_one("#pools-table", RecordTable).current
        return None if outlook is None else outlook.pool

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer a pool's actions only where there is one."""
        if action in ("recharge", "history", "thresholds", "check_now", "models") and not self.has_class("-filled"):
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

    def action_thresholds(self) -> None:
        """Set below what the pool under the cursor is low."""
        from screens.dialogs.pool_thresholds import PoolThresholdsDialog

        if self.current is not None and self.current.has_pool:
            self.app.push_screen(PoolThresholdsDialog(self.current), self._thresholds_set)

    def _thresholds_set(self, pool: PoolView | None) -> None:
        if pool is None:
            return
        self._changed()
        said = _("%(provider)s is low below %(thresholds)s now.") % {
            "provider": words.cell(pool.provider_name).plain,
            "thresholds": low_below(pool, self.console.symbol),
        }
        self.app.notify(said, markup=False)

    @on(RecordTable.Chosen)
    def _show_details(self, event: RecordTable.Chosen) -> None:
        from screens.dialogs.pool_details import PoolDetailsDialog

        self.app.push_screen(PoolDetailsDialog(event.item.pool))

    def action_models(self) -> None:
        """Go to the models of the provider under the cursor."""
        if self.current is not None:
            provider = self.current.provider_id, self.current.provider_name
            self.console.show_tab("models", lambda pane: pane.look_at(*provider))

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


def _provider(outlook: PoolOutlook) -> Text:
    return words.cell(outlook.pool.provider_name)


def _status(outlook: PoolOutlook) -> Text:
    """Spell how full a pool is, or that there is none: not every provider is prepaid."""
    if outlook.pool.status is None:
        return words.cell(f"{words.MARKS[words.DIM]} " + _("no pool"), words.DIM)
    return words.state(outlook.pool.status)


def _level(outlook: PoolOutlook) -> Text:
    pool = outlook.pool
    if pool.status is None:
        return words.cell("–")
    return bar(pool.balance_percentage, words.STATES[pool.status][0])


def _percentage(outlook: PoolOutlook) -> Decimal | None:
    return outlook.pool.balance_percentage if outlook.pool.has_pool else None


def _lasts(outlook: PoolOutlook) -> Text:
    return words.cell(lasts(outlook))


def _trend(outlook: PoolOutlook) -> Text:
    return words.cell(sparkline([level for _day, level in outlook.levels], TREND))


def _levels(outlook: PoolOutlook) -> str:
    return " ".join(money.plain(level) for _day, level in outlook.levels)


def _recharge_iso(outlook: PoolOutlook) -> str | None:
    return _iso(outlook.pool.last_recharge_at)


def _check_iso(outlook: PoolOutlook) -> str | None:
    return _iso(outlook.pool.last_check_at)


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else clock.iso(instant)


def _outlooks(ledger: Ledger) -> tuple[PoolOutlook, ...]:
    from billing_console.services.outlook import list_outlooks

    return list_outlooks(ledger, with_no_pool=True)


def _check(ledger: Ledger) -> CheckReport:
    from billing_console.services.check import check_pools

    return check_pools(ledger)
