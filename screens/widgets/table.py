"""The table of every tab: typed columns, vim keys, columns that drop out where there is no room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.widgets import DataTable

from billing_console.i18n import N_, _
from billing_console.text import clean
from screens.binding_ids import named
from screens.widgets.line_table import LineTable

Item = TypeVar("Item")
_PADDING = 2


@dataclass(frozen=True)
class Column(Generic[Item]):
    """One column: what it shows of an item, what it sorts by, what it exports."""

    key: str
    """Header of the exported CSV: the seed's field name."""

    title: str
    """Header on the screen, marked with N_()."""

    cell: Callable[[Item], Text]

    export: Callable[[Item], object]
    """The raw value for CSV; also what `s` sorts by, unless `sort` says otherwise."""

    priority: int = 0
    """0 is always shown; where the room ends, the highest number drops out first, whole."""

    min_width: int = 4
    """A required column may be cut down to this, an optional one drops out before it is narrower."""

    max_width: int = 60
    right: bool = False
    """Aligned to the right and never cut: a number without its last digits is another number."""

    sort: Callable[[Item], Any] | None = None
    once: bool = False
    """Faint while it repeats the row above: it groups rows, and still tells when their first is scrolled off."""

    def order(self, item: Item) -> tuple[bool, Any]:
        """Return the key to sort by, items without a value last."""
        value = (self.sort or self.export)(item)
        return value is None, value if value is not None else 0


