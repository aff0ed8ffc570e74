"""`audit`: who did what, and the proof that nobody changed the answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_console import wire
from billing_console.cli.context import opened
from billing_console.cli.options import FromOption, LimitOption, ToOption, instants
from billing_console.cli.output import (
    Column,
    Format,
    FormatOption,
    OneFormat,
    OneFormatOption,
    say,
    write_list,
    write_result,
)
from billing_console.cli.progress import bar
from billing_console.errors import ExitCode
from billing_console.i18n import N_, _, ngettext
from db.values import Outcome

if TYPE_CHECKING:
    from billing_console.services.audit import AuditView
    from billing_console.services.audit_verify import AuditFinding

app = typer.Typer(help=N_("The audit log: who did what, and whether somebody changed it."))

COLUMNS: tuple[Column[AuditView], ...] = (
    Column(N_("Id"), lambda entry: str(entry.id), right=True),
    Column(N_("Time"), lambda entry: entry.created_at),
    Column(N_("Operator"), lambda entry: entry.operator),
    Column(N_("Action"), lambda entry: entry.action),
    Column(N_("Target"), lambda entry: entry.target or None),
    Column(N_("Outcome"), lambda entry: entry.outcome),
    Column(N_("Before"), lambda entry: entry.before),
    Column(N_("After, or why not"), lambda entry: entry.reason or entry.after),
)

FINDING_COLUMNS: tuple[Column[AuditFinding], ...] = (
    Column(N_("Where"), lambda finding: finding.where),
    Column(N_("Problem"), lambda finding: finding.problem),
)


@app.command("list", help=N_("List changes and refusals, newest first."))
def list_all(
    context: typer.Context,
    operator: Annotated[str | None, typer.Option("--operator", metavar="NAME", help=N_("Only by this person."))] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="NAME", help=N_("Only this, as pools.recharge, or all of pools."))
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="TEXT", help=N_("Only where what was changed contains this."))
    ] = None,
    outcome: Annotated[Outcome | None, typer.Option("--outcome", help=N_("Only what was done, or refused."))] = None,
    start: FromOption = None,
    end: ToOption = None,
    limit: LimitOption = 100,
    after: Annotated[
        int | None, typer.Option("--after", metavar="ID", help=N_("Go on after this row, with older ones."))
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the log."""
    from billing_console.services.audit import AuditFilter, list_audit

    with opened(context) as ledger:
        first, last = instants(start, end, ledger.timezone)
        wanted = AuditFilter(operator, action, target, outcome, first, last)
        write_list(list_audit(ledger, wanted, limit=limit, before_id=after), wire.AUDIT, COLUMNS, form, ledger)


@app.command("verify", help=N_("Find what was changed, deleted, swapped or put in past the program."))
def verify(
    context: typer.Context,
    anchors: Annotated[
        Path | None,
        typer.Option("--anchors", metavar="FILE", help=N_("What “audit anchor” wrote, also in a system log.")),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Verify the log and all that it vouches for; findings are exit 1."""
    from billing_console.services.audit_anchor import read_anchors
    from billing_console.services.audit_verify import verify_audit

    heads = () if anchors is None else read_anchors(anchors)
    with opened(context) as ledger:
        with bar(_("Verifying the audit log")) as progress:
            done = verify_audit(ledger, heads, progress)
        if done.findings or form is not Format.TABLE:
            write_list(done.findings, wire.AUDIT_FINDING, FINDING_COLUMNS, form, ledger)
    if done.findings:
        found = ngettext(
            "%(count)d finding: somebody changed the ledger past the program.",
            "%(count)d findings: somebody changed the ledger past the program.",
            len(done.findings),
        )
        say(found % {"count": len(done.findings)})
        raise typer.Exit(ExitCode.REFUSED)
    words = _("The audit log is whole: %(rows)d rows, which vouch for %(facts)d facts. Its head is %(head)s.")
    say(words % {"rows": done.rows, "facts": done.facts, "head": done.head})
    if anchors is None:
        say(
            _("Without anchors (--anchors FILE) nobody can tell whether its end was cut off or all of it written anew.")
        )


@app.command("anchor", help=N_("Write down the head of the log, so that a cut or rewritten end is found."))
def anchor(
    context: typer.Context,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help=N_("Append to this file; without it, to the system log.")),
    ] = None,
    form: OneFormatOption = OneFormat.TEXT,
) -> None:
    """Write an anchor."""
    from billing_console.services.audit_anchor import take_anchor

    with opened(context) as ledger:
        taken = take_anchor(ledger, output)
        words = _("Written down: row %(id)d of the audit log, %(hash)s") % {"id": taken.id, "hash": taken.hash}
        write_result(wire.record(wire.ANCHOR, taken), words, form)
