"""Settings: option over environment over file over default, each value checked, each error naming where it stands."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

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


def _time_zone(name: str) -> str:
    try:
        zone(name)
    except InvalidInput as error:
        raise ValueError(error.message) from None
    return name


class Settings(BaseSettings):
    """Everything that can be set; the environment names are BILLING_CONSOLE_ and the field in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: str = Field(default_factory=lambda: sqlite_url(data_file("billing.db")), min_length=1)
    """The ledger: sqlite:////path/to/billing.db or postgresql://user@host/name."""

    lang: Literal["en", "zh"] | None = None
    """The language of everything a person reads; without it the locale decides."""

    business_timezone: Annotated[str, AfterValidator(_time_zone)] | None = None
    """The time zone whose days the statistics count, as the ledger was set up with; `init` takes Asia/Shanghai."""

    currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")
    """The currency of all amounts, as the ledger was set up with; `init` takes CNY."""

    low_threshold_percent: Decimal = Field(default=Decimal(10), ge=0, le=100, decimal_places=2)
    """A pool with less than this percentage left is low (seed, Alert monitoring), unless it has its own threshold."""

    require_quota: bool = False
    """Whether a user without a quota is refused instead of not limited (DESIGN.md, section 4)."""

    check_interval_minutes: int = Field(default=5, ge=1, le=1440)
    """How often the console checks the pools (seed, Notes)."""

    refresh_seconds: int = Field(default=5, ge=1, le=3600)
    """How often the console looks at the database."""

    theme: Literal["dark", "light", "high-contrast", "ansi"] = "dark"
    """The colours of the console."""

    ascii: bool = False
    """Whether the console draws with plain ASCII alone, for terminals and fonts that lack lines and blocks."""

    keys: dict[str, str] = Field(default_factory=dict)
    """Other keys for the console's actions: the id of a binding, and the key or keys, separated by commas."""


EXPECTED = {
    "database_url": N_("sqlite:////path/to/billing.db or postgresql://user@host/name"),
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


def load_settings(options: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Build the settings from the options given (None means not given), the environment and the first file found.

    Raises Unavailable, naming file or variable, key and what is expected, for anything that is not right.
    """
    given = {name: value for name, value in options.items() if value is not None}
    path = find_file(config)
    from_file = {} if path is None else read_file(path)
    if path is not None:
        _refuse_unknown(path, from_file)

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)

    try:
        return Sourced(**given)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise _wrong_value(key, given, path) from None


def _refuse_unknown(path: Path, values: Mapping[str, Any]) -> None:
    for key in values:
        if key not in Settings.model_fields and key != SHARED_ACCOUNTS:
            raise Unavailable(
                _("%(file)s: there is no setting “%(key)s”.") % {"file": path, "key": one_line(key)}, _nearest(key)
            )


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key.lower(), Settings.model_fields, n=1, cutoff=0.5)
    if near:
        return _("Did you mean “%(near)s”?") % {"near": near[0]}
    return _("The settings are: %(keys)s.") % {"keys": ", ".join(Settings.model_fields)}


def _wrong_value(key: str, given: Mapping[str, Any], path: Path | None) -> Unavailable:
    variable = PREFIX + key.upper()
    if key in given:
        where = _("option for %(key)s") % {"key": key}
    elif any(name.upper() == variable and value for name, value in os.environ.items()):
        where = variable
    else:
        where = f"{path}: {key}"
    return Unavailable(
        _("%(where)s does not have a value it can take.") % {"where": where},
        _("Expected is %(expected)s.") % {"expected": _(EXPECTED[key])},
    )


def unknown_variables() -> list[str]:
    """Return a warning for every BILLING_CONSOLE_ variable that sets nothing, with the nearest setting."""
    known = {PREFIX + key.upper() for key in Settings.model_fields} | {CONFIG_VARIABLE}
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
