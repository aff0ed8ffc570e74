"""Opening the console on the ledger that the settings name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from billing_console.cli.context import Root


def open_console(root: Root) -> int:
    """Open the console on the ledger the settings name and return its exit code."""
    from billing_console.terminal import ConsoleOptions, run_console

    settings = root.settings
    options = ConsoleOptions(
        open=root.open_with_replica,
        label=label_of(settings.database_url),
        read_only=root.read_only,
        refresh_seconds=settings.refresh_seconds,
        check_interval=timedelta(minutes=settings.check_interval_minutes),
        theme=settings.theme,
        ascii=settings.ascii,
        keys=settings.keys,
    )
    return run_console(options)


def label_of(url: str) -> str:
    """Name a database for people: the path of a file, or the URL without its password."""
    from urllib.parse import urlsplit, urlunsplit

    if url.startswith("sqlite:///"):
        return url.removeprefix("sqlite:///")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    user = host[0].partition(":")[0]
    named = f"{user}@{host[2]}" if user else host[2]
    return urlunsplit(parts._replace(scheme=parts.scheme.partition("+")[0], netloc=named, query=""))
