"""An open ledger: its database, and the rules that hold for everything done in it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlmodel import select

from billing_console import clock
from billing_console.errors import BillingError, Unavailable
from billing_console.i18n import _
from billing_console.money import CURRENCY_SYMBOLS
from billing_console.services.session import connect, reading
from db.engine import LOCK_TIMEOUT_SECONDS, Database
from db.schema import LedgerInfo


@dataclass(frozen=True, slots=True)
class Ledger:
    """What every service works on; `low_threshold` is the percentage for pools that have none of their own."""

    database: Database
    timezone: ZoneInfo
    currency: str
    low_threshold: Decimal
    require_quota: bool
    operator: str
    clock: Callable[[], datetime] = field(default=clock.now)

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

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()


def real_operator() -> str:
    """Name the person behind this process: the account of the real user id, never an environment variable."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"


def open_ledger(
    url: str,
    *,
    low_threshold: Decimal = Decimal(10),
    require_quota: bool = False,
    timezone: str | None = None,
    currency: str | None = None,
    read_only: bool = False,
    timeout: int = LOCK_TIMEOUT_SECONDS,
    operator: str | None = None,
    durable: bool = True,
) -> Ledger:
    """Open the ledger at `url`; `low_threshold` in percent, `timeout` in seconds for locks.

    Without `durable` a commit does not wait for the disk: for a ledger that is of no use until it is whole.

    Business time zone and currency are facts of the ledger, because its daily statistics and amounts are kept in
    them; a setting that says otherwise raises Unavailable, as does a database that cannot be used.
    """
    database = connect(url, read_only=read_only, timeout=timeout, durable=durable)
    try:
        with reading(database) as session:
            known = {row.name: row.value for row in session.exec(select(LedgerInfo))}
        _must_agree(_("business time zone"), known["business_timezone"], timezone)
        _must_agree(_("currency"), known["currency"], currency)
    except BillingError:
        database.close()
        raise
    return Ledger(
        database=database,
        timezone=clock.zone(known["business_timezone"]),
        currency=known["currency"],
        low_threshold=low_threshold,
        require_quota=require_quota,
        operator=operator or real_operator(),
    )


def _must_agree(what: str, known: str, wanted: str | None) -> None:
    if wanted is not None and wanted != known:
        raise Unavailable(
            _("This ledger keeps the %(what)s %(known)s, but the settings say %(wanted)s.")
            % {"what": what, "known": known, "wanted": wanted},
            _("Correct the setting, or leave it out."),
        )
