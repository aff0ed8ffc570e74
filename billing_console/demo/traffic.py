"""The demo's calls: 60 days with the rhythm of a working week, on token counts of a real trace."""

from __future__ import annotations

import csv
from bisect import bisect
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from billing_console.demo.mix import AGENTS, BY_TOKENS, FAILURES, INCIDENTS, OFFERS, RETIRED, Failure, Incident, Offer
from billing_console.demo.people import UNKNOWN_PER_MILLE, users
from billing_console.services.new_usage import NewUsage
from db.values import CallStatus, UsageType

DAYS = 60
DATA = Path(__file__).parent / "data"

_HOURS = (10, 6, 4, 3, 3, 5, 10, 22, 55, 92, 100, 90, 55, 68, 94, 100, 96, 84, 60, 48, 46, 38, 28, 18)
"""How busy each hour of a business day is, relative to the busiest."""

_WEEKEND = 0.4
_GROWTH = (0.75, 1.25)
"""How busy the first and the last day are, relative to the middle."""

_FAILING_PER_MILLE = 19
_CACHED_PER_MILLE = 350
_AGENT_PER_MILLE = 500
_AGENT_REQUESTS = range(15, 70)
"""How many requests of the trace an agent run adds up."""


@dataclass(frozen=True, slots=True)
class Window:
    """The span that the demo covers, and the time zone of its days."""

    start: datetime
    end: datetime
    timezone: ZoneInfo

    def days_ago(self, days: int) -> date:
        """Return the business day so many days before the last one."""
        return self.end.astimezone(self.timezone).date() - timedelta(days=days)

    def working_day_ago(self, days: int) -> date:
        """Return the working day nearest before that."""
        day = self.days_ago(days)
        return day - timedelta(days=max(0, day.weekday() - 4))


def window(now: datetime, timezone: ZoneInfo) -> Window:
    """Return the 60 days that end now, to the second."""
    now = now.replace(microsecond=0)
    return Window(now - timedelta(days=DAYS), now, timezone)


def token_counts() -> list[tuple[int, int]]:
    """Read the shipped sample of the Azure LLM inference trace: input and output tokens of real requests."""
    with (DATA / "token_counts.csv").open(encoding="utf-8", newline="") as file:
        return [(int(row["inputTokens"]), int(row["outputTokens"])) for row in csv.DictReader(file)]


def calls(span: Window, rng: Random, count: int) -> list[NewUsage]:
    """Return about `count` calls in order of time, each with a request id of its own."""
    ids, weights = users(rng)
    trace = _Trace()
    made = []
    for day, times in _by_day(span, _times(span, rng, count)):
        offers = _Menu(span, day)
        for instant in times:
            offer = offers.choose(rng)
            user = None if rng.randrange(1000) < UNKNOWN_PER_MILLE else rng.choices(ids, cum_weights=weights)[0]
            call = _call(offer, instant, user, trace, rng)
            failure = offers.failure(offer, instant.astimezone(span.timezone), rng)
            if failure is not None:
                fail(call, failure)
            made.append(call)
    return made


def fail(call: NewUsage, failure: Failure) -> None:
    """Turn a call into one that failed: without output, and without input where it was turned away at the door."""
    call.status = CallStatus.FAILED
    call.error_message = failure.message % {"model": call.model_id}
    call.output_tokens = 0
    call.quantity = None
    if not failure.reached:
        call.input_tokens = call.cached_input_tokens = 0


class _Trace:
    """Token counts to draw from: of one request, or added up over many that follow each other."""

    def __init__(self) -> None:
        self._sums = [(0, 0)]
        for tokens_in, tokens_out in token_counts():
            before_in, before_out = self._sums[-1]
            self._sums.append((before_in + tokens_in, before_out + tokens_out))

    def draw(self, requests: int, rng: Random) -> tuple[int, int]:
        first = rng.randrange(len(self._sums) - requests)
        (before_in, before_out), (after_in, after_out) = self._sums[first], self._sums[first + requests]
        return after_in - before_in, after_out - before_out


