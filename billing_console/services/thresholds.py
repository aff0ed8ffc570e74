"""Below what a pool is low: a percentage, an amount, the days that it lasts; one that is crossed is enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TypedDict

from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import CENT, EXACT, check_amount
from billing_console.services.burn import HORIZON
from db.values import BalanceStatus, Threshold

AMOUNT_DECIMALS = 2


class NewThresholds(TypedDict, total=False):
    """Thresholds to set: percent of the total (None for the setting), yuan and days (None for off)."""

    percent: Decimal | None
    amount: Decimal | None
    days: int | None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds in force for a pool: percent of the total, yuan, days; None for one that is off."""

    percent: Decimal
    amount: Decimal | None = None
    days: int | None = None

    def crossed(self, available: Decimal, total: Decimal, lasts: timedelta | None = None) -> tuple[Threshold, ...]:
        """Return those that a balance is below, compared exactly; `lasts` is None where that is not known."""
        below = {
            Threshold.PERCENT: EXACT.multiply(available, Decimal(100)) < EXACT.multiply(total, self.percent),
            Threshold.AMOUNT: self.amount is not None and available < self.amount,
            Threshold.DAYS: self.days is not None and lasts is not None and lasts < timedelta(days=self.days),
        }
        return tuple(kind for kind, is_below in below.items() if is_below)


def status_of(
    available: Decimal, total: Decimal, thresholds: Thresholds, lasts: timedelta | None = None
) -> BalanceStatus:
    """Say how full a pool is by the table of DESIGN.md, section 5."""
    if available <= 0:
        return BalanceStatus.DEPLETED
    return BalanceStatus.LOW if thresholds.crossed(available, total, lasts) else BalanceStatus.SUFFICIENT


def check_thresholds(wanted: NewThresholds) -> None:
    """Refuse a percentage outside 0 to 100 or finer than 0.01, an amount that is none, days that are not 1 to 365."""
    percent, amount, days = wanted.get("percent"), wanted.get("amount"), wanted.get("days")
    if percent is not None and not (
        percent.is_finite() and 0 <= percent <= 100 and percent == percent.quantize(CENT, context=EXACT)
    ):
        raise InvalidInput(
            _("The threshold must be between 0 and 100 percent, with at most two decimals."), field="lowThreshold"
        )
    if amount is not None:
        try:
            check_amount(amount, places=AMOUNT_DECIMALS)
        except InvalidInput as error:
            raise InvalidInput(error.message, field="lowAmount") from None
    if days is not None and not 1 <= days <= HORIZON:
        raise InvalidInput(_("The threshold must be between 1 and %(most)d days.") % {"most": HORIZON}, field="lowDays")
