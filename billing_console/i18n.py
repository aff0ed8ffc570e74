"""Everything a person reads, in English and zh_CN, through gettext."""

from __future__ import annotations

import gettext
import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

DOMAIN = "billing_console"
LOCALE_DIR = Path(__file__).parent / "locale"
LANGUAGES = {"en": "en", "zh": "zh_CN"}
"""What `--lang` takes, and the catalogue each stands for."""

_active: gettext.NullTranslations = gettext.NullTranslations()
_active_locale = LANGUAGES["en"]
_here: ContextVar[str | None] = ContextVar("_here", default=None)
"""The catalogue of one request among many that are answered at the same time."""


def use_language(lang: str | None) -> str:
    """Switch every later message to `lang` ("en" or "zh"), or to the locale's language; return the one in force."""
    global _active, _active_locale
    chosen = lang or _language_of_locale()
    _active_locale = LANGUAGES[chosen]
    _active = _read(_active_locale)
    return chosen


@contextmanager
def speaking(lang: str) -> Iterator[None]:
    """Say everything in `lang` ("en" or "zh") in this block, and in the threads it hands its context to."""
    token = _here.set(LANGUAGES[lang])
    try:
        yield
    finally:
        _here.reset(token)


@cache
def _read(name: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE_DIR, [name], fallback=True)


def _catalogue() -> gettext.NullTranslations:
    here = _here.get()
    return _active if here is None else _read(here)


def active_locale() -> str:
    """Return the catalogue in force here, "en" or "zh_CN"."""
    return _here.get() or _active_locale


def _language_of_locale() -> str:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable)
        if value:
            return "zh" if locale.normalize(value).lower().startswith("zh") else "en"
    return "en"


def _(message: str) -> str:
    """Translate a message."""
    return _catalogue().gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """Translate a message whose form depends on a count."""
    return _catalogue().ngettext(singular, plural, count)


def pgettext(context: str, message: str) -> str:
    """Translate a message that means different things in different places."""
    return _catalogue().pgettext(context, message)


def N_(message: str) -> str:
    """Mark a message for translation where it is defined but translated only when it is shown."""
    return message
