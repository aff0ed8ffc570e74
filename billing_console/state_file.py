"""What the console remembers for one person from one time to the next, as which columns are hidden.

It is worth nothing but convenience: a file that is broken or cannot be written stops nobody.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import platformdirs

from billing_console.atomic import replacing
from billing_console.errors import Unavailable
from billing_console.i18n import _


def state_file() -> Path:
    """Return the place of the file in the user's state directory."""
    return platformdirs.user_state_path("billing-console", appauthor=False) / "state.json"


def remembered(key: str) -> Any:
    """Return what was remembered under a key, None if nothing was; raise Unavailable for a file that is broken."""
    return _read().get(key)


def remember(key: str, value: Any) -> None:
    """Remember a JSON value under a key, for good; raise Unavailable if it cannot be written."""
    path = state_file()
    try:
        others = _read()
    except Unavailable:
        others = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            _("%(path)s cannot be written: %(reason)s.") % {"path": path, "reason": error.strerror}
        ) from error
    with replacing(path, mode=0o600) as file:
        json.dump({**others, key: value}, file, ensure_ascii=False, indent=1)


def _read() -> dict[str, Any]:
    path = state_file()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Unavailable(
            _("%(path)s cannot be read; nothing is remembered from it.") % {"path": path},
            _("Remove it, or set your choices again: they replace it."),
        ) from error
    return values
