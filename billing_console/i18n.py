"""Everything a person reads, in English and zh_CN, through gettext."""

from __future__ import annotations

import gettext
import locale
import os
from pathlib import Path

DOMAIN = "billing_console"
LOCALE_DIR = Path(__file__).parent / "locale"
LANGUAGES = {"en": "en", "zh": "zh_CN"}
"""What `--lang` takes, and the catalogue each stands for."""

_active: gettext.NullTranslations = gettext.NullTranslations()
_active_locale = LANGUAGES["en"]


def use_language(lang: str | None) -> str:
    """Switch every later message to `lang` ("en" or "zh"), or to the locale's language; return the one in force."""
    global _active, _active_locale
    chosen = lang or _language_of_locale()
    _active_locale = LANGUAGES[chosen]
    _active = gettext.translation(DOMAIN, LOCALE_DIR, [_active_locale], fallback=True)
    return chosen


def active_locale() -> str:
    """Return the catalogue in force, "en" or "zh_CN"."""
    return _active_locale


def _language_of_locale() -> str:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable)
        if value:
            return "zh" if locale.normalize(value).lower().startswith("zh") else "en"
    return "en"


def _(message: str) -> str:
    """Translate a message."""
    return _active.gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """Translate a message whose form depends on a count."""
    return _active.ngettext(singular, plural, count)


def pgettext(context: str, message: str) -> str:
    """Translate a message that means different things in different places."""
    return _active.pgettext(context, message)


def N_(message: str) -> str:
    """Mark a message for translation where it is defined but translated only when it is shown."""
    return message
