"""Completion of providers, models and users in filter forms, from what the ledger knows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from textual.suggester import Suggester, SuggestFromList
from textual.widgets import Input

from screens.console import ask

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from screens.dialogs.base import Dialog


class UserSuggester(Suggester):
    """Completes user ids from the ledger, of which there may be millions."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep the ledger to ask."""
        super().__init__(case_sensitive=True)
        self._ledger = ledger

    async def get_suggestion(self, value: str) -> str | None:
        """Return the first user whose id begins with what was typed."""
        return await asyncio.to_thread(_first_user, self._ledger, value)


def _first_user(ledger: Ledger, prefix: str) -> str | None:
    from billing_console.errors import BillingError
    from billing_console.services.catalogue import user_ids

    try:
        return next(iter(user_ids(ledger, prefix, 1)), None)
    except BillingError:
        return None


def complete_names(form: Dialog[Any]) -> None:
    """Make the fields `provider_id` and `model_id` of a form complete to what the ledger knows."""

    def suggest(known: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        for field, names in zip(("#provider_id", "#model_id"), known, strict=True):
            form.query_one(field, Input).suggester = SuggestFromList(names, case_sensitive=False)

    ask(form, _known, suggest, lambda _error: None, group="catalogue")


def _known(ledger: Ledger) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from billing_console.services.catalogue import model_ids, providers

    return tuple(provider.provider_id for provider in providers(ledger)), model_ids(ledger)


def text_or_none(text: str) -> str | None:
    """Read an optional field."""
    return text.strip() or None
