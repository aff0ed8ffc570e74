"""Import usage files: in batches, each row once, what cannot be taken kept aside; or, strictly, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlmodel import Session

from billing_console.errors import InvalidInput, Refused
from billing_console.i18n import _
from billing_console.rows import Row
from billing_console.services.actions import Action
from billing_console.services.audit import Trail
from billing_console.services.changes import change
from billing_console.services.conversion import Conversion
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult, record_usage_in
from billing_console.services.side_by_side import SideBySide
from billing_console.services.usage_blocks import BlockReader, Calls
from billing_console.services.usage_rejects import RejectFile, beside
from billing_console.services.usage_rows import FieldSources, RowReader
from billing_console.tabular import (
    BLOCK,
    STDIN,
    Form,
    Table,
    can_be_read_twice,
    copied,
    form_of,
    name_of,
    open_table,
)
from billing_console.text import one_line
from db.engine import make_room
from db.schema import UsageImport
from db.statements import row_of

SQLITE_BATCH = 10_000
POSTGRESQL_BATCH = 2000
"""Rows a transaction, at most. SQLite writes and flushes every page that changed with each, so it takes many rows; with
more still, others who write would wait longer than half a second."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How files are read; `form` None goes by each file's name, `zone` None is the business time zone."""

    sources: FieldSources
    form: Form | None = None
    zone: ZoneInfo | None = None
    conversion: Conversion = field(default_factory=Conversion)
    rejects: Path | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the rows, `unpriced` being part of `imported`; `rejects` are the files of rejected ones."""

    imported: int = 0
    duplicates: int = 0
    rejected: int = 0
    unpriced: int = 0
    rejects: tuple[Path, ...] = ()

    def plus(self, result: RecordResult) -> Imported:
        """Add what became of a batch that was recorded; its conflicts are counted when they are kept as rejects."""
        return replace(
            self,
            imported=self.imported + result.recorded,
            duplicates=self.duplicates + result.duplicates,
            unpriced=self.unpriced + result.unpriced,
        )


def batch_of(ledger: Ledger) -> int:
    """Return how many rows of a file a transaction has, at most."""
    return SQLITE_BATCH if ledger.database.is_sqlite else POSTGRESQL_BATCH


Progress = Callable[[Imported, int], None]
"""Told after every batch what became of the rows so far, and how many bytes of the files have been read."""


def import_usage(
    ledger: Ledger, paths: Sequence[Path], options: ImportOptions, progress: Progress | None = None
) -> Imported:
    """Import usage files; `-` is standard input. A row that was imported before is a duplicate and changes nothing.

    Good rows are imported batch by batch and rejected ones kept in a file; with `strict` one rejected row or a failure
    means that nothing is imported. Raises InvalidInput, before anything is imported, for a file that cannot give what
    is required, Unavailable for one that cannot be read.
    """
    _check_rejects(paths, options.rejects)
    run = _Run(ledger, options, progress or _no_progress)
    with ExitStack() as stack:
        sources = [stack.enter_context(_source(path, twice=options.strict)) for path in paths]
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


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to read, what people call it, and the path that was given for it."""

    path: Path
    name: str
    origin: Path


@dataclass(frozen=True, slots=True)
class _Batch:
    """The calls of some rows of a file, the other rows with what is wrong with each, and the file that these go to."""

    source: _Source
    rejects: RejectFile
    calls: Calls = field(default_factory=Calls)
    refused: list[tuple[Row, str]] = field(default_factory=list)

    @property
    def requests(self) -> set[tuple[str, str]]:
        """What the calls are known by."""
        return {(call.provider_id, call.request_id) for call in self.calls.usages}


