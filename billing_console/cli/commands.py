"""Which commands there are; the module of one is imported once it is wanted, since all of them take a while."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer

from billing_console.cli.beforehand import CHECK_POOLS
from billing_console.i18n import N_

GROUPS = (
    "usage",
    "pools",
    "alerts",
    "quotas",
    "models",
    "prices",
    "operators",
    "limits",
    "budgets",
    "approvals",
    "audit",
    "tokens",
)
"""The commands that have commands of their own, each in the module of its name."""

COMMANDS = {
    CHECK_POOLS: (
        "check.check_pools",
        N_("Check the pools; exit 0 sufficient, 1 some low, 2 some depleted, 3 unknown."),
    ),
    "costs": ("costs.costs", N_("List cost statistics, by default of the last 30 days.")),
    "demo": ("setup.demo", N_("Open the console on a demo ledger of its own.")),
    "init": ("setup.init", N_("Create the ledger's database.")),
    "upgrade": ("setup.upgrade", N_("Bring an older database up to date.")),
    "reconcile": ("ledger.reconcile", N_("Compare every balance and statistic with the facts.")),
    "settle": ("ledger.settle", N_("Count the usage that a gateway inserted by itself.")),
    "maintain": (
        "ledger.maintain",
        N_("Make the monthly partitions of PostgreSQL, and move old usage records to files."),
    ),
    "serve": ("serve.serve", N_("Answer the HTTP API until it is stopped.")),
    "backup": ("backup.backup", N_("Write the ledger to a new file, while others work on.")),
    "restore": ("backup.restore", N_("Put a backup to a database that holds no ledger yet.")),
}
"""The other commands: module and function of each, and what the list of commands says of it."""


def add_commands(program: typer.Typer, only: str | None = None) -> None:
    """Give a program all commands, or `only` one of them."""
    for name in GROUPS:
        if only in (None, name):
            program.add_typer(_module(name).app, name=name)
    for name, (place, words) in COMMANDS.items():
        if only in (None, name):
            module, _dot, function = place.partition(".")
            program.command(name, help=words)(getattr(_module(module), function))


def _module(name: str) -> Any:
    return import_module(f"billing_console.cli.{name}")
