"""From a row of a usage file to a call to record: which column holds which field, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from billing_console.cells import as_choice, as_decimal, as_instant, as_text, as_whole, missing, nearest
from billing_console.errors import InvalidInput
from billing_console.i18n import _
from billing_console.money import EXACT
from billing_console.rows import Row, value_at
from billing_console.services.conversion import Conversion
from billing_console.services.new_usage import MOST_QUANTITY, QUANTITY_STEP, NewUsage
from billing_console.text import one_line
from db.values import CallStatus, UsageType

FIELDS = (
    "requestId",
    "userId",
    "providerId",
    "modelId",
    "usageType",
    "inputTokens",
    "cachedInputTokens",
    "outputTokens",
    "totalTokens",
    "quantity",
    "costAmount",
    "status",
    "errorMessage",
    "createdAt",
)
"""The fields of a usage file, by the seed's names; docs/import.md describes them."""

REQUIRED = ("providerId", "modelId", "usageType", "createdAt")

ALWAYS_THERE = (*REQUIRED, "requestId", "inputTokens", "outputTokens", "totalTokens")
"""Fields that are never absent from a whole file of successful calls, so that their absence shows a misspelt path."""

MEASURES = ("inputTokens", "outputTokens", "quantity", "costAmount")
"""Of these a successful call must have one: a call without any would be billed as nothing by mistake."""


@dataclass(frozen=True, slots=True)
class FieldSources:
    """Where fields come from that a file does not name by the seed's names: another column, or one value for all."""

    columns: Mapping[str, str]
    values: Mapping[str, str]

    @classmethod
    def parse(cls, maps: Sequence[str], sets: Sequence[str]) -> FieldSources:
        """Read `field=column` and `field=value` pairs; raise InvalidInput for an unknown field or one named twice."""
        columns = _pairs(maps, "--map", "createdAt=TIMESTAMP")
        values = _pairs(sets, "--set", "providerId=azure")
        both = sorted(columns.keys() & values.keys())
        if both:
            raise InvalidInput(
                _("%(field)s is given by --map and by --set.") % {"field": both[0]},
                _("Keep one of them."),
                field=both[0],
            )
        return cls(columns, values)


