"""A table whose rows are one line high and whose columns are as wide as they are told, drawn quickly."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.coordinate import Coordinate
from textual.geometry import Size
from textual.widgets import DataTable
from textual.widgets.data_table import Row, RowKey


class LineTable(DataTable[Text], inherit_bindings=False):
    """Textual's DataTable, without what it does for rows of any height, widths of its own choice and the mouse.

    Textual measures each new cell and sends each through Rich's layout: a page of 30 rows took 60 ms, and 400 new rows
    took 100 ms more. Here a line is put together from its texts. Made for the version of Textual that is pinned.
    """

    def append_rows(self, rows: Iterable[tuple[str, Iterable[Text]]]) -> None:
        """Add rows below those there are, each with its key, at once: 400 of them took 40 ms one by one."""
        empty = not self.rows
        for key, cells in rows:
            row_key = RowKey(key)
            self._row_locations[row_key] = len(self.rows)
            self._data[row_key] = {column.key: cell for column, cell in zip(self.ordered_columns, cells, strict=True)}
            self.rows[row_key] = Row(row_key, height=1)
        self._update_count += 1
        self._require_update_dimensions = True
        self.cursor_coordinate = self.cursor_coordinate
        if empty and self.rows:
            self._highlight_cursor()
        self.check_idle()

    def _update_dimensions(self, new_rows: Iterable[RowKey]) -> None:
        """Add up the widths there are; Textual measures every cell of the new rows."""
        width = sum(column.get_render_width(self) for column in self.ordered_columns)
        self.virtual_size = Size(width, self.row_count + self.header_height)

    def _render_line_in_row(
        self,
        row_key: RowKey,
        line_no: int,
        base_style: Style,
        cursor_location: Coordinate,
        hover_location: Coordinate,
    ) -> tuple[list[list[Segment]], list[list[Segment]]]:
        """Draw a row or the header, without columns that stay when the others scroll: there are none."""
        header = row_key is self._header_row_key
        row = -1 if header else self.get_row_index(row_key)
        chosen = row == cursor_location.row
        css = (self.cursor_foreground_priority == "css", self.cursor_background_priority == "css")
        look = self._get_styles_to_render_cell(header, False, False, False, chosen, self.show_cursor, False, *css)
        style, post = self._get_row_style(row, base_style) + look[0], look[1]
        blank = style + post
        padding = self.cell_padding
        line: list[Segment] = []
        for column in self.ordered_columns:
            cell = _fitted(column.label if header else self._data[row_key][column.key], column.width)
            line.append(Segment(" " * padding, blank))
            own = style + self.app.console.get_style(cell.style)
            line.extend(Segment.apply_style(cell.render(self.app.console), own, post))
            line.append(Segment(" " * (column.width - cell.cell_len + padding), blank))
        used = sum(column.get_render_width(self) for column in self.ordered_columns)
        line.append(Segment(" " * max(0, self.size.width - used), style))
        return [], [line]


def _fitted(cell: Text, width: int) -> Text:
    """Cut a text to its column, and fill the column where the text says on which side."""
    text = cell.copy()
    text.end = ""
    if text.justify == "left" or text.justify == "right":
        text.align(text.justify, width)
    else:
        text.truncate(width)
    return text
