"""The settings file: where it is looked for and how it is read; light, so that the language is known first."""

from __future__ import annotations

import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import platformdirs

from billing_console.errors import Unavailable
from billing_console.i18n import LANGUAGES, _

PREFIX = "BILLING_CONSOLE_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
SHARED_ACCOUNTS = "shared_accounts"
"""The accounts that several people share, each named by a forced command; no variable and no option can set it."""

SYSTEM_FILE = Path("/etc/billing-console/config.toml")
"""Read when the user has no file of their own."""


def find_file(config: Path | None) -> Path | None:
    """Return the settings file that counts: the one named, else the user's, else the system's, if there is one."""
    named = config or os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    candidates = (platformdirs.user_config_path("billing-console", appauthor=False) / "config.toml", SYSTEM_FILE)
    return next((path for path in candidates if os.path.exists(path)), None)


def read_file(path: Path, *, only_roots: bool = False) -> dict[str, Any]:
    """Read a settings file; raise Unavailable, with the reason, if it cannot be read.

    With `only_roots` a file that somebody else can write says nothing. The file that was opened is looked at, not its
    name, which could lead elsewhere by then.
    """
    import tomllib  # which takes as long as a tenth of the program's own modules, and mostly there is no file

    try:
        with path.open("rb") as file:
            if only_roots and not _is_roots(file.fileno()):
                return {}
            return tomllib.load(file, parse_float=Decimal)
    except OSError as error:
        raise Unavailable(
            _("The settings file %(file)s cannot be read: %(reason)s.") % {"file": path, "reason": error.strerror},
            _("Check the path and its permissions."),
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unavailable(
            _("The settings file %(file)s is not valid TOML: %(reason)s.") % {"file": path, "reason": error},
            _('A line looks like: database_url = "sqlite:////path/to/billing.db"'),
        ) from None


def may_act_as_others(account: str, config: Path | None) -> bool:
    """Tell whether an account may use `--as`: only a settings file that root alone can write can say so."""
    path = find_file(config)
    allowed = {} if path is None else read_file(path, only_roots=True)
    named = allowed.get(SHARED_ACCOUNTS, [])
    return isinstance(named, list) and account in named


def _is_roots(number: int) -> bool:
    found = os.fstat(number)
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(found.st_mode) and found.st_uid == 0 and not writable


def chosen_language(lang: str | None, config: Path | None) -> str | None:
    """Return the language asked for by option, environment or file, None for the locale's.

    Wrong values are passed over here: they are reported, in some language, when the settings are loaded.
    """
    for named in (lang, os.environ.get(f"{PREFIX}LANG")):
        if named in LANGUAGES:
            return named
    try:
        path = find_file(config)
        value = None if path is None else read_file(path).get("lang")
    except Unavailable:
        return None
    return value if isinstance(value, str) and value in LANGUAGES else None
