"""JSON from outside, read exactly: decimals as Decimal, and nothing that is no JSON or names a thing twice."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from billing_console.i18n import _


class BadJson(ValueError):
    """Why JSON cannot be read, in words for people."""


def decode(text: str) -> Any:
    """Read JSON with exact numbers; raise BadJson for what is none or names a thing twice."""
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        where = {"reason": error.msg, "line": error.lineno, "column": error.colno}
        if error.lineno == 1:
            raise BadJson(_("not valid JSON: %(reason)s at column %(column)d") % where) from None
        raise BadJson(_("not valid JSON: %(reason)s at line %(line)d, column %(column)d") % where) from None
    except RecursionError:
        raise BadJson(_("not valid JSON: nested too deeply")) from None
    except BadJson:
        raise
    except ValueError:
        raise BadJson(_("not valid JSON: a number has too many digits")) from None


def _no_constant(name: str) -> None:
    raise BadJson(_("not valid JSON: %(name)s is no number") % {"name": name})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise BadJson(_("not valid JSON: a name is there twice"))
    return values


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_once)


def _loads(text: str) -> Any:
    """Decode as `json.loads` does, which would make a decoder for every line of a file."""
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    return _DECODER.decode(text)