def _pairs(options: Sequence[str], name: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        field, equals, value = (part.strip() for part in option.partition("="))
        if not equals or not value:
            raise InvalidInput(
                _("%(option)s takes a field and what it is, not “%(value)s”.")
                % {"option": name, "value": one_line(option, 40)},
                _("As in: %(option)s %(example)s") % {"option": name, "example": example},
            )
        if field not in FIELDS:
            raise InvalidInput(
                _("%(option)s: there is no field “%(field)s”.") % {"option": name, "field": one_line(field, 40)},
                nearest(field, FIELDS),
            )
        if field in found:
            raise InvalidInput(_("%(option)s names %(field)s twice.") % {"option": name, "field": field}, field=field)
        found[field] = value
    return found


class RowReader:
    """Reads the rows of one file; raises InvalidInput at once if the file cannot give what is required."""

    def __init__(
        self, sources: FieldSources, columns: tuple[str, ...] | None, name: str, zone: ZoneInfo, conversion: Conversion
    ) -> None:
        """Find out where each field comes from; `columns` None means that each row names its own (JSON)."""
        self.set = dict(sources.values)
        self._mapped = sources.columns
        self._name = name
        self.zone = zone
        self.conversion = conversion
        self.column = dict(sources.columns)
        for field in FIELDS:
            if field not in sources.columns and field not in sources.values and (columns is None or field in columns):
                self.column[field] = field
        if columns is not None:
            for field, column in sources.columns.items():
                if column not in columns:
                    raise self._no_column(field, column, columns)
        self._require(field for field in REQUIRED if field not in self.column and field not in self.set)

    def check_first(self, rows: Sequence[Row]) -> None:
        """Look at the first rows of a JSON file; raise InvalidInput for what none of them has but every file must."""
        good = [row for row in rows if not row.problem]
        given = [self._given(row) for row in good]
        if not given:
            return
        absent = [field for field in ALWAYS_THERE if all(each.get(field) is None for each in given)]
        self._require(field for field in absent if field in REQUIRED and field not in self._mapped)
        all_failed = all(each.get("status") == CallStatus.FAILED for each in given)
        for field in absent:
            if field in self._mapped and (field in REQUIRED or not all_failed):
                keys = dict.fromkeys(key for row in good[:100] for key in row.values)
                raise self._no_column(field, self._mapped[field], tuple(keys))

    def _no_column(self, field: str, column: str, columns: tuple[str, ...]) -> InvalidInput:
        return InvalidInput(
            _("%(file)s has no column “%(column)s” for %(field)s.")
            % {"file": self._name, "column": one_line(column, 60), "field": field},
            nearest(column, [one_line(each, 40) for each in columns if each][:60]),
            field=field,
        )

    def _require(self, fields: Iterable[str]) -> None:
        missing = list(fields)
        if missing:
            raise InvalidInput(
                _("%(file)s has no column for: %(fields)s.") % {"file": self._name, "fields": ", ".join(missing)},
                _("Name the column with --map %(field)s=COLUMN, or one value for all rows with --set %(field)s=VALUE.")
                % {"field": missing[0]},
                field=missing[0],
            )

    def read(self, row: Row) -> NewUsage:
        """Return the call a row stands for, validated; raise InvalidInput, naming the field, if it is none."""
        if row.problem:
            raise InvalidInput(row.problem)
        given = self._given(row)
        created_at = as_instant(given.get("createdAt"), "createdAt", self.zone)
        usage_type = as_choice(given.get("usageType"), "usageType", UsageType)
        cost = as_decimal(given.get("costAmount"), "costAmount")
        if created_at is None or usage_type is None:
            raise missing("createdAt" if created_at is None else "usageType")
        usage = NewUsage(
            provider_id=_required(given, "providerId"),
            model_id=_required(given, "modelId"),
            usage_type=usage_type,
            created_at=created_at,
            request_id=as_text(given.get("requestId"), "requestId") or f"row-{row.fingerprint}",
            user_id=as_text(given.get("userId"), "userId"),
            input_tokens=as_whole(given.get("inputTokens"), "inputTokens") or 0,
            cached_input_tokens=as_whole(given.get("cachedInputTokens"), "cachedInputTokens") or 0,
            output_tokens=as_whole(given.get("outputTokens"), "outputTokens") or 0,
            total_tokens=as_whole(given.get("totalTokens"), "totalTokens"),
            quantity=as_quantity(given.get("quantity")),
            cost_amount=None if cost is None else self.conversion.apply(cost, "costAmount"),
            status=as_choice(given.get("status"), "status", CallStatus) or CallStatus.SUCCESS,
            error_message=as_text(given.get("errorMessage"), "errorMessage"),
        )
        if usage.status is CallStatus.SUCCESS and all(given.get(field) in (None, "") for field in MEASURES):
            raise InvalidInput(_("none of %(fields)s is given.") % {"fields": ", ".join(MEASURES)}, field=MEASURES[0])
        usage.validate()
        return usage

    def _given(self, row: Row) -> dict[str, Any]:
        """Return what a row, or the options for all rows, have for each field."""
        return self.set | {field: value_at(row.values, column) for field, column in self.column.items()}


def _required(given: dict[str, Any], field: str) -> str:
    text = as_text(given.get(field), field)
    if text is None:
        raise missing(field)
    return text


def as_quantity(value: Any) -> Decimal | None:
    """Read a quantity, rounded once, half to even, to the ledger's step; one out of range is left to be refused."""
    quantity = as_decimal(value, "quantity")
    if quantity is None or abs(quantity) > MOST_QUANTITY:
        return quantity
    return quantity.quantize(QUANTITY_STEP, context=EXACT)
