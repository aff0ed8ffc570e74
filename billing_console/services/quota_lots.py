"""Which grant paid for what, and what became due: a pure replay of a user's rows (no database, no clock)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `quota_grants`, as far as the replay needs it; amounts in yuan."""

    id: int
    amount: Decimal
    used_before: Decimal | None
    expires_at: datetime | None
    expires_id: int | None = None


@dataclass(frozen=True, slots=True)
class Coming:
    """A grant that a periodic quota gives at an instant, for one period."""

    key: str
    instant: datetime
    amount: Decimal
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A row that is to be written: the end of a grant (`expires_id`, negative amount) or the grant of a period (`key`).

    Rows of this kind that are not written yet have the ids -1, -2, … in order, so that one can name another.
    """

    instant: datetime
    amount: Decimal
    used_before: Decimal
    expires_at: datetime | None = None
    expires_id: int | None = None
    key: str = ""


@dataclass(slots=True)
class _Lot:
    id: int
    expires_at: datetime | None
    left: Decimal

    @property
    def order(self) -> tuple[bool, float, int]:
        """What expires first is used first, what never expires last; of the same instant, what was given first."""
        never = self.expires_at is None
        return never, 0 if self.expires_at is None else self.expires_at.timestamp(), abs(self.id)


@dataclass(slots=True)
class Books:
    """What is left of each grant, and what was used beyond all of them, after the rows applied so far."""

    lots: dict[int, _Lot] = field(default_factory=dict)
    debt: Decimal = ZERO
    used: Decimal = ZERO

    def apply(self, row: Row) -> None:
        """Take the use up to a row from the grants before it, then let the row do what it does."""
        if row.used_before is not None:
            self.use_up_to(row.used_before)
        if row.amount > 0:
            paid = min(self.debt, row.amount)
            self.debt -= paid
            self.lots[row.id] = _Lot(row.id, row.expires_at, row.amount - paid)
        elif row.expires_id in self.lots:
            lot = self.lots[row.expires_id]
            over = max(ZERO, -row.amount - lot.left)
            lot.left -= -row.amount - over
            self._take(over)
        else:
            self._take(-row.amount)

    def use_up_to(self, used: Decimal) -> None:
        """Take what was used since; a counter that was corrected downwards gives nothing back to a grant."""
        self._take(max(ZERO, used - self.used))
        self.used = max(used, self.used)

    def _take(self, amount: Decimal) -> None:
        for lot in sorted(self.lots.values(), key=lambda lot: lot.order):
            part = min(amount, lot.left)
            lot.left -= part
            amount -= part
        self.debt += amount

    @property
    def left(self) -> dict[int, Decimal]:
        """What is left of each grant of which something is left."""
        return {lot.id: lot.left for lot in self.lots.values() if lot.left}


def replay(rows: Iterable[Row], used: Decimal) -> Books:
    """Replay a user's rows in order of id, and the use of so many yuan in all."""
    books = Books()
    for row in rows:
        books.apply(row)
    books.use_up_to(used)
    return books


def due(
    rows: Sequence[Row], coming: Iterable[Coming], used_at: Callable[[datetime], Decimal], now: datetime
) -> list[Due]:
    """Return the rows that are to be written by `now`, in order: at each instant what expires, then what is given.

    `used_at` says what had been used before an instant, in yuan; `coming` are the grants of periods not given yet.
    """
    books = Books()
    for row in rows:
        books.apply(row)
    given = [grant for grant in coming if grant.instant <= now]
    ends: list[tuple[datetime, int, int]] = [
        (lot.expires_at, 0, lot.id)
        for lot in books.lots.values()
        if lot.left and lot.expires_at is not None and lot.expires_at <= now
    ]
    todo = sorted([*ends, *((grant.instant, 1, number) for number, grant in enumerate(given))])
    found: list[Due] = []
    while todo:
        instant, kind, which = todo.pop(0)
        books.use_up_to(used_at(instant))
        if kind:
            grant = given[which]
            new = Due(instant, grant.amount, books.used, expires_at=grant.expires_at, key=grant.key)
        elif books.lots[which].left:
            new = Due(instant, -books.lots[which].left, books.used, expires_id=which)
        else:
            continue
        found.append(new)
        books.apply(Row(-len(found), new.amount, new.used_before, new.expires_at, new.expires_id))
        if new.expires_at is not None and new.expires_at <= now:
            todo = sorted([*todo, (new.expires_at, 0, -len(found))])
    return found
