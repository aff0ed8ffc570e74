"""Import usage files: in batches, each row once, what cannot be taken kept aside; or, strictly, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlmodel import Session

from billing_console.errors import InvalidInput, Refused
from billing_console.i18n import _
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult, record_usage_in
from billing_console.services.side_by_side import SideBySide
from billing_console.services.usage_blocks import Calls
from billing_console.services.usage_import_run import (
    Batch,
    Imported,
    ImportOptions,
    Outcome,
    Progress,
    Run,
    Source,
    source_of,
)
from billing_console.tabular import STDIN, can_be_read_twice
from billing_console.text import one_line
from db.engine import make_room


def import_usage(
    ledger: Ledger, paths: Sequence[Path], options: ImportOptions, progress: Progress | None = None
) -> Imported:
    """Import usage files; `-` is standard input. A row that was imported before is a duplicate and changes nothing.

    Good rows are imported batch by batch and rejected ones kept in a file; with `strict` one rejected row or a failure
    means that nothing is imported. Raises InvalidInput, before anything is imported, for a file that cannot give what
    is required, Unavailable for one that cannot be read.
    """
    _check_rejects(paths, options.rejects)
    run = Run(ledger, options, progress or _no_progress)
    with ExitStack() as stack:
        sources = [stack.enter_context(source_of(path, twice=options.strict)) for path in paths]
        for source in sources:
            if can_be_read_twice(source.path):
                with run.table(source):
                    pass
        if options.strict:
            _import_strictly(run, sources)
        else:
            _import_batches(run, sources)
    return run.counts


def _no_progress(counts: Imported, position: int) -> None:
    """Tell nobody."""


def _check_rejects(paths: Sequence[Path], rejects: Path | None) -> None:
    if rejects is None:
        return
    if str(rejects) == STDIN or rejects.is_dir():
        raise InvalidInput(_("--rejects takes the name of a file."), field="rejects")
    if any(os.path.realpath(rejects) == os.path.realpath(path) for path in paths):
        raise InvalidInput(_("The rejected rows cannot take the place of the file they come from."), field="rejects")
    if not rejects.absolute().parent.is_dir():
        raise InvalidInput(
            _("There is no directory %(path)s.") % {"path": one_line(str(rejects.absolute().parent))},
            _("Name a place for the rejected rows that exists."),
            field="rejects",
        )


def _import_batches(run: Run, sources: Sequence[Source]) -> None:
    run.each(sources, partial(_import_file, run))


def _import_file(run: Run, batches: Iterator[Batch]) -> None:
    """Record the batches of a file: on PostgreSQL side by side; SQLite lets one writer in at a time."""
    number: int | None = None
    before: set[tuple[str, str]] = set()

    def keep(batch: Batch, recorded: _Recorded) -> None:
        nonlocal number
        number = recorded.number
        run.keep(batch, recorded.outcomes)

    with SideBySide[_Recorded](run.ledger.database.stop_writing) as others:
        for batch in batches:
            if number is None or run.ledger.database.is_sqlite:
                keep(batch, _record(run, batch.source, batch.calls, number))
                continue
            requests = batch.requests
            if not requests.isdisjoint(before):
                others.finish()  # of two rows with one request, the first is the one that is recorded
            before = requests
            others.begin(partial(_record, run, batch.source, batch.calls, number), partial(keep, batch))


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The id of a file's import, which is noted with its first new record, and what became of the calls of a batch."""

    number: int | None
    outcomes: Sequence[Outcome] = ()


class _NothingNew(Exception):
    """A batch of duplicates and conflicts only: its transaction is undone, so that it leaves nothing behind."""

    def __init__(self, result: RecordResult) -> None:
        super().__init__()
        self.result = result


def _record(run: Run, source: Source, calls: Calls, number: int | None) -> _Recorded:
    """Record a batch in one transaction; where the ledger refuses it, find the rows at fault by halving."""

    def work(session: Session, trail: Trail) -> tuple[int, RecordResult]:
        make_room(session)
        known = number if number is not None else run.register(session, trail, source)
        result = record_usage_in(session, run.ledger, trail, calls.usages, known)
        if not result.recorded:
            raise _NothingNew(result)
        trail.note(None, {"import": known, "recorded": result.recorded, "unpriced": result.unpriced})
        return known, result

    if not calls.usages:
        return _Recorded(number)
    try:
        number, result = change(run.ledger, Action.IMPORT, source.name, work, audit_refusal=False)
    except _NothingNew as nothing:
        result = nothing.result
    except Refused as refused:
        if len(calls.usages) == 1:
            return _Recorded(number, [(calls, refused)])
        outcomes: list[Outcome] = []
        for half in calls.halves():
            recorded = _record(run, source, half, number)
            number = recorded.number
            outcomes += recorded.outcomes
        return _Recorded(number, outcomes)
    return _Recorded(number, [(calls, result)])


class _Undo(Exception):
    """There is nothing new in a strict import, or a row that was rejected: everything is undone."""


def _import_strictly(run: Run, sources: Sequence[Source]) -> None:
    """Look at every row before the first is written, then write all in one transaction."""
    run.each(sources, partial(_look_at, run))
    if run.counts.rejected:
        return

    def work(session: Session, trail: Trail) -> None:
        make_room(session)
        run.counts = Imported()
        numbers: list[int] = []

        def take(batches: Iterator[Batch]) -> None:
            number = None
            for batch in batches:
                if number is None:
                    number = run.register(session, trail, batch.source)
                    numbers.append(number)
                result = record_usage_in(session, run.ledger, trail, batch.calls.usages, number)
                run.keep(batch, [(batch.calls, result)])

        run.each(sources, take)
        if run.counts.rejected or not run.counts.imported:
            raise _Undo
        trail.note(None, {"imports": numbers, "recorded": run.counts.imported, "unpriced": run.counts.unpriced})

    try:
        change(run.ledger, Action.IMPORT, ", ".join(source.name for source in sources), work)
    except _Undo:
        if run.counts.rejected:
            run.counts = Imported(rejected=run.counts.rejected, rejects=run.counts.rejects)


def _look_at(run: Run, batches: Iterator[Batch]) -> None:
    for batch in batches:
        run.keep(batch)
