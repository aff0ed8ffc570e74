"""The attempts at one transaction: what may be tried again, for how long, and what may have been done meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import Session
from tenacity import RetryCallState

from billing_console.errors import Refused
from billing_console.services.database_errors import lost_connection, lost_race
from db.engine import Database

Result = TypeVar("Result")


class Attempts(Generic[Result]):
    """The attempts at one transaction, and whether one of them may have been committed without an answer."""

    def __init__(
        self,
        database: Database,
        work: Callable[[Session], Result],
        one_snapshot: bool,
        done: Callable[[Session], Result | None] | None,
    ) -> None:
        """Prepare to run `work`; the clock of the database's timeout starts now."""
        self.may_be_done = False
        self._database = database
        self._work = work
        self._one_snapshot = one_snapshot
        self._done = done
        self._connected = False
        self._since = time.monotonic()
        self._lost_before = False

    def run(self) -> Result:
        """Make one attempt."""
        self._connected = committing = False
        try:
            with self._database.writing(one_snapshot=self._one_snapshot) as session:
                self._connected = True
                result = self._result(session)
                session.flush()
                committing = True
            return result
        except DBAPIError as error:
            self.may_be_done |= committing and lost_connection(error)
            raise

    def _result(self, session: Session) -> Result:
        try:
            return self._work(session)
        except Refused:
            earlier = self._done(session) if self.may_be_done and self._done else None
            if earlier is None:
                raise
            return earlier

    def forget(self) -> None:
        """Let go of the work: what retries has a circle of references, and would keep it until garbage is collected."""
        del self._work, self._done

    def may_pass(self, error: BaseException) -> bool:
        """Tell whether another attempt may succeed: the race was lost, or the server was and may come back."""
        return lost_race(error) or self._lost_server(error)

    def _lost_server(self, error: BaseException) -> bool:
        # The ledger was open before: a server that cannot be reached now is being restarted, or is out of reach.
        unreachable = not (self._connected or self._database.is_sqlite) and isinstance(error, OperationalError)
        return unreachable or lost_connection(error)

    def out_of_time(self, state: RetryCallState) -> bool:
        """Give up once the database's timeout has passed: from the start, or from where the server was first lost."""
        error = state.outcome.exception() if state.outcome else None
        if error is not None and not self._lost_before and self._lost_server(error):
            self._lost_before = True
            self._since = time.monotonic()
        return time.monotonic() - self._since >= self._database.timeout
