"""Type-ahead of filters: the users, providers and models that what was typed can become."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.suggester import Suggester

from billing_console import negation
from billing_console.errors import BillingError
from billing_console.i18n import _, ngettext
from billing_console.text import one_line

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger

SHOWN, MOST = 6, 100
"""Names shown at a time, and looked up; of users there may be millions."""

Lookup = Callable[["Ledger", str], Sequence[str]]


class KnownSuggester(Suggester):
    """Offers the first name that begins with what was typed, after a `!` too, and says which others there are."""

    def __init__(self, ledger: Ledger, known: Lookup, say: Callable[[str], None]) -> None:
        """Keep what to ask, and where to show the names."""
        super().__init__(case_sensitive=True, use_cache=False)
        self._ledger, self._known, self._say = ledger, known, say

    async def get_suggestion(self, value: str) -> str | None:
        """Return the whole text of the field, completed."""
        typed, negated = negation.read(value)
        if typed is None:
            self._say("")
            return None
        found = await asyncio.to_thread(self._found, typed)
        first = next((name for name in found if name.casefold().startswith(typed.casefold())), None)
        self._say(_words(found, first))
        return first and negation.spell(first, negated)

    def _found(self, typed: str) -> Sequence[str]:
        try:
            return self._known(self._ledger, typed)
        except BillingError:
            return ()


def _words(found: Sequence[str], first: str | None) -> str:
    """Say which name → takes, and which others it does not."""
    if not found:
        return _("none is known by that name")
    others = [one_line(name, 24) for name in found[:SHOWN] if name != first]
    more = len(found) - SHOWN
    if len(found) >= MOST:
        others.append(_("more than %(count)d more") % {"count": more - 1})
    elif more > 0:
        others.append(ngettext("%(count)d more", "%(count)d more", more) % {"count": more})
    names = {"name": one_line(first or "", 24), "names": " · ".join(others)}
    if first is None:
        return _("none begins so; known are %(names)s") % names
    return (_("→ takes %(name)s; others: %(names)s") if others else _("→ takes %(name)s")) % names


def _users(ledger: Ledger, typed: str) -> Sequence[str]:
    from billing_console.services.catalogue import user_ids

    return user_ids(ledger, typed, MOST)


def _providers(ledger: Ledger, typed: str) -> Sequence[str]:
    from billing_console.services.catalogue import providers

    alike = [one for one in providers(ledger) if typed.casefold() in f"{one.provider_id}\n{one.name}".casefold()]
    return _nearest([one.provider_id for one in alike], typed)


def _models(ledger: Ledger, typed: str) -> Sequence[str]:
    from billing_console.services.catalogue import model_ids

    return _nearest([model for model in model_ids(ledger) if typed.casefold() in model.casefold()], typed)


def _nearest(names: list[str], typed: str) -> list[str]:
    """Put first what begins with the text typed."""
    return sorted(names, key=lambda name: not name.casefold().startswith(typed.casefold()))


KNOWN: dict[str, Lookup] = {"user_id": _users, "provider_id": _providers, "model_id": _models}
"""How each field of a usage filter finds the names that the ledger knows."""
