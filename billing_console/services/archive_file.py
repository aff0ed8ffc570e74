"""Files of usage records: CSV in gzip, with a manifest beside it, that are read back before anything relies on them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from billing_console.atomic import replacing, unwritable
from billing_console.clock import iso
from billing_console.errors import Unavailable
from billing_console.i18n import _
from billing_console.money import EXACT, plain


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: calls, their cost in yuan, the highest id, and the SHA-256 of the file."""

    calls: int
    cost: Decimal
    last_id: int
    sha256: str


def write_archive(
    directory: Path, stem: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> tuple[str, Content]:
    """Write rows to a file of this directory, named after its content, and its manifest; return its name.

    Money is in yuan and times in UTC. Whatever happens, there is no file of that name that is not whole. Raises
    Unavailable where it cannot be written, or holds something else when it is read back.
    """
    temporary = None
    try:
        number, temporary = tempfile.mkstemp(prefix=f".{stem}.", suffix=".tmp", dir=directory)
        with os.fdopen(number, "wb") as file:
            written = _write(file, columns, rows)
            file.flush()
            os.fsync(file.fileno())
        found = read_archive(Path(temporary))
        if (found.calls, found.cost, found.last_id) != written:
            raise unwritable(directory / stem, _("what was read back differs"))
        name = f"{stem}-{found.sha256[:12]}.csv.gz"
        os.replace(temporary, directory / name)
        temporary = None
    except OSError as error:
        raise unwritable(directory, error.strerror) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
    manifest = {"file": name, "sha256": found.sha256, "calls": found.calls, "costAmount": plain(found.cost)}
    with replacing(directory / name.replace(".csv.gz", ".json"), mode=0o600) as text:
        json.dump(manifest | {"columns": list(columns)}, text, indent=2)
        text.write("\n")
    return name, found


def _write(file: IO[bytes], columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> tuple[int, Decimal, int]:
    calls, cost, last_id = 0, Decimal(0), 0
    # No name and no time in it: the same records make the same file.
    with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_spelled(row[name]) for name in columns])
            calls += 1
            cost = EXACT.add(cost, row["cost_amount"])
            last_id = max(last_id, row["id"])
    return calls, cost, last_id


def _spelled(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return iso(value) if isinstance(value, datetime) else value


def read_archive(path: Path) -> Content:
    """Read a whole file back. Raises Unavailable if it is not one, or is damaged."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        calls, cost, last_id = 0, Decimal(0), 0
        with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text):
                calls += 1
                cost = EXACT.add(cost, Decimal(row["cost_amount"]))
                last_id = max(last_id, int(row["id"]))
    except (OSError, EOFError, ValueError, ArithmeticError, KeyError, TypeError) as error:
        raise Unavailable(_("%(path)s is not a whole archive of usage records.") % {"path": path}) from error
    return Content(calls, cost, last_id, digest.hexdigest())
