"""What the options before the command decide: which settings and which ledger a command works on."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billing_console.errors import BillingError, NotPermitted
from billing_console.i18n import _
from billing_console.text import storable

if TYPE_CHECKING:
    import typer

    from billing_console.services.identity import Actor
    from billing_console.services.ledger import Ledger
    from billing_console.settings import Settings

LOCK_TIMEOUT_SECONDS = 30


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage while what stays is imported, nor look at that in any collection after it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclass
class Root:
    """The options before the command; the settings are read when a command first asks for them."""

    options: Mapping[str, Any]
    config: Path | None
    read_only: bool
    acting_as: str | None = None
    purpose: str = ""
    """The command, for the audit log where somebody who may not tries it."""

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Root:
        """Return what a line says that opens the console, by its options as they are spelled."""
        config = options.get("--config")
        return cls(
            {
                "database_url": options.get("--database"),
                "read_database_url": options.get("--read-database"),
                "lang": options.get("--lang"),
                "ascii": "--ascii" in options or None,
            },
            None if config is None else Path(config),
            "--read-only" in options,
            options.get("--as"),
            "console",
        )

    @cached_property
    def settings(self) -> Settings:
        """Load the settings, with a warning for every environment variable that sets nothing."""
        from billing_console.settings import load_settings, unknown_variables

        settings = load_settings(self.options, self.config)
        if warnings := unknown_variables():
            from billing_console.cli.output import say

            for warning in warnings:
                say(warning)
        return settings

    def actor(self) -> Actor:
        """Return who is at work: the person of this process, or whom a forced command names.

        Raises NotPermitted for `--as` where no settings file that root owns allows it to this account.
        """
        from billing_console.services.identity import forced, this_person
        from billing_console.settings_file import may_act_as_others

        person = this_person()
        if self.acting_as is None:
            return person
        if not may_act_as_others(person.account, self.config):
            raise NotPermitted(
                _("The account %(name)s may not use --as.") % {"name": person.account},
                _("Root allows it in a settings file that root owns: shared_accounts = [“%(name)s”]")
                % {"name": person.account},
            )
        return forced(storable(self.acting_as, "as", limit=100))

    @without_collections()
    def open(self, *, timeout: int = LOCK_TIMEOUT_SECONDS, part: str | None = None) -> Ledger:
        """Open the ledger the settings name; waits `timeout` seconds for locks. `part` acts by itself, as cron does."""
        from billing_console.services.identity import system
        from billing_console.services.ledger import open_ledger, record_refusal

        settings = self.settings
        try:
            actor = self.actor() if part is None else system(part)
        except NotPermitted as refusal:
            record_refusal(settings.database_url, self.purpose, refusal)
            raise
        return open_ledger(
            settings.database_url,
            low_threshold=settings.low_threshold_percent,
            require_quota=settings.require_quota,
            timezone=settings.business_timezone,
            currency=settings.currency,
            read_only=self.read_only,
            timeout=timeout,
            actor=actor,
            purpose=self.purpose,
        )

    def open_with_replica(self, *, timeout: int = LOCK_TIMEOUT_SECONDS) -> Ledger:
        """Open the ledger for those who show it for long, with the read replica that the settings name, if any."""
        ledger = self.open(timeout=timeout)
        url = self.settings.read_database_url
        if url is not None:
            from billing_console.services.replica import follow

            try:
                follow(ledger, url)
            except BillingError:
                ledger.close()
                raise
        return ledger


def root_of(context: typer.Context) -> Root:
    """Return what the options before the command decided, with the whole name of the command as its purpose."""
    root = context.find_object(Root)
    if root is None:
        raise RuntimeError("the root callback sets this before any command runs")
    _name, _space, command = context.command_path.partition(" ")
    root.purpose = command or root.purpose
    return root


def writable(context: typer.Context) -> Root:
    """Return the options before the command; raise NotPermitted in a read-only session, and audit that."""
    from billing_console.services.changes import read_only_session
    from billing_console.services.ledger import record_refusal

    root = root_of(context)
    if root.read_only:
        refusal = read_only_session()
        record_refusal(root.settings.database_url, root.purpose, refusal)
        raise refusal
    return root


@contextmanager
def opened(context: typer.Context) -> Iterator[Ledger]:
    """Yield the open ledger and close it at the end."""
    ledger = root_of(context).open()
    try:
        yield ledger
    finally:
        ledger.close()
