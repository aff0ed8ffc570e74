"""What can be booked into a pool: the rules that recharges and reversals are refused by."""

from __future__ import annotations

from decimal import Decimal

from sqlmodel import Session, select

from billing_console.errors import Conflict, InvalidInput, NotFound, Refused
from billing_console.i18n import _
from billing_console.money import LEDGER_LIMIT, plain, shown_exact
from billing_console.services.ledger import Ledger
from billing_console.text import clean, storable
from db.schema import Recharge, ResourcePool

REVERSAL_KEY = "reverse:"
"""How the key of every reversal begins, and no other."""


def checked_key(key: str) -> str:
    """Return a key as the ledger can hold it; raise InvalidInput for one that only reversals have."""
    key = storable(key, "key")
    if key.startswith(REVERSAL_KEY):
        raise InvalidInput(
            _("Keys that begin with %(start)s are those of reversals.") % {"start": REVERSAL_KEY}, field="key"
        )
    return key


def require_recharge(session: Session, recharge_id: int) -> Recharge:
    """Return a recharge; raise NotFound for an unknown id."""
    entry = session.get(Recharge, recharge_id) if 0 <= recharge_id < 2**63 else None
    if entry is None:
        raise NotFound(
            _("There is no recharge %(id)d.") % {"id": recharge_id},
            _("List them with: billing-console pools history"),
        )
    return entry


def require_room(pool: ResourcePool, amount: Decimal) -> None:
    """Raise Refused where the total would be more than the ledger can hold."""
    if pool.total_balance + amount > LEDGER_LIMIT:
        raise Refused(
            _("The pool of %(provider)s cannot hold that much (at most %(limit)s in all).")
            % {"provider": clean(pool.provider_id), "limit": plain(LEDGER_LIMIT)}
        )


def require_reversible(session: Session, original: Recharge) -> None:
    """Raise Conflict for a recharge that is reversed already, or is a reversal itself."""
    if original.reverses_id is not None:
        raise Conflict(_("Recharge %(id)d is a reversal itself.") % {"id": original.id})
    reversal = session.exec(select(Recharge.id).where(Recharge.reverses_id == original.id)).first()
    if reversal is not None:
        raise Conflict(
            _("Recharge %(id)d was already reversed by %(reversal)d.") % {"id": original.id, "reversal": reversal}
        )


def overdrawn(ledger: Ledger, original: Recharge, left: Decimal) -> Refused:
    """Return the refusal of a reversal of money that is used already; `left` is what would be left, in yuan."""
    return Refused(
        _("Only %(available)s of the pool is left; taking back %(amount)s would overdraw it.")
        % {
            "available": shown_exact(left + original.amount, symbol=ledger.symbol),
            "amount": shown_exact(original.amount, symbol=ledger.symbol),
        },
        _("To ask another admin to approve it: billing-console pools reverse %(id)d --overdraw") % {"id": original.id},
    )
