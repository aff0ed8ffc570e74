"""One row of the audit log, whole: who, from where, and every field before and after."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.content import Content

from billing_console.exact_json import BadJson, decode
from billing_console.i18n import _
from billing_console.text import clean, to_json
from billing_console.wire import jsonable
from screens import words
from screens.dialogs.base import Body, Dialog
from screens.dialogs.details import GAP, facts, room_in
from screens.widgets.line import Line

if TYPE_CHECKING:
    from billing_console.services.audit import AuditView

Fields = list[tuple[str, str, str]]
"""Name of a field, its value before, and after."""

NOTHING = "–"


class AuditEntryDialog(Dialog[None]):
    """A row never changes, so nothing is loaded."""

    def __init__(self, entry: AuditView) -> None:
        """Keep the row."""
        super().__init__()
        self.entry = entry

    def heading(self) -> str:
        """Return the title line."""
        return _("Row %(id)d of the audit log") % {"id": self.entry.id}

    def compose_content(self) -> ComposeResult:
        """Yield what happened, then what changed, then the claims and the hash."""
        room, line = room_in(self.app), Line(classes="details")
        parts = [facts(self._facts(), room=room)]
        fields = fields_of(self.entry)
        if fields:
            parts.append(side_by_side(fields, room=room))
        claims = Content.assemble((_("As the process claims"), "bold"))
        parts.append(Content("\n").join([claims, facts(self._claims(), room=room)]))
        parts.append(facts([(_("Hash"), self.entry.hash)], room=room))
        line.say(Content("\n\n").join(parts))
        yield line

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(Body).focus()

    def _facts(self) -> Iterator[tuple[str, str]]:
        entry = self.entry
        yield _("Time"), words.instant(entry.created_at, self.console.now(), year=True)
        yield _("Operator"), entry.operator
        yield _("Account"), _("%(account)s (uid %(uid)d)") % {"account": entry.account, "uid": entry.uid}
        yield _("Action"), entry.action
        yield _("Target"), entry.target or NOTHING
        yield _("Outcome"), words.state(entry.outcome).plain
        if entry.reason:
            yield _("Reason"), entry.reason

    def _claims(self) -> Iterator[tuple[str, str]]:
        entry = self.entry
        yield _("Login uid"), NOTHING if entry.login_uid is None else str(entry.login_uid)
        yield _("Terminal"), entry.tty or NOTHING
        yield _("SSH client"), entry.ssh_client or NOTHING
        yield _("Host"), entry.host or NOTHING


def fields_of(entry: AuditView) -> Fields:
    """Return every field that a row names, with what it was before and after."""
    before, after = _read(entry.before), _read(entry.after)
    return [(name, before.get(name, NOTHING), after.get(name, NOTHING)) for name in before | after]


def in_short(entry: AuditView) -> str:
    """Say on one line what changed, or why it was refused."""
    if entry.reason:
        return entry.reason
    return ", ".join(
        f"{name} {after}" if before == NOTHING else f"{name} {before} → {after}"
        for name, before, after in fields_of(entry)
        if before != after
    )


def _read(text: str | None) -> dict[str, str]:
    """Read the fields of a row; what somebody put there past the program is shown as it is."""
    if text is None:
        return {}
    try:
        fields = decode(text)
    except BadJson:
        return {"": text}
    return {name: _spelled(value) for name, value in fields.items()} if isinstance(fields, dict) else {"": text}


def _spelled(value: object) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else to_json(jsonable(value))


def side_by_side(fields: Fields, *, room: int) -> Content:
    """Lay fields out in three columns, name, before and after; long values wrap, and those that changed are bold."""
    rows = [("", _("Before"), _("After")), *fields]
    natural = [max(Text(clean(row[i])).cell_len for row in rows) for i in range(3)]
    name = min(natural[0], room // 3)
    both = room - name - 2 * len(GAP)
    before = min(natural[1], max(both // 2, both - natural[2]))
    lines = []
    for row in rows:
        style = "bold" if row in fields and row[1] != row[2] else ""
        wrapped = [_wrapped(text, width) for text, width in zip(row, (name, before, both - before), strict=True)]
        for label, old, new in zip_longest(*wrapped, fillvalue=""):
            lines.append(Content.assemble(_padded(label, name), GAP, _padded(old, before), GAP, (new, style)))
    return Content("\n").join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    return [str(line) for line in Content(clean(text)).wrap(max(1, width))] if text else [""]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - Text(text).cell_len)