class _Run:
    """One import: the counts so far, and how its files become calls."""

    def __init__(self, ledger: Ledger, options: ImportOptions, progress: Progress) -> None:
        self.ledger = ledger
        self.options = options
        self.counts = Imported()
        self._progress = progress
        self._position = 0

    @contextmanager
    def table(self, source: _Source) -> Iterator[tuple[Table, RowReader]]:
        """Open a file and find its columns; raise InvalidInput if required ones are missing."""
        form = self.options.form or form_of(source.origin)
        if form is Form.JSON:
            raise InvalidInput(
                _("%(file)s: usage is imported from CSV, or from JSON with one object a line.") % {"file": source.name},
                _("If it is that, add: --format jsonl"),
            )
        zone = self.options.zone or self.ledger.timezone
        with open_table(source.path, form, source.name) as table:
            yield table, RowReader(self.options.sources, table.columns, table.name, zone, self.options.conversion)

    def batches(self, source: _Source, rejects: RejectFile) -> Iterator[_Batch]:
        """Yield the rows of a file batch by batch."""
        with self.table(source) as (table, reader):
            block_reader = BlockReader(reader)
            before = self._position
            for number, blocks in enumerate(_chunks(table.blocks, batch_of(self.ledger))):
                if number == 0 and table.columns is None:
                    reader.check_first(list(chain.from_iterable(blocks)))
                batch = _Batch(source, rejects)
                for rows in blocks:
                    batch.refused.extend(block_reader.read(rows, batch.calls))
                self._position = before + table.progress()
                yield batch
            self._position = before + table.progress()

    def keep(self, batch: _Batch, outcomes: Iterable[_Outcome] = ()) -> None:
        """Count a batch once it is dealt with, keep the rows that were not imported, and tell of it."""
        for row, reason in batch.refused:
            self._reject(batch, row, reason)
        for calls, result in outcomes:
            if isinstance(result, Refused):
                self._reject(batch, calls.row(0), str(result))
                continue
            self.counts = self.counts.plus(result)
            for position, reason in result.conflicts:
                self._reject(batch, calls.row(position), reason)
        self._progress(self.counts, self._position)

    def _reject(self, batch: _Batch, row: Row, reason: str) -> None:
        batch.rejects.add(batch.source.name, row, reason)
        path, paths = batch.rejects.path, self.counts.rejects
        paths = paths if path in paths else (*paths, path)
        self.counts = replace(self.counts, rejected=self.counts.rejected + 1, rejects=paths)

    def register(self, session: Session, trail: Trail, source: _Source) -> int:
        """Note the import of a file, with the rate its costs were converted at, and return its id."""
        entry = UsageImport(
            file_name=source.name,
            source_currency=self.options.conversion.source_currency,
            exchange_rate=self.options.conversion.exchange_rate,
            operator=self.ledger.operator,
            created_at=self.ledger.clock(),
        )
        session.add(entry)
        session.flush()
        if entry.id is None:
            raise ValueError("an import has an id once it is stored")
        trail.fact("usage_imports", row_of(entry))
        return entry.id

    def each(self, sources: Iterable[_Source], take: Callable[[Iterator[_Batch]], None]) -> None:
        """Hand over the batches of every file; each file has its rejects, unless one is named."""
        with ExitStack() as stack:
            named = self.options.rejects
            shared = None if named is None else stack.enter_context(RejectFile(named))
            for source in sources:
                with nullcontext(shared) if shared else RejectFile(beside(source.origin)) as rejects:
                    take(self.batches(source, rejects))


def _chunks(blocks: Iterator[Sequence[Row]], rows: int) -> Iterator[list[Sequence[Row]]]:
    while chunk := list(islice(blocks, rows // BLOCK)):
        yield chunk


def _import_batches(run: _Run, sources: Sequence[_Source]) -> None:
    run.each(sources, partial(_import_file, run))


def _import_file(run: _Run, batches: Iterator[_Batch]) -> None:
    """Record the batches of a file: on PostgreSQL side by side; SQLite lets one writer in at a time."""
    number: int | None = None
    before: set[tuple[str, str]] = set()

    def keep(batch: _Batch, recorded: _Recorded) -> None:
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


_Outcome = tuple[Calls, RecordResult | Refused]
"""What became of some calls; what is refused is a single one."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The id of a file's import, which is noted with its first new record, and what became of the calls of a batch."""

    number: int | None
    outcomes: Sequence[_Outcome] = ()


class _NothingNew(Exception):
    """A batch of duplicates and conflicts only: its transaction is undone, so that it leaves nothing behind."""

    def __init__(self, result: RecordResult) -> None:
        super().__init__()
        self.result = result


def _record(run: _Run, source: _Source, calls: Calls, number: int | None) -> _Recorded:
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
        outcomes: list[_Outcome] = []
        for half in calls.halves():
            recorded = _record(run, source, half, number)
            number = recorded.number
            outcomes += recorded.outcomes
        return _Recorded(number, outcomes)
    return _Recorded(number, [(calls, result)])


class _Undo(Exception):
    """There is nothing new in a strict import, or a row that was rejected: everything is undone."""


def _import_strictly(run: _Run, sources: Sequence[_Source]) -> None:
    """Look at every row before the first is written, then write all in one transaction."""
    run.each(sources, partial(_look_at, run))
    if run.counts.rejected:
        return

    def work(session: Session, trail: Trail) -> None:
        make_room(session)
        run.counts = Imported()
        numbers: list[int] = []

        def take(batches: Iterator[_Batch]) -> None:
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


def _look_at(run: _Run, batches: Iterator[_Batch]) -> None:
    for batch in batches:
        run.keep(batch)


@contextmanager
def _source(path: Path, *, twice: bool) -> Iterator[_Source]:
    """Yield a file to read; to be read `twice`, a pipe is copied first."""
    if not twice or can_be_read_twice(path):
        yield _Source(path, name_of(path), path)
        return
    with copied(path) as copy:
        yield _Source(copy, name_of(path), path)
