"""The ledger of the console: opened in a thread, again after a failure, closed for who may not see it any more."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from billing_console.errors import BillingError, InvalidInput, NotPermitted, Replaced
from billing_console.i18n import _
from billing_console.pool_timer import PoolTimer
from billing_console.services.actions import Action
from screens import words
from screens.base import DataPane
from screens.console import Console
from screens.widgets.banner import AlertBanner, ProblemLine
from screens.widgets.header import TitleBar

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.terminal import ConsoleOptions
    from db.values import Role


class LedgerConsole(Console):
    """Keeps the ledger open, the pool check running, and what is wrong with either on the screen."""

    def __init__(self, options: ConsoleOptions) -> None:
        """Keep the options; nothing of the database is touched before the first paint."""
        super().__init__()
        self.options = options
        self.read_only = options.read_only
        self.refresh_seconds = min(options.refresh_seconds, 5.0)
        self._opening = False
        self._pool_timer: PoolTimer | None = None
        self._polls = False
        self.wrong_usage: InvalidInput | None = None
        """Why the console ended by itself at its start."""

    @property
    def pane(self) -> DataPane[Any] | None:
        """The pane of the active tab, once it is there."""
        raise NotImplementedError

    def open_ledger(self) -> None:
        """Open the database in a thread, now; after a failure again and again until it works."""
        if self._opening or self.ledger is not None:
            return
        self._opening = True
        self.run_worker(self._open, thread=True, exit_on_error=False)

    def _open(self) -> None:
        try:
            ledger = self.options.open()
            timer = self._timer_for(ledger)
        except Exception as error:
            self.call_later(self._not_opened, self.explain(error))
        else:
            self.call_later(self._opened, ledger, timer)
        finally:
            gc.freeze()  # what the start imported stays: no collection needs to look at it ever
            gc.enable()

    def _timer_for(self, ledger: Ledger) -> PoolTimer | None:
        """Begin to check the pools, for somebody who may; the check itself acts as a part of the program."""
        if self.read_only or not ledger.may(Action.POOL_CHECK):
            return None
        timer = PoolTimer(ledger, self.options.check_interval, self._pools_checked)
        timer.start()
        return timer

    def _not_opened(self, error: BillingError) -> None:
        """Try again later, unless the ledger refused this person: each attempt leaves a row in the audit log.

        What no attempt can mend, a replica that is none of this ledger, ends the console.
        """
        self._opening = False
        if isinstance(error, InvalidInput):
            self.wrong_usage = error
            self.exit(return_code=error.exit_code)
            return
        self.keys.answered("open")
        self.report("open", error)
        pane = self.pane
        if pane is not None:
            pane.load()
        if not isinstance(error, NotPermitted):
            self.set_timer(self.refresh_seconds, self.open_ledger)

    def _opened(self, ledger: Ledger, timer: PoolTimer | None) -> None:
        self._opening = False
        self.ledger, self._pool_timer = ledger, timer
        self.report("open", None)
        self._show_person()
        banner, title = self.query_one(AlertBanner), self.query_one(TitleBar)
        title.zone = str(ledger.timezone)
        banner.poll()
        title.poll()
        if not self._polls:
            self._polls = True
            self.set_interval(self.refresh_seconds, banner.poll)
            self.set_interval(self.refresh_seconds, title.poll)
        if self.pane is not None:
            self.pane.wake()
        self.keys.answered("open")

    def _show_person(self) -> None:
        title, ledger = self.query_one(TitleBar), self.ledger
        title.role = _(words.ROLES[ledger.role]) if ledger and ledger.role else ""
        title.person = ledger.operator if ledger else ""

    def show_as_of(self, time: str) -> None:
        """Say in the first line of what time that is which the tab shows."""
        for title in self.query(TitleBar):  # an answer may come when the console is being left already
            title.as_of = time

    def work_as(self, role: Role) -> None:
        """Offer what this role allows, from now on; check the pools, or no longer."""
        if self.ledger is None or self.ledger.role is role:
            return
        self.ledger = replace(self.ledger, role=role)
        self._show_person()
        if not self.may(Action.POOL_CHECK):
            self._stop_timer()
        elif self._pool_timer is None:
            self._pool_timer = self._timer_for(self.ledger)
        for pane in self.query(DataPane):
            pane.role_changed()
        for screen in self.screen_stack:
            screen.refresh_bindings()

    def shut_out(self, error: NotPermitted) -> None:
        """Show why instead of the ledger, which is closed; only a person tries again."""
        if self.ledger is None:
            return
        self.problems["open"] = error
        self._close_ledger()
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def _open_again(self) -> None:
        """Open what stands where the ledger stood; a form that is half filled in stays, for the new one."""
        self.problems.pop("open", None)
        self._close_ledger()
        self.notify(_("Another file took the place of the open database; it is opened now."), markup=False)
        self.open_ledger()

    def _close_ledger(self) -> None:
        """Show nothing of the ledger any more; what stands in the way of opening it is said in the tab."""
        ledger, self.ledger = self.ledger, None
        self._stop_timer()
        if ledger is not None:
            ledger.close()
        self.problems = {source: problem for source, problem in self.problems.items() if source == "open"}
        self.query_one(ProblemLine).show_problems({})
        self._show_person()
        self.query_one(AlertBanner).forget()
        for pane in self.query(DataPane):
            pane.forget()

    def _stop_timer(self) -> None:
        if self._pool_timer is not None:
            self._pool_timer.stop()
            self._pool_timer = None

    def _pools_checked(self, error: BillingError | None) -> None:
        self.call_later(self.report, "check", error)

    def report(self, source: str, error: BillingError | None) -> None:
        """Say above the tabs that a part of the console failed, or with None that it works again."""
        before = dict(self.problems)
        self.problems.pop(source, None)
        if error is not None:
            self.problems[source] = error
        if isinstance(error, Replaced) and self.ledger is not None:
            self._open_again()
        elif self.problems != before:
            self.query_one(ProblemLine).show_problems({k: v for k, v in self.problems.items() if k != "open"})

    def on_unmount(self) -> None:
        """Stop the pool check; the end of the process closes the database."""
        self._stop_timer()
