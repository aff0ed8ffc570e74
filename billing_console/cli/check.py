"""`check-pools`: the pool check for cron and monitoring; its exit codes are those of the Monitoring Plugins."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import clock
from billing_console.atomic import replacing
from billing_console.check_output import CheckFormat, Outcome, State
from billing_console.cli.beforehand import CHECK_POOLS
from billing_console.cli.context import Root, root_of
from billing_console.cli.failures import failure_of, without_name
from billing_console.cli.options import ProviderOption
from billing_console.cli.output import flush, say, write
from billing_console.errors import BillingError
from billing_console.i18n import N_, _

if TYPE_CHECKING:
    from billing_console.services.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Report:
    """Where and how the outcome is written."""

    form: CheckFormat
    output: Path | None
    quiet: bool

    def publish(self, outcome: Outcome) -> State:
        """Write the outcome and return its state; an error also goes to stderr where stdout has no words."""
        if outcome.error and (self.output is not None or self.form in (CheckFormat.JSON, CheckFormat.PROMETHEUS)):
            say(f"billing-console: {outcome.error}")
        try:
            self._write(outcome)
        except BillingError as error:
            say(f"billing-console: {error}")
            return State.UNKNOWN
        except BrokenPipeError:
            return State.UNKNOWN
        return outcome.state

    def _write(self, outcome: Outcome) -> None:
        if self.output is not None:
            with replacing(self.output, mode=0o644) as file:
                file.write(outcome.spell(self.form))
        elif not (self.quiet and outcome.quiet):
            write(outcome.spell(self.form))
            flush()


def check_pools(
    context: typer.Context,
    provider: ProviderOption = None,
    form: Annotated[CheckFormat, typer.Option("--format", help=N_("How to write the result."))] = CheckFormat.TEXT,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help=N_("Write here, whole or not at all."))
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help=N_("Print only when a pool is not sufficient or something changed."))
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help=N_("Say what a check would do and write nothing."))
    ] = False,
    timeout: Annotated[int, typer.Option("--timeout", min=1, help=N_("Seconds for all of it."))] = 30,
) -> None:
    """Settle waiting usage, check the pools and exit 0 all sufficient, 1 some low, 2 some depleted, 3 unknown."""
    report = Report(form, None if str(output) == "-" else output, quiet)
    with _deadline(report, timeout):
        outcome = _outcome(root_of(context), provider, dry_run, timeout)
    raise typer.Exit(report.publish(outcome))


def _outcome(root: Root, provider: str | None, dry_run: bool, timeout: int) -> Outcome:
    """Check, and turn every failure into an outcome that says what is unknown and why."""
    nothing = Outcome(checked_at=clock.now())
    try:
        ledger = root.open(timeout=timeout, part=CHECK_POOLS)
        try:
            return _check(ledger, provider, dry_run)
        except BillingError as error:
            if dry_run:
                raise
            return replace(_check(ledger, provider, dry_run=True), error=str(error))
        finally:
            ledger.close()
    except Exception as error:
        _code, words = failure_of(error)
        return replace(nothing, error=without_name(words))


def _check(ledger: Ledger, provider: str | None, dry_run: bool) -> Outcome:
    if dry_run:
        from billing_console.services.check import check_pools

        found = check_pools(ledger, provider, dry_run=True)
    else:
        from billing_console.services.rounds import run_round

        found, _beyond = run_round(ledger, provider)
    return Outcome(found.checked_at, found.pools, symbol=ledger.symbol)


@contextmanager
def _deadline(report: Report, seconds: int) -> Iterator[None]:
    """End the process with an unknown outcome if the work takes longer.

    A thread does it, because a signal is not delivered while the database library waits for a lock. What was not
    committed is rolled back by the database.
    """

    ended = threading.Lock()

    def give_up() -> None:
        if ended.acquire(blocking=False):
            words = _("The check did not end within %(seconds)d seconds; the database is busy or out of reach.")
            try:
                report.publish(Outcome(checked_at=clock.now(), error=words % {"seconds": seconds}))
            finally:
                os._exit(State.UNKNOWN)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        ended.acquire()
        timer.cancel()


def fail(arguments: Sequence[str], words: str) -> int:
    """Say that nothing could be checked because the command line is wrong, in the format it asks for; return 3."""
    asked = {part for argument in arguments for part in argument.split("=")}
    form = next((form for form in CheckFormat if form.value in asked), CheckFormat.TEXT)
    return Report(form, None, quiet=False).publish(Outcome(checked_at=clock.now(), error=words))
