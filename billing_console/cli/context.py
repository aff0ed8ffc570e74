"""What the options before the command decide: which settings and which ledger a command works on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from billing_console.cli.output import say

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger
    from billing_console.settings import Settings

LOCK_TIMEOUT_SECONDS = 30


@dataclass
class Root:
    """The options before the command; the settings are read when a command first asks for them."""

    options: Mapping[str, Any]
    config: Path | None
    read_only: bool

    @cached_property
    def settings(self) -> Settings:
        """Load the settings, with a warning for every environment variable that sets nothing."""
        from billing_console.settings import load_settings, unknown_variables

        settings = load_settings(self.options, self.config)
        for warning in unknown_variables():
            say(warning)
        return settings

    def open(self, *, timeout: int = LOCK_TIMEOUT_SECONDS) -> Ledger:
        """Open the ledger the settings name; waits `timeout` seconds for locks."""
        from billing_console.services.ledger import open_ledger

        settings = self.settings
        return open_ledger(
            settings.database_url,
            low_threshold=settings.low_threshold_percent,
            require_quota=settings.require_quota,
            timezone=settings.business_timezone,
            currency=settings.currency,
            read_only=self.read_only,
            timeout=timeout,
        )


def root_of(context: typer.Context) -> Root:
    """Return what the options before the command decided."""
    root = context.find_object(Root)
    if root is None:
        raise RuntimeError("the root callback sets this before any command runs")
    return root


@contextmanager
def opened(context: typer.Context) -> Iterator[Ledger]:
    """Yield the open ledger and close it at the end."""
    ledger = root_of(context).open()
    try:
        yield ledger
    finally:
        ledger.close()
