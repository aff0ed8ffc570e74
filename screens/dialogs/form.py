"""Forms: fields checked as you type, accepted with Enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from rich.segment import Segment
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult, RenderResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input

from billing_console.errors import BillingError, InvalidInput
from billing_console.i18n import N_, _
from billing_console.text import clean
from screens.dialogs.base import Dialog, Result
from screens.widgets.line import Line

if TYPE_CHECKING:
    pass


DENSE = 5
"""Fields from which a form gives no room to errors that are not there: it must fit on 24 lines."""


@dataclass(frozen=True)
class Field:
    """One field of a form. `parse` turns text into the value or raises InvalidInput, which is shown under the field."""

    name: str
    label: str
    """Marked with N_()."""

    parse: Callable[[str], Any] = str.strip
    initial: str = ""
    hint: str = ""
    """What a valid value looks like, shown while the field is empty; already translated."""

    suggestions: tuple[str, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    """(value, words already translated): makes the field a choice with ← and →."""


def required(text: str) -> str:
    """Parse text that must not be empty."""
    if not text.strip():
        raise InvalidInput(_("This cannot be empty."))
    return text.strip()


FIELD_KEYS: list[BindingType] = [
    Binding("enter", "submit", N_("OK")),
    Binding("down", "app.focus_next", N_("Field"), key_display="↑ ↓"),
    Binding("up", "app.focus_previous", N_("Previous field"), show=False),
]
"""On the fields themselves: the scrolling body around them has ↑ and ↓ of its own."""


STEPS = {"right": 1, "l": 1, "space": 1, "left": -1, "h": -1}
"""Keys that change a choice, and which way."""


def in_turn(field: Widget, event: events.Key) -> bool:
    """Handle keys that leave the field here and now, and pass on a key pressed after one but arriving here still.

    As bindings they bubble up and are overtaken by characters typed right after them: the reference after an amount
    would become part of the amount. Returns whether the key is done with.
    """
    screen = field.screen
    focused = screen.focused
    if focused is not None and focused is not field:
        focused._forward_event(events.Key(event.key, event.character))
    elif event.key == "enter":
        row = field.parent
        assert isinstance(screen, FormDialog) and isinstance(row, FieldRow)
        screen.enter(row)
    elif event.key in ("down", "tab"):
        screen.focus_next("FieldInput, Choice")
    elif event.key in ("up", "shift+tab"):
        screen.focus_previous("FieldInput, Choice")
    else:
        return False
    event.prevent_default().stop()
    return True


class FieldInput(Input):
    """A line of text whose keys the foot of the form names."""

    BINDINGS: ClassVar[list[BindingType]] = FIELD_KEYS

    cursor_blink = reactive(False, init=False)
    """Blinking would send bytes twice a second, over a slow line too."""

    async def _on_key(self, event: events.Key) -> None:
        in_turn(self, event)

    def render_line(self, y: int) -> Strip:
        """Draw a mark for each invisible character: prefilled ids and completions come from outside."""
        strip = super().render_line(y)
        if clean(strip.text) == strip.text:
            return strip
        inert = [Segment("".join(map(_drawn, text)), style) for text, style, _control in strip]
        return Strip(inert).adjust_cell_length(strip.cell_length)


def _drawn(character: str) -> str:
    return character if clean(character) == character else "�"


class Choice(Widget, can_focus=True):
    """One of a few values, changed with ← and → or Space; simpler over a slow line than a drop-down."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *FIELD_KEYS,
        Binding(",".join(key for key, step in STEPS.items() if step > 0), "step(1)", N_("Change"), key_display="← →"),
        Binding(",".join(key for key, step in STEPS.items() if step < 0), "step(-1)", N_("Change back"), show=False),
    ]

    index: reactive[int] = reactive(0)

    class Changed(Message):
        """Another value was chosen."""

    def __init__(self, choices: Sequence[tuple[str, str]], value: str, *, id: str) -> None:
        """Offer these (value, words), with `value` chosen."""
        super().__init__(id=id)
        self.choices = tuple(choices)
        values = [choice for choice, _words in self.choices]
        self.set_reactive(Choice.index, values.index(value) if value in values else 0)

    @property
    def value(self) -> str:
        """The chosen value."""
        return self.choices[self.index][0]

    async def _on_key(self, event: events.Key) -> None:
        step = STEPS.get(event.key)
        if not in_turn(self, event) and step is not None:
            event.prevent_default().stop()
            self.action_step(step)

    def choose(self, value: str) -> None:
        """Choose a value, without telling anybody."""
        self.index = [choice for choice, _words in self.choices].index(value)

    def action_step(self, step: int) -> None:
        """Choose the next or the previous value."""
        self.index = (self.index + step) % len(self.choices)
        self.post_message(self.Changed())

    def render(self) -> RenderResult:
        """Draw the value between arrows."""
        return Text(f"‹ {clean(self.choices[self.index][1])} ›", no_wrap=True, overflow="ellipsis")


