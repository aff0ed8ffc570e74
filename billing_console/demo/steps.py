"""What people and the scheduler do in the demo besides the calls: each at its instant, through a service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing_console.money import CENT
from billing_console.services.identity import SYSTEM, Kind
from billing_console.services.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do at an instant, in the name of an operator."""

    at: datetime
    operator: str
    run: Callable[[Ledger], object]


def at(ledger: Ledger, instant: datetime, operator: str) -> Ledger:
    """Return the ledger as somebody used it at an instant."""
    kind = Kind.SYSTEM if operator.startswith(SYSTEM) else Kind.FORCED
    return replace(ledger, clock=lambda: instant, actor=replace(ledger.actor, name=operator, kind=kind))


def round_amount(amount: Decimal, digits: int) -> Decimal:
    """Round a positive amount in yuan down to so many digits that count, and to whole cents."""
    step = Decimal(1).scaleb(max(-2, amount.adjusted() - digits + 1))
    return max(CENT, amount // step * step)
