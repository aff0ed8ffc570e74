"""How commands answer: data on stdout in the format asked for, words on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import typer

from billing_console import wire
from billing_console.clock import iso
from billing_console.errors import Unavailable
from billing_console.i18n import N_, _
from billing_console.text import clean, csv_line, to_json
from billing_console.wire import Fields, jsonable, record

if TYPE_CHECKING:
    from billing_console.services.approvals import ApprovalView
    from billing_console.services.ledger import Ledger

View = TypeVar("View")


class Format(StrEnum):
    """How a list is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class OneFormat(StrEnum):
    """How one thing is written."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help=N_("How to write the list."))]
OneFormatOption = Annotated[OneFormat, typer.Option("--format", help=N_("How to write the result."))]


@dataclass(frozen=True, slots=True)
class Column(Generic[View]):
    """A table column: its heading, the value of a row, and whether it stands at the right as numbers do."""

    title: str
    value: Callable[[View], object]
    right: bool = False


def say(words: str) -> None:
    """Write one line for people to stderr, so that stdout stays data; where it takes none, the exit code has to do."""
    with suppress(OSError):
        print(clean(words), file=sys.stderr)


def write(data: str) -> None:
    """Write data to stdout; raise Unavailable if it cannot be, since lost output must not look like success."""
    with _reported():
        sys.stdout.write(data)


def flush() -> None:
    """Make sure that everything written has arrived; raises as `write` does."""
    with _reported():
        sys.stdout.flush()


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unavailable(_("The output could not be written: %(reason)s.") % {"reason": error.strerror}) from error


def write_one(data: Mapping[str, object], facts: Iterable[tuple[str, object]], form: OneFormat, ledger: Ledger) -> None:
    """Write one thing as a JSON object, or as named facts below each other."""
    if form is OneFormat.JSON:
        write_json(data)
    else:
        from billing_console.cli.table import draw_facts

        draw_facts(facts, ledger)


def write_result(data: Mapping[str, object], words: str, form: OneFormat) -> None:
    """Write what a command did as a JSON object, or in a sentence."""
    if form is OneFormat.JSON:
        write_json(data)
    else:
        write(f"{clean(words)}\n")


def write_money_result(data: Mapping[str, object], words: str, replayed: bool, form: OneFormat) -> None:
    """Write what a money operation did, or that the same key had done it before."""
    if replayed:
        words = _("Already done before, nothing was changed now: %(what)s") % {"what": words}
    write_result({**data, "replayed": replayed}, words, form)


def write_waiting(request: ApprovalView, form: OneFormat) -> None:
    """Write that a money operation waits for a second person."""
    words = _("Request %(id)d waits for approval by another admin until %(until)s: billing-console approvals list") % {
        "id": request.id,
        "until": iso(request.expires_at),
    }
    write_result({**record(wire.APPROVAL, request), "replayed": request.replayed}, words, form)


def write_json(value: object) -> None:
    """Write a JSON document."""
    write(to_json(jsonable(value), indent=2) + "\n")


def write_list(
    rows: Sequence[View], fields: Fields[View], columns: Sequence[Column[View]], form: Format, ledger: Ledger
) -> None:
    """Write a list: a table for people, or records by the seed's field names for programs."""
    if form is Format.TABLE:
        from billing_console.cli.table import draw

        if rows:
            draw(rows, columns, ledger)
        else:
            say(_("Nothing found."))
    elif form is Format.JSON:
        write_json([record(fields, row) for row in rows])
    else:
        for line in lines(rows, fields, form):
            write(line)


def lines(rows: Iterable[View], fields: Fields[View], form: Format) -> Iterator[str]:
    """Yield the lines of a CSV (heading first) or JSONL file, one record each."""
    if form is Format.CSV:
        yield csv_line(fields)
    for row in rows:
        values = record(fields, row)
        if form is Format.CSV:
            yield csv_line(wire.csv_value(value) for value in values.values())
        else:
            yield to_json(jsonable(values)) + "\n"