class FieldRow(Vertical):
    """A label, its field and the line for its error, whose room is always kept so that nothing jumps."""

    def __init__(self, field: Field) -> None:
        """Keep the declaration of the field."""
        super().__init__(classes="field")
        self.field = field

    def compose(self) -> ComposeResult:
        """Lay out label, field and error."""
        field = self.field
        yield Line(_(field.label), classes="field-label")
        if field.choices:
            yield Choice(field.choices, field.initial, id=field.name)
        else:
            suggester = SuggestFromList(field.suggestions, case_sensitive=False) if field.suggestions else None
            yield FieldInput(
                field.initial,
                placeholder=field.hint,
                suggester=suggester,
                id=field.name,
                compact=True,
                select_on_focus=False,
            )
        yield Line(classes="field-error")

    @property
    def text(self) -> str:
        """What has been typed or chosen."""
        widget = self.query_one(f"#{self.field.name}")
        return widget.value if isinstance(widget, Input | Choice) else ""

    def fault(self, message: str) -> None:
        """Show an error under the field, or take it away."""
        self.query_one(".field-error", Line).say(f"✖ {message}" if message else "")
        self.set_class(bool(message), "-faulty")

    def focus_field(self) -> None:
        """Put the cursor into the field, at once."""
        self.screen.set_focus(self.query_one(f"#{self.field.name}"))

    def checked(self) -> tuple[bool, Any]:
        """Return whether the text is valid, and its value; show the error when it is not."""
        try:
            value = self.field.parse(self.text)
        except InvalidInput as error:
            self.fault(str(error))
            return False, None
        self.fault("")
        return True, value


class FormDialog(Dialog[Result], Generic[Result]):
    """A form. Enter goes to the next field and on the last one accepts; ↑ and ↓ move freely."""

    ENTER_ACCEPTS: ClassVar[bool] = False
    """Enter accepts the form from any field, for forms whose fields are all optional."""

    def fields(self) -> Sequence[Field]:
        """Declare the fields, in the order of the form."""
        raise NotImplementedError

    def accept(self, values: dict[str, Any]) -> None:
        """Every field is valid: go on."""
        raise NotImplementedError

    def compose_content(self) -> ComposeResult:
        """Lay out the fields."""
        fields = self.fields()
        with Vertical(id="form", classes="-dense" if len(fields) > DENSE else ""):
            for field in fields:
                yield FieldRow(field)

    def on_mount(self) -> None:
        """Begin in the first field."""
        if self.rows:
            self.rows[0].focus_field()

    @property
    def rows(self) -> list[FieldRow]:
        """The fields as laid out."""
        return list(self.query(FieldRow))

    @on(Input.Changed)
    def _check_as_typed(self, event: Input.Changed) -> None:
        row = event.input.parent
        assert isinstance(row, FieldRow)
        self.say("")
        if event.value.strip():
            row.checked()
        else:
            row.fault("")

    def enter(self, row: FieldRow) -> None:
        """Enter was pressed in a row: go to the next one, and from the last one on."""
        rows = self.rows
        if row is rows[-1] or self.ENTER_ACCEPTS:
            self.action_accept()
        elif row.checked()[0]:
            rows[rows.index(row) + 1].focus_field()

    def action_accept(self) -> None:
        """Check every field; go on when all are valid, else to the first that is not."""
        checked = [(row, *row.checked()) for row in self.rows]
        for row, valid, _value in checked:
            if not valid:
                row.focus_field()
                return
        self.say("")
        self.accept({row.field.name: value for row, _valid, value in checked})

    def refused(self, error: BillingError) -> None:
        """Show a refusal at its field, or above the keys; what was typed stays."""
        at = error.field if isinstance(error, InvalidInput) else ""
        for row in self.rows:
            if row.field.name == at:
                row.fault(str(error))
                row.focus_field()
                return
        self.say(f"✖ {error}")
