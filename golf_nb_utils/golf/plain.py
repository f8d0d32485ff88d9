"""What somebody else's program sends, as a bounded copy of Python's own types.

An object's own methods may raise, or never come to an end. Each is called here and nowhere else; a
value that gives no copy is Unreadable.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from numbers import Number

LONGEST = 4000
"""Characters that are kept of a text."""
MOST = 100
"""Entries that are kept of a list or a mapping."""


class Unreadable:
    """What is left of a value that cannot be copied: its name, for a remark."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return self._name


def plain(value, depth: int = 2):
    """Return a copy of a value: a text, a number, None, or lists and dicts of these; never raises.

    `depth` says how far they may be nested. An array of one dimension is a list.
    """
    try:
        return _plain(value, depth)
    except Exception:
        # Whatever an object's own methods raise.
        return Unreadable("<object>")


def entries(value) -> Iterator:
    """Return the entries of a list or tuple; any other value is the only entry. Never raises."""
    for kind in (list, tuple):
        if issubclass(type(value), kind):
            return kind.__iter__(value)
    return iter([value])


def _plain(value, depth: int):
    kind = type(value)
    if value is None or kind in (bool, int, float):
        return value
    if issubclass(kind, str):
        return str.__getitem__(value, slice(LONGEST))
    if isinstance(value, Number):
        return float(value)
    if (shape := getattr(value, "shape", None)) is not None:
        if len(shape) == 0:
            return plain(value.item(), 0)
        if len(shape) == 1 and shape[0] <= MOST:
            return plain(value.tolist(), depth)
    if depth and isinstance(value, Mapping):
        return {plain(key, 0): _entry(value, key, depth - 1) for key in islice(value, MOST)}
    if depth and issubclass(kind, list | tuple):
        return [plain(entry, depth - 1) for entry in islice(entries(value), MOST)]
    return Unreadable(repr(value[:40]) if kind is bytes else f"<{kind.__name__}>")


def _entry(mapping: Mapping, key, depth: int):
    try:
        return plain(mapping[key], depth)
    except Exception:
        return Unreadable("<object>")
