"""The pool check as monitoring reads it: text, JSON, Nagios plugin output and Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from billing_console import wire
from billing_console.i18n import N_, _, ngettext
from billing_console.money import plain, shown
from billing_console.text import clean, to_json
from db.values import AlertLevel, BalanceStatus, Threshold

if TYPE_CHECKING:
    from billing_console.services.check import PoolCheck
    from billing_console.services.pools import PoolView


class CheckFormat(StrEnum):
    """How the result is written."""

    TEXT = "text"
    JSON = "json"
    NAGIOS = "nagios"
    PROMETHEUS = "prometheus"


class State(IntEnum):
    """The exit codes of the Monitoring Plugins guidelines."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


CHANGES = {
    "raised": N_("alert raised"),
    "escalated": N_("alert escalated"),
    "eased": N_("alert eased"),
    "resolved": N_("alert resolved"),
}
"""What a check did, for people."""

NOT_IN_LABELS = {ord(character): f"\\x{ord(character):02x}" for character in "|='\""}
"""What a label of performance data cannot hold, spelled as control characters are, so that no two labels coincide."""

STATUS_STATES = {
    BalanceStatus.SUFFICIENT: State.OK,
    BalanceStatus.LOW: State.WARNING,
    BalanceStatus.DEPLETED: State.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check to be written: what was found and, if it did not come to its end, what went wrong."""

    checked_at: datetime
    pools: tuple[PoolCheck, ...] = ()
    error: str = ""
    symbol: str = "¥"

    @property
    def state(self) -> State:
        """Return the worst state; what could not be checked to the end is unknown."""
        if self.error:
            return State.UNKNOWN
        return max((STATUS_STATES[status_of(check)] for check in self.pools), default=State.OK)

    @property
    def quiet(self) -> bool:
        """Tell whether there is nothing to say: every pool sufficient and nothing changed."""
        return self.state is State.OK and not any(check.change for check in self.pools)

    def spell(self, form: CheckFormat) -> str:
        """Write the outcome in one of the formats, ending in a newline."""
        writers = {
            CheckFormat.TEXT: _text,
            CheckFormat.JSON: _json,
            CheckFormat.NAGIOS: _nagios,
            CheckFormat.PROMETHEUS: _prometheus,
        }
        return "\n".join(writers[form](self)) + "\n"


def status_of(check: PoolCheck) -> BalanceStatus:
    """Return the status of a checked pool, which always has one."""
    if check.pool.status is None:
        raise ValueError(f"{check.pool.provider_id} was checked but has no pool")
    return check.pool.status


def _summary(outcome: Outcome) -> str:
    """Spell the first line; its words in capitals are the ones monitoring knows and are not translated."""
    if outcome.error:
        return f"POOLS UNKNOWN - {clean(outcome.error)}"
    if not outcome.pools:
        return "POOLS OK - " + _("no pools")
    counted = [status_of(check) for check in outcome.pools]
    parts = [
        words % {"count": counted.count(status)}
        for status, words in (
            (BalanceStatus.DEPLETED, _("%(count)d depleted")),
            (BalanceStatus.LOW, _("%(count)d low")),
            (BalanceStatus.SUFFICIENT, _("%(count)d ok")),
        )
        if status in counted
    ]
    return f"POOLS {outcome.state.name} - {', '.join(parts)}"


def _text(outcome: Outcome) -> Iterator[str]:
    yield _summary(outcome)
    worst_first = sorted(outcome.pools, key=lambda check: -STATUS_STATES[status_of(check)])
    for check in worst_first:
        if check.change or check.pool.status is not BalanceStatus.SUFFICIENT:
            yield _line(check, outcome.symbol)


def _line(check: PoolCheck, symbol: str) -> str:
    pool = check.pool
    line = _("%(provider)s: %(status)s, %(available)s of %(total)s left (%(percent)s%%)") % {
        "provider": clean(pool.provider_id),
        "status": _(status_of(check)),
        "available": shown(pool.available_balance, symbol=symbol),
        "total": shown(pool.total_balance, symbol=symbol),
        "percent": f"{pool.balance_percentage:.2f}",
    }
    if pool.status is BalanceStatus.LOW:
        line += "".join(_crossed(pool, symbol))
    return f"{line}, {_(CHANGES[check.change])}" if check.change else line


def _crossed(pool: PoolView, symbol: str) -> Iterator[str]:
    """Say what else makes a pool low: its percentage stands in the line already."""
    if Threshold.AMOUNT in pool.crossed and pool.low_amount is not None:
        yield _(", below %(amount)s") % {"amount": shown(pool.low_amount, symbol=symbol)}
    if Threshold.DAYS in pool.crossed:
        yield _(", lasts less than %(days)s days") % {"days": pool.low_days}


def low_below(pool: PoolView, symbol: str) -> str:
    """Spell below what a pool is low, thresholds that are off left out."""
    parts = [f"{pool.low_threshold:.2f}%"]
    if pool.low_amount is not None:
        parts.append(shown(pool.low_amount, symbol=symbol))
    if pool.low_days is not None:
        parts.append(ngettext("%(count)d day", "%(count)d days", pool.low_days) % {"count": pool.low_days})
    return _(" or ").join(parts)


def _json(outcome: Outcome) -> Iterator[str]:
    report: dict[str, object] = {
        "status": outcome.state.name.lower(),
        "checkedAt": outcome.checked_at,
        "complete": not outcome.error,
        "pools": [
            wire.record(wire.POOL, check.pool)
            | {"alert": None if check.alert is None else wire.record(wire.ALERT, check.alert), "changed": check.change}
            for check in outcome.pools
        ],
    }
    if outcome.error:
        report["error"] = clean(outcome.error)
    yield to_json(wire.jsonable(report), indent=2)


def _nagios(outcome: Outcome) -> Iterator[str]:
    """Spell one line of words and its performance data; a `|` in the words would begin the data."""
    problems = [_line(check, outcome.symbol) for check in outcome.pools if STATUS_STATES[status_of(check)] > State.OK]
    words = "; ".join([_summary(outcome), *problems]).replace("|", "/")
    data = " ".join(part for check in outcome.pools for part in _performance(check))
    yield f"{words} | {data}" if data else words


def _performance(check: PoolCheck) -> Iterator[str]:
    """Spell percentage and balance with the ranges that alert: `10:` is below 10, `@~:0` is 0 and less."""
    pool = check.pool
    label = clean(pool.provider_id).translate(NOT_IN_LABELS)
    yield f"'{label}_avail_pct'={pool.balance_percentage:.2f}%;{pool.low_threshold:f}:;@~:0"
    yield f"'{label}_avail'={plain(pool.available_balance)};;@~:0;0;{plain(pool.total_balance)}"


def _prometheus(outcome: Outcome) -> Iterator[str]:
    """Spell the metrics for node_exporter's textfile collector; after a failure only that it failed.

    Balances of an earlier check would otherwise look like those of this one.
    """
    success = Decimal(not outcome.error)
    yield from _metric("billing_check_success", "Whether the last pool check came to its end.", [("", success)])
    if outcome.error:
        return
    when = Decimal(int(outcome.checked_at.timestamp()))
    yield from _metric(
        "billing_check_last_success_timestamp_seconds", "When the pools were last checked.", [("", when)]
    )
    pools = [(_labels(provider=check.pool.provider_id), check.pool) for check in outcome.pools]
    for name, description, value in (
        ("available_balance", "What is left in the pool, in the ledger's currency.", "available_balance"),
        ("total_balance", "What was paid into the pool, in the ledger's currency.", "total_balance"),
        ("used_amount", "What was used of the pool, in the ledger's currency.", "used_amount"),
    ):
        samples = [(labels, getattr(pool, value)) for labels, pool in pools]
        yield from _metric(f"billing_pool_{name}", description, samples)
    ratios = [(labels, pool.balance_percentage / 100) for labels, pool in pools]
    yield from _metric("billing_pool_balance_ratio", "Share of the pool that is left, 1 is full.", ratios)
    states = [
        (_labels(provider=check.pool.provider_id, state=state), Decimal(check.pool.status is state))
        for check in outcome.pools
        for state in BalanceStatus
    ]
    yield from _metric("billing_pool_state", "1 for the state the pool is in, 0 for the others.", states)
    levels = [check.alert.alert_level for check in outcome.pools if check.alert and not check.alert.is_resolved]
    alerts = [(_labels(severity=level), Decimal(levels.count(level))) for level in AlertLevel]
    yield from _metric("billing_open_alerts", "Balance alerts that are open.", alerts)


def _metric(name: str, description: str, samples: list[tuple[str, Decimal]]) -> Iterator[str]:
    if samples:
        yield f"# HELP {name} {description}"
        yield f"# TYPE {name} gauge"
        yield from (f"{name}{labels} {value:f}" for labels, value in samples)


def _labels(**labels: str) -> str:
    escaped = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{','.join(escaped)}}}"


def _escaped(value: str) -> str:
    return clean(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