class RecordTable(LineTable, Generic[Item], inherit_bindings=False):
    """A table of items that touches only the cells that changed and keeps the cursor on its item."""

    BINDINGS: ClassVar[list[BindingType]] = named(
        "table",
        [
            Binding("j,down", "cursor_down", N_("Down"), show=False),
            Binding("k,up", "cursor_up", N_("Up"), show=False),
            Binding("h,left", "column_left", N_("Column to the left"), show=False),
            Binding("l,right", "column_right", N_("Column to the right"), show=False),
            Binding("g,home,ctrl+home", "scroll_top", N_("First row"), show=False),
            Binding("G,end,ctrl+end", "scroll_bottom", N_("Last row"), show=False),
            Binding("pagedown,ctrl+f", "page_down", N_("Page down"), show=False),
            Binding("pageup", "page_up", N_("Page up"), show=False),
            Binding("enter", "select_cursor", N_("Details")),
            Binding("s", "sort", N_("Sort")),
            Binding("y", "copy_cell", N_("Copy cell"), show=False),
            Binding("Y", "copy_row", N_("Copy row"), show=False),
        ],
    )

    PURE: ClassVar[bool] = False
    """Whether cells tell nothing but what their item holds, so that they stay while the very same item is shown."""

    _one_cell = False

    class Chosen(Message):
        """Enter was pressed on an item; `item` is what to show the details of."""

        def __init__(self, table: RecordTable[Any], item: Any) -> None:
            """Keep the table and the item chosen."""
            super().__init__()
            self.table = table
            self.item = item

        @property
        def control(self) -> RecordTable[Any]:
            """The table, so that `@on(RecordTable.Chosen, "#id")` works."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column[Item]],
        key: Callable[[Item], str],
        *,
        sortable: bool = True,
        details: bool = True,
        id: str | None = None,
    ) -> None:
        """Declare the columns and the primary key of an item; rows come by `show`. `details`: Enter does something."""
        super().__init__(id=id, cursor_type="row", zebra_stripes=True)
        self.all_columns = tuple(columns)
        self.key_of = key
        self.offered = {"sort": sortable, "select_cursor": details}
        self.items: tuple[Item, ...] = ()
        """The items in the order in which they are drawn."""
        self._given: tuple[Item, ...] = ()
        self._drawn: dict[str, tuple[Text, ...]] = {}
        self._spelled: dict[int, tuple[Item, tuple[Text, ...]]] = {}
        """The cells of each item, by its identity; the item is kept, so that no other takes its place."""
        self._layout: tuple[tuple[Column[Item], int], ...] = ()
        self._column_key = self.all_columns[0].key
        self._sorted: tuple[str, bool] | None = None
        self._awaited: str | None = None

    @property
    def current(self) -> Item | None:
        """The item under the cursor."""
        return self.items[self.cursor_row] if 0 <= self.cursor_row < len(self.items) else None

    def show(self, items: Iterable[Item]) -> None:
        """Show these items; the cursor stays on the same item while it is still there."""
        self._given = tuple(items)
        was_empty = not self.items
        self._redraw()
        if was_empty is bool(self.items):
            self.refresh_bindings()
        awaited, self._awaited = self._awaited, None
        if awaited is not None and awaited in self._drawn:
            self.select(awaited)

    def use_columns(self, columns: Sequence[Column[Item]]) -> None:
        """Show other columns from the next `show` on; until then the table is empty."""
        self.all_columns = tuple(columns)
        self._column_key, self._sorted = self.all_columns[0].key, None
        self.items = self._given = ()
        self._drawn, self._spelled, self._layout = {}, {}, ()

    def select(self, key: str) -> None:
        """Put the cursor on the item with this key, if it is there or comes with the next items."""
        if key in self._drawn:
            self.move_cursor(row=list(self._drawn).index(key))
        else:
            self._awaited = key

    def export_header(self) -> tuple[str, ...]:
        """Return the header of a CSV file of this table."""
        return tuple(column.key for column in self.all_columns)

    def export_row(self, item: Item) -> tuple[object, ...]:
        """Return the raw values of an item for a CSV file."""
        return tuple(column.export(item) for column in self.all_columns)

    def _redraw(self) -> None:
        self.items = tuple(self._in_order())
        drawn = {self.key_of(item): cells for item, cells in zip(self.items, self._cells(), strict=True)}
        layout = self._fit(drawn)
        appended = list(drawn)[: len(self._drawn)] == list(self._drawn)
        if layout != self._layout or not appended:
            self._rebuild(drawn, layout)
            return
        for key, cells in drawn.items():
            before = self._drawn.get(key)
            if before is None:
                continue
            if before != cells or any(a.style != b.style for a, b in zip(before, cells, strict=True)):
                self._update_row(key, before, cells)
        self._append(drawn, len(self._drawn))
        self._drawn = drawn

    def _append(self, drawn: dict[str, tuple[Text, ...]], start: int = 0) -> None:
        new = list(drawn.items())[start:]
        if new:
            self.append_rows((key, self._visible(cells)) for key, cells in new)

    def _in_order(self) -> Iterable[Item]:
        if self._sorted is None:
            return self._given
        key, reverse = self._sorted
        column = next(column for column in self.all_columns if column.key == key)
        return sorted(self._given, key=column.order, reverse=reverse)

    def _cells(self) -> Iterator[tuple[Text, ...]]:
        above: tuple[Text, ...] | None = None
        spelled, self._spelled = self._spelled if self.PURE else {}, {}
        for item in self.items:
            _item, cells = spelled.get(id(item), (None, None))
            if cells is None:
                cells = tuple(column.cell(item) for column in self.all_columns)
            if self.PURE:
                self._spelled[id(item)] = (item, cells)
            same = [
                column.once and above is not None and above[i] == cells[i] for i, column in enumerate(self.all_columns)
            ]
            yield tuple(_faint(cell) if repeated else cell for repeated, cell in zip(same, cells, strict=True))
            above = cells

    def _update_row(self, key: str, before: tuple[Text, ...], after: tuple[Text, ...]) -> None:
        shown = [column.key for column, _width in self._layout]
        for column, old, new in zip(self.all_columns, before, after, strict=True):
            if column.key in shown and (old != new or old.style != new.style):
                self._one_cell = True
                self.update_cell(key, column.key, new)
                self._one_cell = False
                self.refresh_coordinate(self.get_cell_coordinate(key, column.key))

    def refresh(self, *args: Any, **kwargs: Any) -> RecordTable[Item]:
        """Repaint as asked, but not the whole table for one cell: that is 25 KB over a slow line."""
        if not self._one_cell:
            super().refresh(*args, **kwargs)
        return self

    def _visible(self, cells: tuple[Text, ...]) -> list[Text]:
        shown = {column.key for column, _width in self._layout}
        return [cell for column, cell in zip(self.all_columns, cells, strict=True) if column.key in shown]

    def _rebuild(self, drawn: dict[str, tuple[Text, ...]], layout: tuple[tuple[Column[Item], int], ...]) -> None:
        at = max(self.cursor_row, 0)  # Textual puts it above the first row at the end of an empty table
        kept = list(self._drawn)[at] if at < len(self._drawn) else None
        offset = self.scroll_y
        row = list(drawn).index(kept) if kept in drawn else min(at, max(len(drawn) - 1, 0))
        self._layout, self._drawn = layout, drawn
        with self.app.batch_update(), self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            for column, width in layout:
                self.add_column(self._header(column), width=width, key=column.key)
            self._append(drawn)
            self.virtual_size = Size(sum(width + _PADDING for _column, width in layout), len(drawn) + 1)
            self.move_cursor(row=row, column=self._column_index(), scroll=False)
            self.set_scroll(None, min(offset, self.max_scroll_y))
        self._scroll_cursor_into_view()
        self.post_message(DataTable.RowHighlighted(self, row, next(iter(self.rows)))) if drawn else None

    def _fit(self, drawn: dict[str, tuple[Text, ...]]) -> tuple[tuple[Column[Item], int], ...]:
        """Choose columns and widths; they stay as wide as they are, unless a column comes back if they do not."""
        content = self._content(drawn)
        steady = self._fitted(content, {column.key: width for column, width in self._layout} if drawn else {})
        fresh = self._fitted(content, {})
        return fresh if len(fresh) > len(steady) else steady

    def _content(self, drawn: dict[str, tuple[Text, ...]]) -> dict[str, int]:
        """Return how wide each column's title and cells are."""
        return {
            column.key: max(
                Text(self._title(column)).cell_len,
                min(max((cells[index].cell_len for cells in drawn.values()), default=0), column.max_width),
            )
            for index, column in enumerate(self.all_columns)
        }

    def _fitted(self, content: dict[str, int], now: dict[str, int]) -> tuple[tuple[Column[Item], int], ...]:
        """Fit required columns first, then others by priority, then widen to content, no less wide than `now`."""
        natural = {key: max(width, now.get(key, 0)) for key, width in content.items()}
        room = self.size.width - (1 if self.show_vertical_scrollbar else 0)
        if room <= 0:
            return tuple((column, natural[column.key]) for column in self.all_columns)
        width = {c.key: natural[c.key] if c.right else min(natural[c.key], c.min_width) for c in self.all_columns}
        _squeeze(width, [column for column in self.all_columns if not column.priority], room)
        chosen: set[str] = set()
        for column in sorted(self.all_columns, key=lambda column: column.priority):
            needed = width[column.key] + _PADDING
            if column.priority and needed > room:
                break
            chosen.add(column.key)
            room -= needed
        # Those that lack least first: a long id must not leave every other column cut.
        for column in sorted(self.all_columns, key=lambda column: natural[column.key] - width[column.key]):
            if column.key in chosen and room > 0:
                extra = min(room, natural[column.key] - width[column.key])
                width[column.key] += extra
                room -= extra
        return tuple((column, width[column.key]) for column in self.all_columns if column.key in chosen)

    def _title(self, column: Column[Item]) -> str:
        mark = ""
        if self._sorted and self._sorted[0] == column.key:
            mark = "▼" if self._sorted[1] else "▲"
        return clean(_(column.title)) + mark

    def _header(self, column: Column[Item]) -> Text:
        style = "reverse" if column.key == self._column_key and len(self.all_columns) > 1 else ""
        return Text(
            self._title(column),
            style=style,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )

    def _column_index(self) -> int:
        keys = [column.key for column, _width in self._layout]
        return keys.index(self._column_key) if self._column_key in keys else 0

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the columns to the new width, whatever they were before: back at the old width all looks as before."""
        self._fit_again()

    def watch_show_vertical_scrollbar(self) -> None:
        """Give the scrollbar its column, or the columns what it leaves: it must not hide a digit."""
        self._fit_again()

    def _fit_again(self) -> None:
        layout = self._fitted(self._content(self._drawn), {})
        if layout != self._layout:
            self._layout = ()
            self._redraw()

    def _move_column(self, step: int) -> None:
        before = self._column_index()
        after = max(0, min(len(self._layout) - 1, before + step))
        if after == before or not self._layout:
            return
        self._column_key = self._layout[after][0].key
        for index in (before, after):
            column = self._layout[index][0]
            self.ordered_columns[index].label = self._header(column)
        self._clear_caches()
        self.move_cursor(column=after, scroll=False)
        self.refresh()

    def action_column_left(self) -> None:
        """Make the column to the left the one that `s` and `y` mean."""
        self._move_column(-1)

    def action_column_right(self) -> None:
        """Make the column to the right the one that `s` and `y` mean."""
        self._move_column(1)

    def action_sort(self) -> None:
        """Sort by the marked column; again turns the order round, a third time restores the first order."""
        key = self._column_key
        if self._sorted is None or self._sorted[0] != key:
            self._sorted = (key, False)
        else:
            self._sorted = None if self._sorted[1] else (key, True)
        self._layout = ()
        self._redraw()

    def action_select_cursor(self) -> None:
        """Ask for the details of the item under the cursor."""
        if self.current is not None:
            self.post_message(self.Chosen(self, self.current))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer keys only where they do something."""
        return action not in self.offered or (self.offered[action] and bool(self.items))

    def action_copy_cell(self) -> None:
        """Send the cell in the marked column to the terminal's clipboard."""
        if self.current is not None:
            key = self._layout[self._column_index()][0].key
            index = next(i for i, column in enumerate(self.all_columns) if column.key == key)
            self._copy(self.all_columns[index].cell(self.current).plain)

    def action_copy_row(self) -> None:
        """Send the row, tab-separated, to the terminal's clipboard."""
        if self.current is not None:
            self._copy("\t".join(column.cell(self.current).plain for column in self.all_columns))

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self.app.notify(_("Sent to the terminal's clipboard: %(text)s") % {"text": text[:60]}, markup=False, timeout=3)


def _squeeze(width: dict[str, int], required: list[Column[Any]], room: int) -> None:
    """Take from the widest text, cell by cell, what required columns need beyond the room: numbers stay whole."""
    texts = [column.key for column in required if not column.right and width[column.key] > 4]
    for _cell in range(sum(width[column.key] + _PADDING for column in required) - room):
        if texts:
            widest = max(texts, key=lambda key: width[key])
            width[widest] = max(4, width[widest] - 1)


def _faint(cell: Text) -> Text:
    return Text(cell.plain, style="dim", no_wrap=True, overflow="ellipsis", end="")
