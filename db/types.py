"""Exact fixed-point column types: a whole number in the database, a Decimal in Python."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_FORBIDDEN = {operator.mul, operator.truediv, operator.floordiv, operator.mod}


class FixedPoint(TypeDecorator[Decimal]):
    """A Decimal stored as a 64-bit whole number of 10**-scale; sums are exact and an overflow is an error.

    Databases of this kind keep decimals as floats (SQLite) or slowly (PostgreSQL NUMERIC); whole numbers are exact on
    both. In SQL only + and - and comparison keep the scale, so the rest is refused where the expression is built.
    """

    impl = BigInteger
    cache_ok = True
    scale = 0

    class Comparator(TypeDecorator.Comparator[Decimal]):
        """Keeps the type through + and -, refuses × and ÷, which would change the scale unseen."""

        def operate(self, op: Callable[..., Any], *other: Any, **kwargs: Any) -> Any:
            """Refuse what would not be exact before SQLAlchemy builds the expression."""
            if op in _FORBIDDEN:
                raise TypeError("fixed-point columns allow + and - only; compute products in Python with Decimal")
            if any(isinstance(value, float) for value in other):
                raise TypeError("a float never meets a fixed-point column")
            return super().operate(op, *other, **kwargs)

        def reverse_operate(self, op: Callable[..., Any], other: Any, **kwargs: Any) -> Any:
            """Refuse the same where the column stands on the right."""
            if op in _FORBIDDEN:
                raise TypeError("fixed-point columns allow + and - only; compute products in Python with Decimal")
            if isinstance(other, float):
                raise TypeError("a float never meets a fixed-point column")
            return super().reverse_operate(op, other, **kwargs)

        def _adapt_expression(self, op: Callable[..., Any], other_comparator: Any) -> tuple[Any, TypeEngine[Any]]:
            return op, self.type

    # Exactly this one: the inherited property would mix in the comparator of plain integers.
    comparator_factory = Comparator

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        """Return what is stored of a value."""
        return self.stored(value)

    def stored(self, value: Any) -> int | None:
        """Scale a Decimal or int to the stored whole number; refuse floats and anything finer than the scale."""
        if isinstance(value, Decimal):
            return scaled(value, self.scale)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"expected a Decimal, got {type(value).__name__}")
        return scaled(Decimal(value), self.scale)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the value of what is stored."""
        return None if value is None else self.loaded(value)

    def loaded(self, value: Any) -> Decimal:
        """Turn the stored whole number, or a sum of such, back into a Decimal."""
        return Decimal(int(value)).scaleb(-self.scale)


def scaled(value: Decimal, scale: int) -> int:
    """Return `value` in units of 10**-scale; raise ValueError if it is not a whole number of them or beyond 64 bits."""
    shifted = value.scaleb(scale, _WIDE)
    number = int(shifted)
    if number != shifted:
        raise ValueError(f"{value} is finer than 1e-{scale}")
    if abs(number) >= 2**63:
        raise OverflowError(f"{value} is beyond the range of the ledger")
    return number


_WIDE = Context(prec=100, traps=[InvalidOperation, Inexact])
"""Wide enough for any value of the ledger; a longer one is an error, never rounded."""


class Money(FixedPoint):
    """Yuan, exact to 1e-9 (DESIGN.md, section 4)."""

    cache_ok = True
    scale = 9


class Quantity(FixedPoint):
    """Usage in its own unit (tokens, images, characters, seconds), exact to 1e-6."""

    cache_ok = True
    scale = 6


class Percent(FixedPoint):
    """A percentage, exact to 0.01."""

    cache_ok = True
    scale = 2
