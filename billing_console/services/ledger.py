"""An open ledger: its database, and the rules that hold for everything done in it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlmodel import select

from billing_console import clock
from billing_console.errors import BillingError, InvalidInput, NotPermitted, Unavailable
from billing_console.i18n import _
from billing_console.money import CURRENCY_SYMBOLS
from billing_console.services.actions import Action, allowed
from billing_console.services.audit import append_refusal
from billing_console.services.identity import Actor, Kind, this_person
from billing_console.services.request_keys import Once
from billing_console.services.roles import role_of, stranger
from billing_console.services.session import connect, reading
from db.engine import LOCK_TIMEOUT_SECONDS, Database
from db.schema import LedgerInfo
from db.values import Role


@dataclass(frozen=True, slots=True)
class Ledger:
    """What every service works on; `low_threshold` is the percentage for pools that have none of their own."""

    database: Database
    timezone: ZoneInfo
    currency: str
    low_threshold: Decimal
    require_quota: bool
    actor: Actor
    role: Role | None = None
    """As it was when the ledger was opened; every change looks again. None for parts of the program."""
    clock: Callable[[], datetime] = field(default=clock.now)
    once: Once | None = None
    """The request that the next change is made for, and no other."""

    @property
    def operator(self) -> str:
        """Name who works with the ledger."""
        return self.actor.name

    def may(self, action: Action) -> bool:
        """Tell whether it is worth offering this: the session can write, and the role at the start allowed it."""
        return not self.read_only and allowed(self.actor, self.role, action)

    @property
    def has_replica(self) -> bool:
        """Tell whether there is a read replica, whether or not it answers now."""
        return self.database.replica is not None

    @property
    def for_viewing(self) -> Ledger:
        """Return the same ledger for what is only shown, by its replica if it has one: nothing is decided from that."""
        if not self.has_replica:
            return self
        return replace(self, database=self.database.for_viewing(self.actor.name))

    @property
    def symbol(self) -> str:
        """Return the currency's symbol, or its code and a space."""
        return CURRENCY_SYMBOLS.get(self.currency, f"{self.currency} ")

    @property
    def read_only(self) -> bool:
        """Tell whether services refuse to write."""
        return self.database.read_only

    @property
    def label(self) -> str:
        """Name the database for people, without a password."""
        return self.database.label

    def interrupt(self, thread: int) -> None:
        """Stop what a thread is reading at this moment; it must not begin with something else meanwhile."""
        self.database.interrupt(thread)

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()


def open_ledger(
    url: str,
    *,
    low_threshold: Decimal = Decimal(10),
    require_quota: bool = False,
    timezone: str | None = None,
    currency: str | None = None,
    read_only: bool = False,
    timeout: int = LOCK_TIMEOUT_SECONDS,
    actor: Actor | None = None,
    durable: bool = True,
    purpose: str = "",
) -> Ledger:
    """Open the ledger at `url`; `low_threshold` in percent, `timeout` in seconds for locks.

    Without `durable` a commit does not wait for the disk: for a ledger that is of no use until it is whole.

    Business time zone and currency are facts of the ledger, because its daily statistics and amounts are kept in
    them; a setting that says otherwise raises Unavailable, as does a database that cannot be used.

    `actor` is the person of this process unless it is named. Raises NotPermitted for somebody who is no operator (seed,
    Notes: the module needs administrator rights), and audits that with the `purpose`, the command that was tried.
    """
    actor = actor or this_person()
    database = connect(url, read_only=read_only, timeout=timeout, durable=durable)
    try:
        with reading(database) as session:
            known = {row.name: row.value for row in session.exec(select(LedgerInfo))}
            business_timezone = _zone(known["business_timezone"])
            business_currency = known["currency"]
            role = role_of(session, actor)
            refusal = None if role or actor.kind is Kind.SYSTEM else stranger(session, actor)
        if refusal is not None:
            append_refusal(database, actor, clock.now(), Action.OPEN, purpose, refusal)
            raise refusal
        _must_agree(_("business time zone"), str(business_timezone), timezone)
        _must_agree(_("currency"), business_currency, currency)
    except BillingError:
        database.close()
        raise
    return Ledger(
        database=database,
        timezone=business_timezone,
        currency=business_currency,
        low_threshold=low_threshold,
        require_quota=require_quota,
        actor=actor,
        role=role,
    )


def record_refusal(url: str, purpose: str, refusal: NotPermitted) -> None:
    """Audit that the person of this process was refused before the ledger was opened, if it can be opened at all."""
    with suppress(Unavailable):
        database = connect(url, read_only=True)
        try:
            append_refusal(database, this_person(), clock.now(), Action.OPEN, purpose, refusal)
        finally:
            database.close()


def _zone(name: str) -> ZoneInfo:
    """Return the ledger's zone; a name that is none was not written by this program, so it is no input but damage."""
    try:
        return clock.zone(name)
    except InvalidInput as error:
        raise ValueError(error.message) from None


def _must_agree(what: str, known: str, wanted: str | None) -> None:
    if wanted is not None and wanted != known:
        raise Unavailable(
            _("This ledger keeps the %(what)s %(known)s, but the settings say %(wanted)s.")
            % {"what": what, "known": known, "wanted": wanted},
            _("Correct the setting, or leave it out."),
        )
