"""The files of an import, batch by batch, and what has become of their rows so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlmodel import Session

from billing_console.errors import InvalidInput, Refused
from billing_console.i18n import _
from billing_console.rows import Row
from billing_console.services.audit import Trail
from billing_console.services.conversion import Conversion
from billing_console.services.ledger import Ledger
from billing_console.services.metering import RecordResult
from billing_console.services.usage_blocks import BlockReader, Calls
from billing_console.services.usage_rejects import RejectFile, beside
from billing_console.services.usage_rows import FieldSources, RowReader
from billing_console.tabular import BLOCK, Form, Table, can_be_read_twice, copied, form_of, name_of, open_table
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


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, what people call it, and the path that was given for it."""

    path: Path
    name: str
    origin: Path


@dataclass(frozen=True, slots=True)
class Batch:
    """The calls of some rows of a file, the other rows with what is wrong with each, and the file that these go to."""

    source: Source
    rejects: RejectFile
    calls: Calls = field(default_factory=Calls)
    refused: list[tuple[Row, str]] = field(default_factory=list)

    @property
    def requests(self) -> set[tuple[str, str]]:
        """What the calls are known by."""
        return {(call.provider_id, call.request_id) for call in self.calls.usages}


Outcome = tuple[Calls, RecordResult | Refused]
"""What became of some calls; what is refused is a single one."""


class Run:
    """One import: the counts so far, and how its files become calls."""

    def __init__(self, ledger: Ledger, options: ImportOptions, progress: Progress) -> None:
        """Begin with no row; `progress` is told after every batch."""
        self.ledger = ledger
        self.options = options
        self.counts = Imported()
        self._progress = progress
        self._position = 0

    @contextmanager
    def table(self, source: Source) -> Iterator[tuple[Table, RowReader]]:
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

    def batches(self, source: Source, rejects: RejectFile) -> Iterator[Batch]:
        """Yield the rows of a file batch by batch."""
        with self.table(source) as (table, reader):
            block_reader = BlockReader(reader)
            before = self._position
            for number, blocks in enumerate(_chunks(table.blocks, batch_of(self.ledger))):
                if number == 0 and table.columns is None:
                    reader.check_first(list(chain.from_iterable(blocks)))
                batch = Batch(source, rejects)
                for rows in blocks:
                    batch.refused.extend(block_reader.read(rows, batch.calls))
                self._position = before + table.progress()
                yield batch
            self._position = before + table.progress()

    def keep(self, batch: Batch, outcomes: Iterable[Outcome] = ()) -> None:
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

    def _reject(self, batch: Batch, row: Row, reason: str) -> None:
        batch.rejects.add(batch.source.name, row, reason)
        path, paths = batch.rejects.path, self.counts.rejects
        paths = paths if path in paths else (*paths, path)
        self.counts = replace(self.counts, rejected=self.counts.rejected + 1, rejects=paths)

    def register(self, session: Session, trail: Trail, source: Source) -> int:
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

    def each(self, sources: Iterable[Source], take: Callable[[Iterator[Batch]], None]) -> None:
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


@contextmanager
def source_of(path: Path, *, twice: bool) -> Iterator[Source]:
    """Yield a file to read; to be read `twice`, a pipe is copied first."""
    if not twice or can_be_read_twice(path):
        yield Source(path, name_of(path), path)
        return
    with copied(path) as copy:
        yield Source(copy, name_of(path), path)
