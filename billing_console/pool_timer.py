"""The scheduler inside the console: settles usage, books what is due of quotas and checks the pools, while it runs.

It also makes the partitions of usage records that the months to come need.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from billing_console import clock
from billing_console.errors import BillingError, Unavailable
from billing_console.i18n import _

if TYPE_CHECKING:
    from apscheduler.events import SchedulerEvent
    from apscheduler.schedulers.background import BackgroundScheduler

    from billing_console.services.ledger import Ledger

log = logging.getLogger(__name__)
MARGIN = timedelta(seconds=10)
"""Less than one interval: the check of the last round took a moment too, and must not make this round skip the pool."""

AGAIN = timedelta(seconds=10)
"""After a failure: a server that was restarted or replaced is back long before the next round."""


class PoolTimer:
    """Runs the pool check every interval, and soon again where it failed.

    A pool that another console or cron checked meanwhile is skipped.
    """

    def __init__(self, ledger: Ledger, interval: timedelta, report: Callable[[BillingError | None], None]) -> None:
        """Keep what to check and whom to tell; `report` is called in the scheduler's thread, None means all is well."""
        from billing_console.services.identity import system

        self._ledger = replace(ledger, actor=system("scheduler"))
        self._interval = interval
        self._report = report
        self._scheduler: BackgroundScheduler | None = None

    def start(self) -> None:
        """Check now and then every interval; a round missed while the machine slept is made up once."""
        from apscheduler.events import EVENT_JOB_ERROR
        from apscheduler.schedulers.background import BackgroundScheduler

        self._scheduler = BackgroundScheduler(timezone="UTC")
        self._scheduler.add_listener(self._crashed, EVENT_JOB_ERROR)
        self._scheduler.add_job(
            self._check,
            "interval",
            seconds=self._interval.total_seconds(),
            next_run_time=clock.now(),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.start()

    def stop(self) -> None:
        """Start no further round; does not wait for a running one, which would hang the console's exit."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)

    def _check(self) -> None:
        from billing_console.services.rounds import run_round

        try:
            _checked, beyond = run_round(self._ledger, if_older_than=max(self._interval - MARGIN, self._interval / 2))
            if beyond:
                log.warning("usage records that cannot be counted: %s; see: billing-console settle", list(beyond))
        except BillingError as error:
            self._report(
                Unavailable(_("The pools could not be checked: %(reason)s") % {"reason": error.message}, error.hint)
            )
            self._check_soon()
        else:
            self._make_partitions()
            self._report(None)

    def _check_soon(self) -> None:
        if self._scheduler is not None:
            when = clock.now() + min(AGAIN, self._interval)
            self._scheduler.add_job(
                self._check, "date", run_date=when, id="again", replace_existing=True, misfire_grace_time=None
            )

    def _make_partitions(self) -> None:
        """Make the partitions of the months to come; where others are in the way, the next round does."""
        from billing_console.services.maintenance import is_due, maintain

        try:
            if is_due(self._ledger):
                maintain(self._ledger)
        except BillingError as error:
            log.warning("the partitions of the next months were not made: %s", error.message)

    def _crashed(self, event: SchedulerEvent) -> None:
        log.error("the pool check crashed", exc_info=getattr(event, "exception", None))
        self._report(Unavailable(_("The pools could not be checked; the log file says why.")))
