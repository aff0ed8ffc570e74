"""Requests that are done once: the answer is kept with the effect, by the key that the caller made, for a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col

from billing_console.errors import Conflict
from billing_console.i18n import _
from billing_console.text import clean
from db.schema import RequestKey

KEPT_FOR = timedelta(days=1)


class Answered(Exception):
    """Ends a request that was done before, with what was answered then."""

    def __init__(self, status: int, answer: str) -> None:
        """Keep the answer."""
        super().__init__(status)
        self.status, self.answer = status, answer


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is done once; `spell` gives status and text of the answer to what the change returned.

    `fingerprint` is the same for the same request and no other. A key is its operator's alone.
    """

    key: str
    fingerprint: str
    spell: Callable[[Any], tuple[int, str]]

    def require_new(self, session: Session, operator: str, now: datetime) -> None:
        """Raise Answered for a request that was done, Conflict for a key that stands for another.

        Of one operator only one transaction comes here at a time: the row that says what it may do is locked.
        """
        session.connection().execute(delete(RequestKey).where(col(RequestKey.created_at) <= now - KEPT_FOR))
        known = session.get(RequestKey, (operator, self.key))
        if known is None:
            return
        if known.fingerprint != self.fingerprint:
            raise Conflict(
                _("The key %(key)s already stands for another request.") % {"key": clean(self.key)},
                _("Nothing was changed. Use a new key for another request."),
            )
        raise Answered(known.status, known.answer)

    def keep(self, session: Session, operator: str, now: datetime, result: object) -> None:
        """Write the answer into the transaction that it tells of."""
        status, answer = self.spell(result)
        session.add(
            RequestKey(
                operator=operator,
                key=self.key,
                fingerprint=self.fingerprint,
                status=status,
                answer=answer,
                created_at=now,
            )
        )
