"""What is done again and again, by cron and by the timer of every console, for as long as a ledger is in use."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import col, select

from billing_console.services.check import CheckReport, check_pools
from billing_console.services.ledger import Ledger
from billing_console.services.session import reading
from db.schema import QuotaGrant, UsageOutbox


def run_round(
    ledger: Ledger, provider_id: str | None = None, *, if_older_than: timedelta | None = None
) -> tuple[CheckReport, tuple[int, ...]]:
    """Settle the usage that waits, check the pools, and book what is due of quotas.

    Returns what the check found, and ids of usage records that cannot be counted. Raises as `check_pools` does. Often
    nothing waits and nothing is due; what settles and books is then not even imported.
    """
    with reading(ledger.database) as session:
        is_waiting = session.exec(select(UsageOutbox.usage_id).limit(1)).first() is not None
        has_ended = col(QuotaGrant.expires_at) <= ledger.clock()
        may_be_due = session.exec(select(QuotaGrant.id).where(has_ended).limit(1)).first() is not None
    beyond: tuple[int, ...] = ()
    if is_waiting:
        from billing_console.services.settlement import settle

        beyond = settle(ledger).beyond
    report = check_pools(ledger, provider_id, if_older_than=if_older_than)
    if may_be_due:
        from billing_console.services.quota_due import book_all_due

        book_all_due(ledger)
    return report, beyond
