"""The keys that the settings file chooses: checked against every binding before the console opens."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys

import screens
from billing_console.errors import Unavailable
from billing_console.i18n import _
from screens.base import DataPane
from screens.dialogs.base import Body, Dialog
from screens.widgets.table import RecordTable

NAMED_KEYS = {key.value for key in Keys} | {f"ctrl+{letter}" for letter in string.ascii_lowercase}
CHARACTERS = {
    "?": "question_mark",
    ":": "colon",
    "/": "slash",
    "[": "left_square_bracket",
    "]": "right_square_bracket",
    "-": "minus",
    "+": "plus",
    "!": "exclamation_mark",
    " ": "space",
}
"""Characters as Textual names their keys; letters and digits are their own names."""


@dataclass(frozen=True)
class Place:
    """Where keys work together: a tab with its table below the whole console, or a dialog."""

    bindings: tuple[Binding, ...]

    def taken(self, chosen: Mapping[str, str]) -> dict[str, set[str]]:
        """Return the ids that each key stands for."""
        keys: dict[str, set[str]] = {}
        for binding in self.bindings:
            for key in _keys(chosen.get(binding.id or "", binding.key)):
                keys.setdefault(key, set()).add(binding.id or "")
        return keys


def keymap(chosen: Mapping[str, str], everywhere: type[DOMNode]) -> dict[str, str]:
    """Return the keymap of the settings' [keys]; `everywhere` is the console, whose keys work on every tab.

    Raises Unavailable for an id that no binding has, a key there is none, and a key that already means something.
    """
    if not chosen:
        return {}
    places = list(_places(everywhere))
    known = sorted({binding.id for place in places for binding in place.bindings if binding.id})
    for name, keys in chosen.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            raise Unavailable(
                _("The settings' [keys] name “%(id)s”, which is no action.") % {"id": name},
                _("Did you mean “%(near)s”?") % {"near": near[0]},
            )
        for key in _keys(keys):
            if key not in NAMED_KEYS and not (len(key) == 1 and key.isalnum()) and key not in CHARACTERS.values():
                raise Unavailable(
                    _("The settings' [keys] give %(id)s the key “%(key)s”, which there is not.")
                    % {"id": name, "key": key},
                    _("Did you mean “%(near)s”?") % {"near": _near_key(key)},
                )
    for place in places:
        _refuse_conflict(place, chosen)
    return {name: ",".join(_keys(keys)) for name, keys in chosen.items()}


def _refuse_conflict(place: Place, chosen: Mapping[str, str]) -> None:
    taken = place.taken(chosen)
    for key, ids in taken.items():
        moved = sorted(ids & chosen.keys())
        if moved and len(ids) > 1:
            others = ", ".join(sorted(ids - {moved[0]}))
            free = [key.swapcase(), *string.ascii_lowercase, *string.ascii_uppercase]
            near = next((one for one in free if len(one) == 1 and one not in taken), "f12")
            raise Unavailable(
                _("The settings' [keys] give %(id)s the key “%(key)s”, which is that of %(others)s.")
                % {"id": moved[0], "key": key, "others": others},
                _("Free is “%(near)s”.") % {"near": near},
            )


def _places(everywhere: type[DOMNode]) -> Iterator[Place]:
    for module in pkgutil.walk_packages(screens.__path__, "screens."):
        importlib.import_module(module.name)
    for pane in _kinds(DataPane):
        yield Place((*_bindings(everywhere), *_bindings(pane), *_bindings(RecordTable)))
    for dialog in _kinds(Dialog):
        yield Place((*_bindings(dialog), *_bindings(Body), *_bindings(RecordTable)))


def _kinds(kind: type[DOMNode]) -> Iterator[type[DOMNode]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _bindings(kind: type[DOMNode]) -> Iterator[Binding]:
    for base in kind.__mro__:
        for binding in base.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.id:
                yield binding


def _keys(keys: str) -> Iterable[str]:
    """Split keys at commas, each as Textual names it."""
    return [CHARACTERS.get(key, key) for key in (each.strip() or each for each in keys.split(","))]


def _near_key(key: str) -> str:
    return (difflib.get_close_matches(key.lower(), NAMED_KEYS, n=1, cutoff=0) or ["f12"])[0]
