"""Settings: option over environment over file over default, each value checked, each error naming where it stands."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
import platformdirs
from msgspec import Meta

from billing_console.clock import zone
from billing_console.errors import InvalidInput, Unavailable
from billing_console.i18n import N_, _
from billing_console.settings_file import CONFIG_VARIABLE, PREFIX, SHARED_ACCOUNTS, find_file, read_file
from billing_console.text import clean, one_line


def data_file(name: str) -> Path:
    """Return the place of a database in the user's data directory."""
    return platformdirs.user_data_path("billing-console", appauthor=False) / name


def sqlite_url(path: Path) -> str:
    """Return the database URL of a SQLite file."""
    return f"sqlite:///{path}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set; the environment names are BILLING_CONSOLE_ and the field in capitals."""

    database_url: Annotated[str, Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: sqlite_url(data_file("billing.db"))
    )
    """The ledger: sqlite:////path/to/billing.db or postgresql://user@host/name."""

    read_database_url: Annotated[str, Meta(min_length=1)] | None = None
    """A PostgreSQL standby of the ledger's server, from which the console and the API read what they show."""

    lang: Literal["en", "zh"] | None = None
    """The language of everything a person reads; without it the locale decides."""

    business_timezone: str | None = None
    """The time zone whose days the statistics count, as the ledger was set up with; `init` takes Asia/Shanghai."""

    currency: Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")] | None = None
    """The currency of all amounts, as the ledger was set up with; `init` takes CNY."""

    low_threshold_percent: Decimal = Decimal(10)
    """A pool with less than this percentage left is low (seed, Alert monitoring), unless it has its own threshold."""

    require_quota: bool = False
    """Whether a user without a quota is refused instead of not limited (DESIGN.md, section 4)."""

    check_interval_minutes: Annotated[int, Meta(ge=1, le=1440)] = 5
    """How often the console checks the pools (seed, Notes)."""

    refresh_seconds: Annotated[int, Meta(ge=1, le=3600)] = 5
    """How often the console looks at the database."""

    theme: Literal["dark", "light", "high-contrast", "ansi"] = "dark"
    """The colours of the console."""

    ascii: bool = False
    """Whether the console draws with plain ASCII alone, for terminals and fonts that lack lines and blocks."""

    keys: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Other keys for the console's actions: the id of a binding, and the key or keys, separated by commas."""


EXPECTED = {
    "database_url": N_("sqlite:////path/to/billing.db or postgresql://user@host/name"),
    "read_database_url": N_("postgresql://user@host/name"),
    "lang": N_("“en” or “zh”"),
    "business_timezone": N_("a time zone like “Asia/Shanghai”"),
    "currency": N_("a currency code like “CNY”"),
    "low_threshold_percent": N_("a percentage from 0 to 100, with at most two decimals"),
    "require_quota": N_("true or false"),
    "check_interval_minutes": N_("a whole number from 1 to 1440"),
    "refresh_seconds": N_("a whole number from 1 to 3600"),
    "theme": N_("“dark”, “light”, “high-contrast” or “ansi”"),
    "ascii": N_("true or false"),
    "keys": N_('a table [keys] with lines like: pools-recharge = "R"'),
}
"""What each setting takes, for error messages."""


KEYS = Settings.__struct_fields__
TYPES = get_type_hints(Settings, include_extras=True)


def _is_time_zone(name: str) -> bool:
    try:
        zone(name)
    except InvalidInput:
        return False
    return True


def _is_percentage(number: Decimal) -> bool:
    return number.is_finite() and 0 <= number <= 100 and number == round(number, 2)


RULES: dict[str, Callable[[Any], bool]] = {
    "business_timezone": _is_time_zone,
    "low_threshold_percent": _is_percentage,
}
"""What a type cannot say."""


def load_settings(options: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Build the settings from the options given (None means not given), the environment and the first file found.

    Raises Unavailable, naming file or variable, key and what is expected, for anything that is not right.
    """
    path = find_file(config)
    from_file = {} if path is None else read_file(path)
    if path is not None:
        _refuse_unknown(path, from_file)
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    values = {}
    for key in KEYS:
        variable = PREFIX + key.upper()
        if options.get(key) is not None:
            values[key] = _taken(key, options[key], _("option for %(key)s") % {"key": key})
        elif variable in variables:
            values[key] = _taken(key, _spelled(key, variables[variable]), variable)
        elif key in from_file:
            values[key] = _taken(key, from_file[key], f"{path}: {key}")
    return Settings(**values)


def _spelled(key: str, text: str) -> Any:
    """Return what a variable's text stands for; one that stands for nothing is left for the check to refuse."""
    try:
        if TYPES[key] == TYPES["keys"]:
            return msgspec.json.decode(text)
        return msgspec.convert(text, TYPES[key], strict=False)
    except msgspec.MsgspecError:
        return None


def _taken(key: str, value: Any, where: str) -> Any:
    """Return a value that the setting can take; raise Unavailable, naming `where` it stands, for any other."""
    try:
        if value is None:
            raise ValueError
        taken = msgspec.convert(value, TYPES[key])
        if key in RULES and not RULES[key](taken):
            raise ValueError
    except ValueError:  # msgspec's is one as well
        raise Unavailable(
            _("%(where)s does not have a value it can take.") % {"where": where},
            _("Expected is %(expected)s.") % {"expected": _(EXPECTED[key])},
        ) from None
    return taken


def _refuse_unknown(path: Path, values: Mapping[str, Any]) -> None:
    for key in values:
        if key not in KEYS and key != SHARED_ACCOUNTS:
            raise Unavailable(
                _("%(file)s: there is no setting “%(key)s”.") % {"file": path, "key": one_line(key)}, _nearest(key)
            )


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key.lower(), KEYS, n=1, cutoff=0.5)
    if near:
        return _("Did you mean “%(near)s”?") % {"near": near[0]}
    return _("The settings are: %(keys)s.") % {"keys": ", ".join(KEYS)}


def unknown_variables() -> list[str]:
    """Return a warning for every BILLING_CONSOLE_ variable that sets nothing, with the nearest setting."""
    known = {PREFIX + key.upper() for key in KEYS} | {CONFIG_VARIABLE}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [
        _("The environment variable %(name)s sets nothing.") % {"name": clean(name)}
        + " "
        + _nearest_variable(name, known)
        for name in unknown
    ]


def _nearest_variable(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name.upper(), sorted(known), n=1)
    if near:
        return _("Did you mean “%(near)s”?") % {"near": near[0]}
    return _("Known are: %(names)s.") % {"names": ", ".join(sorted(known))}
