"""Set below what a pool is low: percent, amount, days; before → after, then `y`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.text import one_line
from screens import words
from screens.dialogs.confirm import Change, ConfirmedForm
from screens.dialogs.form import Field

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.services.pools import PoolView
    from billing_console.services.thresholds import NewThresholds


class PoolThresholdsDialog(ConfirmedForm["PoolView"]):
    """The three thresholds of one pool; one that is crossed is enough."""

    def __init__(self, pool: PoolView) -> None:
        """Keep the pool as it is."""
        super().__init__()
        self.pool = pool

    def heading(self) -> str:
        """Return the title line."""
        return _("Thresholds of %(provider)s") % {"provider": one_line(self.pool.provider_name, 60)}

    def fields(self) -> Sequence[Field]:
        """Declare the thresholds; an empty field means the setting, or off."""
        pool = self.pool
        return (
            Field(
                "lowThreshold",
                N_("Percent"),
                _optional(lambda text: money.parse_decimal(text.removesuffix("%"))),
                "" if pool.own_threshold is None else f"{pool.own_threshold.normalize():f}",
                _("empty: as the settings say; 0: off"),
            ),
            Field(
                "lowAmount",
                N_("Amount"),
                _optional(partial(money.parse_amount, places=2)),
                "" if pool.low_amount is None else money.plain(pool.low_amount),
                _("low when less is left; empty: off"),
            ),
            Field(
                "lowDays",
                N_("Days left"),
                _optional(money.parse_count),
                "" if pool.low_days is None else str(pool.low_days),
                _("low when it lasts for less; empty: off"),
            ),
        )

    def question(self, values: dict[str, Any]) -> str:
        """Say what the thresholds are for."""
        return _("%(provider)s is low, with an alert, as soon as one of these is crossed:") % {
            "provider": self.pool.provider_name
        }

    def preview(self, values: dict[str, Any]) -> Callable[[Ledger], Sequence[Change]]:
        """Say each threshold now and after; the ledger refuses what is none."""
        provider_id, wanted = self.pool.provider_id, _wanted(values)

        def work(ledger: Ledger) -> Sequence[Change]:
            from billing_console.services.pools import get_pool
            from billing_console.services.thresholds import check_thresholds

            check_thresholds(wanted)
            pool, percent = get_pool(ledger, provider_id), wanted["percent"]
            percent = ledger.low_threshold if percent is None else percent
            return (
                Change(_("Percent"), words.percent(pool.low_threshold), words.percent(percent)),
                Change(_("Amount"), _amount(pool.low_amount, ledger), _amount(wanted["amount"], ledger)),
                Change(_("Days left"), _days(pool.low_days), _days(wanted["days"])),
            )

        return work

    def write(self, values: dict[str, Any]) -> Callable[[Ledger], PoolView]:
        """Set all three; doing it twice changes nothing."""
        provider_id, wanted = self.pool.provider_id, _wanted(values)

        def work(ledger: Ledger) -> PoolView:
            from billing_console.services.pools import set_thresholds

            return set_thresholds(ledger, provider_id, wanted)

        return work


def _wanted(values: dict[str, Any]) -> NewThresholds:
    return {"percent": values["lowThreshold"], "amount": values["lowAmount"], "days": values["lowDays"]}


def _amount(amount: Decimal | None, ledger: Ledger) -> str:
    return _("off") if amount is None else money.shown(amount, symbol=ledger.symbol)


def _days(days: int | None) -> str:
    return _("off") if days is None else str(days)


def _optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: parse(text.strip()) if text.strip() else None
