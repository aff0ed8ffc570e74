"""Calls that were made and cannot be recorded: kept in the audit log, for a person to record by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlmodel import Session

from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger

A_ROW = 100
"""Calls in one row of the log."""


def set_aside(ledger: Ledger, source: str, calls: Sequence[Mapping[str, object]]) -> None:
    """Keep what is known of calls that cannot be recorded, and why; `source` is who sent them."""
    for start in range(0, len(calls), A_ROW):
        some = calls[start : start + A_ROW]

        def work(_session: Session, trail: Trail, some: Sequence[Mapping[str, object]] = some) -> None:
            trail.note(None, {"calls": list(some)})

        change(ledger, Action.SET_ASIDE, source, work)