class _Menu:
    """What can be called on one business day, and what goes wrong on it."""

    def __init__(self, span: Window, day: date) -> None:
        gone = {(model.provider_id, model.model_id) for model in RETIRED if day >= span.days_ago(model.days_ago)}
        self._offers = [offer for offer in OFFERS if (offer.provider_id, offer.model_id) not in gone]
        self._shares = list(accumulate(offer.share for offer in self._offers))
        self._incidents = [incident for incident in INCIDENTS if day == span.working_day_ago(incident.days_ago)]

    def choose(self, rng: Random) -> Offer:
        return self._offers[bisect(self._shares, rng.random() * self._shares[-1])]

    def failure(self, offer: Offer, local: datetime, rng: Random) -> Failure | None:
        incident = next((known for known in self._incidents if _concerns(known, offer, local)), None)
        if incident is not None and rng.randrange(100) < incident.share:
            return incident.failure
        if rng.randrange(1000) < _FAILING_PER_MILLE:
            return rng.choices(FAILURES, weights=[failure.weight for failure in FAILURES])[0]
        return None


def _concerns(incident: Incident, offer: Offer, local: datetime) -> bool:
    return incident.provider_id == offer.provider_id and incident.start <= local.time() < incident.end


def _times(span: Window, rng: Random, count: int) -> list[datetime]:
    hours = [span.start + timedelta(hours=hour) for hour in range(DAYS * 24)]
    busy = [_busy(span, hour + timedelta(minutes=30)) for hour in hours]
    each = count / sum(busy)
    times = []
    for hour, share in zip(hours, busy, strict=True):
        times += [hour + timedelta(hours=rng.random()) for _call in range(int(share * each + rng.random()))]
    return sorted(times)


def _busy(span: Window, instant: datetime) -> float:
    local = instant.astimezone(span.timezone)
    first, last = _GROWTH
    grown = first + (last - first) * ((instant - span.start) / (span.end - span.start))
    return _HOURS[local.hour] * grown * (_WEEKEND if local.weekday() >= 5 else 1)


def _by_day(span: Window, times: list[datetime]) -> list[tuple[date, list[datetime]]]:
    days: dict[date, list[datetime]] = {}
    for instant in times:
        days.setdefault(instant.astimezone(span.timezone).date(), []).append(instant)
    return list(days.items())


def _call(offer: Offer, instant: datetime, user: str | None, trace: _Trace, rng: Random) -> NewUsage:
    call = NewUsage(
        provider_id=offer.provider_id,
        model_id=offer.model_id,
        usage_type=offer.usage_type,
        created_at=instant,
        request_id=f"req-{rng.getrandbits(80):020x}",
        user_id=user,
    )
    if offer.usage_type is UsageType.TEXT_GENERATION:
        agent = offer.model_id in AGENTS and rng.randrange(1000) < _AGENT_PER_MILLE
        call.input_tokens, call.output_tokens = trace.draw(rng.choice(_AGENT_REQUESTS) if agent else 1, rng)
        if agent or rng.randrange(1000) < _CACHED_PER_MILLE:
            call.cached_input_tokens = call.input_tokens * rng.randrange(30, 90) // 100
    else:
        call.quantity = _quantity(offer.usage_type, rng)
        if offer.model_id in BY_TOKENS:
            call.input_tokens, call.output_tokens = _tokens(offer.usage_type, int(call.quantity), rng)
    return call


def _quantity(usage_type: UsageType, rng: Random) -> Decimal:
    """Draw images, characters, or seconds of speech or video."""
    if usage_type is UsageType.IMAGE_GENERATION:
        return Decimal(rng.choice((1, 1, 1, 1, 2, 2, 4)))
    if usage_type is UsageType.AUDIO_TTS:
        return Decimal(40 + int(rng.expovariate(1 / 420)))
    if usage_type is UsageType.AUDIO_STT:
        return Decimal(30 + int(rng.expovariate(1 / 1900))) / 10
    return Decimal(rng.choice((4, 6, 8, 8)))


def _tokens(usage_type: UsageType, quantity: int, rng: Random) -> tuple[int, int]:
    """Make up the tokens of what is billed by them: the trace knows text only."""
    if usage_type is UsageType.IMAGE_GENERATION:
        return rng.randrange(20, 400), quantity * rng.choice((1056, 1584, 4160))
    if usage_type is UsageType.AUDIO_TTS:
        return quantity // 3 + 1, quantity * 2
    if usage_type is UsageType.AUDIO_STT:
        return quantity * 10 + 1, quantity * 4 + 1
    return rng.randrange(40, 600), quantity * 5760
