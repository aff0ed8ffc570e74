"""How the tabs spell values for people: the ledger's closed vocabularies, instants, numbers and states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.text import Text

from billing_console import money
from billing_console.i18n import N_, _
from billing_console.text import one_line
from db.values import (
    AlertLevel,
    AlertType,
    ApprovalKind,
    BalanceStatus,
    CallStatus,
    ModelStatus,
    Outcome,
    PriceUnit,
    Role,
    UsageType,
)

USAGE_TYPES = {
    UsageType.TEXT_GENERATION: N_("text_generation"),
    UsageType.IMAGE_GENERATION: N_("image_generation"),
    UsageType.AUDIO_TTS: N_("audio_tts"),
    UsageType.AUDIO_STT: N_("audio_stt"),
    UsageType.VIDEO_GENERATION: N_("video_generation"),
}
CALL_STATUSES = {CallStatus.SUCCESS: N_("success"), CallStatus.FAILED: N_("failed")}
BALANCE_STATUSES = {
    BalanceStatus.SUFFICIENT: N_("sufficient"),
    BalanceStatus.LOW: N_("low"),
    BalanceStatus.DEPLETED: N_("depleted"),
}
ALERT_TYPES = {
    AlertType.LOW_BALANCE: N_("low balance"),
    AlertType.INSUFFICIENT_BALANCE: N_("insufficient balance"),
}
ALERT_LEVELS = {AlertLevel.WARNING: N_("WARNING"), AlertLevel.CRITICAL: N_("CRITICAL")}
MODEL_STATUSES = {
    ModelStatus.ENABLED: N_("enabled"),
    ModelStatus.DISABLED: N_("disabled"),
    ModelStatus.INSUFFICIENT_FUNDS: N_("insufficient funds"),
}
UNITS = {
    PriceUnit.MILLION_TOKENS: N_("1m tokens"),
    PriceUnit.IMAGE: N_("image"),
    PriceUnit.THOUSAND_CHARACTERS: N_("1k characters"),
    PriceUnit.SECOND: N_("second"),
    PriceUnit.MINUTE: N_("minute"),
}
ROLES = {Role.VIEWER: N_("viewer"), Role.OPERATOR: N_("operator"), Role.ADMIN: N_("admin")}
KINDS = {
    ApprovalKind.RECHARGE: N_("recharge"),
    ApprovalKind.REVERSAL: N_("reversal"),
    ApprovalKind.GRANT: N_("grant"),
}
OUTCOMES = {Outcome.DONE: N_("done"), Outcome.REFUSED: N_("refused")}

GOOD, WARN, BAD, DIM = "green", "bold yellow", "bold red", "dim"
"""Styles that go with a word and a symbol, never alone: many terminals show 16 colours or none."""

MARKS = {GOOD: "●", WARN: "▲", BAD: "■", DIM: "○"}

STATES = {
    BalanceStatus.SUFFICIENT: (GOOD, BALANCE_STATUSES[BalanceStatus.SUFFICIENT]),
    BalanceStatus.LOW: (WARN, BALANCE_STATUSES[BalanceStatus.LOW]),
    BalanceStatus.DEPLETED: (BAD, BALANCE_STATUSES[BalanceStatus.DEPLETED]),
    CallStatus.SUCCESS: (GOOD, CALL_STATUSES[CallStatus.SUCCESS]),
    CallStatus.FAILED: (BAD, CALL_STATUSES[CallStatus.FAILED]),
    ModelStatus.ENABLED: (GOOD, MODEL_STATUSES[ModelStatus.ENABLED]),
    ModelStatus.DISABLED: (DIM, MODEL_STATUSES[ModelStatus.DISABLED]),
    ModelStatus.INSUFFICIENT_FUNDS: (BAD, MODEL_STATUSES[ModelStatus.INSUFFICIENT_FUNDS]),
    Outcome.DONE: (GOOD, OUTCOMES[Outcome.DONE]),
    Outcome.REFUSED: (BAD, OUTCOMES[Outcome.REFUSED]),
    AlertLevel.WARNING: (WARN, ALERT_LEVELS[AlertLevel.WARNING]),
    AlertLevel.CRITICAL: (BAD, ALERT_LEVELS[AlertLevel.CRITICAL]),
}


def counted(counts: Counter[Any], statuses: Mapping[Any, str]) -> list[str]:
    """Say how many are in each status; the first one, in which nothing is amiss, only where there is no other."""
    present = [status for status in statuses if counts[status]]
    usual = next(iter(statuses))
    return [f"{counts[status]} {_(statuses[status])}" for status in present if status is not usual or len(present) == 1]


def cell(value: str, style: str = "") -> Text:
    """Make one table cell of text from anywhere: inert, on one line, cut with an ellipsis where it does not fit."""
    return Text(one_line(value), style=style, no_wrap=True, overflow="ellipsis", end="")


def number(value: int | Decimal | None, style: str = "") -> Text:
    """Make a right-aligned cell of a count, with thousands separators; blank for None."""
    text = "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value.normalize():,f}"
    return Text(text, style=style, justify="right", no_wrap=True, overflow="ellipsis", end="")


def amount(value: Decimal | None, *, places: int = 2, symbol: str = "¥", style: str = "") -> Text:
    """Make a right-aligned cell of money in yuan; blank for None."""
    text = "" if value is None else money.shown(value, places=places, symbol=symbol)
    return Text(text, style=style, justify="right", no_wrap=True, overflow="ellipsis", end="")


def state(status: BalanceStatus | CallStatus | ModelStatus | AlertLevel | Outcome) -> Text:
    """Make a cell of a status: symbol, word and colour."""
    style, word = STATES[status]
    return Text(f"{MARKS[style]} {_(word)}", style=style, no_wrap=True, overflow="ellipsis", end="")


def instant(value: datetime | None, now: datetime, *, seconds: bool = True, year: bool = False) -> str:
    """Spell an instant in the zone of `now`, which is the business time zone; a dash for none.

    Without `year` it takes as much room in every year: one of another year shows that instead of seconds or time.
    """
    if value is None:
        return "–"
    local = value.astimezone(now.tzinfo)
    if year:
        return f"{local:%Y-%m-%d %H:%M:%S}" if seconds else f"{local:%Y-%m-%d %H:%M}"
    if local.year != now.year:
        return f"{local:%y-%m-%d %H:%M}" if seconds else f"{local:%Y-%m-%d}"
    return f"{local:%m-%d %H:%M:%S}" if seconds else f"{local:%m-%d %H:%M}"


def day(value: date | None) -> str:
    """Spell a day; a dash for none."""
    return value.isoformat() if value else "–"


def span(length: timedelta) -> str:
    """Spell how long something has lasted, by its two largest units; a clock set back is no time."""
    minutes = max(0, int(length.total_seconds() // 60))
    days, hours = divmod(minutes // 60, 24)
    if days:
        return _("%(days)d d %(hours)d h") % {"days": days, "hours": hours}
    if hours:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes % 60}
    return _("%(minutes)d min") % {"minutes": minutes}


def percent(value: Decimal) -> str:
    """Spell a percentage with two decimals."""
    return f"{value:.2f}%"
