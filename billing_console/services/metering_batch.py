"""Metering many requests in one transaction: what waits while one is committed is written together in the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from sqlmodel import Session

from billing_console.errors import BillingError, NotPermitted, Refused, Unavailable, Uncertain
from billing_console.i18n import active_locale
from billing_console.services.actions import Action
from billing_console.services.audit import Trail, append_refusal
from billing_console.services.changes import change_together
from billing_console.services.database_errors import explain, uncertain
from billing_console.services.holds import Desk, HoldView, NewHold, end_holds, lock_users
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult, Written, vouch, write_usage
from billing_console.services.new_usage import NewUsage
from db.engine import Database
from db.last import run_last
from db.prepared import picked

MOST_RECORDS = 2000
"""Calls of one transaction, beyond which it takes no more requests: each waits for all of them."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one caller asks: a hold, or that its calls are recorded; answered in the language of its context."""

    ledger: Ledger
    wanted: NewHold | Sequence[NewUsage]
    context: Context = field(default_factory=copy_context)

    @property
    def size(self) -> int:
        """How many calls it is about."""
        return 1 if isinstance(self.wanted, NewHold) else len(self.wanted)


Outcome = HoldView | RecordResult | BaseException
"""What became of a request; an exception of one that came to nothing."""


def authorize(ledger: Ledger, wanted: NewHold) -> HoldView:
    """Set aside what a call may cost, as `Desk.decide` does; raise InvalidInput for one that cannot be."""
    wanted.validate()
    found = _alone(meter([Request(ledger, wanted)]))
    assert isinstance(found, HoldView)
    return found


def record_and_settle(ledger: Ledger, records: Sequence[NewUsage]) -> RecordResult:
    """Record calls as `record_usage` does, and end their holds in the same transaction."""
    for record in records:
        record.validate()
    found = _alone(meter([Request(ledger, records)]))
    assert isinstance(found, RecordResult)
    return found


def _alone(outcomes: Sequence[Outcome]) -> HoldView | RecordResult:
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def meter(requests: Sequence[Request]) -> list[Outcome]:
    """Answer validated requests of one ledger in one transaction, in this order: all calls are recorded, then the holds
    decided one by one. Every answer is that of a transaction that is committed.

    A request that cannot be answered, such as one beyond the range of the ledger, does not spoil the others: where the
    transaction fails, each is tried by itself. A database that does not answer is not asked again.
    """
    ledgers = list({request.ledger.actor.name: request.ledger for request in requests}.values())
    try:
        return change_together(ledgers, Action.METER, lambda session, trails: _answers(session, trails, requests))
    except Unavailable as error:
        return said_to_each(error, requests)
    except Exception as error:
        if len(requests) > 1:
            return [outcome for request in requests for outcome in meter([request])]
        if isinstance(error, (Refused, NotPermitted)):
            ledger = requests[0].ledger
            append_refusal(ledger.database, ledger.actor, ledger.clock(), Action.METER, "", error)
        return [error]


def said_to_each(error: Unavailable, requests: Sequence[Request]) -> list[Outcome]:
    """Say what all requests came to in the language of each."""
    langs = [request.context.run(active_locale) for request in requests]
    one_of_each = dict(zip(langs, requests, strict=True))
    said = {lang: one.context.run(_anew, error, one.ledger.database) for lang, one in one_of_each.items()}
    return [said[lang] for lang in langs]


def _anew(error: Unavailable, database: Database) -> Outcome:
    if isinstance(error, Uncertain):
        return uncertain(database, "")
    cause = error.__cause__
    if not isinstance(cause, Exception):
        return error
    again = explain(cause, database)
    again.__cause__ = cause
    return again


def _answers(session: Session, trails: Mapping[str, Trail], requests: Sequence[Request]) -> list[Outcome]:
    ledger, now = requests[0].ledger, requests[0].ledger.clock()
    holds = [request.wanted for request in requests if isinstance(request.wanted, NewHold)]
    calls = [call for request in requests if not isinstance(request.wanted, NewHold) for call in request.wanted]
    asking = {hold.user_id for hold in holds}
    if holds:
        # Before the counting, which locks users and then pools, as everybody does.
        lock_users(session, now, asking | {call.user_id for call in calls if call.user_id is not None})
    written = write_usage(session, ledger, calls)
    _vouch(trails, requests, written)
    end_holds(session, sorted({(call.provider_id, call.request_id) for call in calls}))
    desk = None
    if holds:
        run_last(session)
        desk = Desk.of(session, ledger, holds, lock_users(session, now, asking))
    outcomes: list[Outcome] = []
    start = 0
    for request in requests:
        if isinstance(request.wanted, NewHold):
            assert desk is not None
            outcomes.append(_decided(desk, request.context, request.wanted))
        else:
            outcomes.append(request.context.run(written.result, request.wanted, start))
            start += len(request.wanted)
    if desk is not None:
        desk.write(session)
    return outcomes


def _vouch(trails: Mapping[str, Trail], requests: Sequence[Request], written: Written) -> None:
    """Have each actor's row of the audit log vouch for the new calls that this actor sent."""
    numbers: dict[str, list[int]] = defaultdict(list)
    start = 0
    for request in requests:
        if not isinstance(request.wanted, NewHold):
            mine = range(start, start + len(request.wanted))
            numbers[request.ledger.actor.name] += written.numbers_of(mine)
            start += len(request.wanted)
    for name, new in numbers.items():
        if new:
            rows = picked(written.rows, new)
            trails[name].note(None, {"recorded": len(new), "unpriced": rows["cost_amount"].count(None)})
            vouch(trails[name], rows)


def _decided(desk: Desk, context: Context, wanted: NewHold) -> Outcome:
    try:
        return context.run(desk.decide, wanted)
    except BillingError as refusal:
        return refusal
