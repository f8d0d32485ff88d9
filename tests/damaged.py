"""A JSON file as it may be found: cut off, overwritten, or edited by hand in any one place."""

import copy
import json

OTHERS = (None, True, 7, -1, 1e308, "x", "../x", "", [], ["x"], {}, {"x": "y"})


def texts(content):
    """Bytes that are no JSON, or none that Python can hold; most of them are made of `content`."""
    half = len(content) // 2
    yield from (b"", content[:half], content[:-3], content[half:], content + b"}")
    yield from (b"\x00" * len(content), b"\xff\xfe" + content, content.replace(b'"', b"'"))
    yield from (b"[" * 200_000, b'{"a":' * 100_000, b"9" * 5000, b'{"files": ' + b"9" * 5000 + b"}")
    yield content.decode().encode("utf-16")


def values(value):
    """JSON of `value` with one thing in it gone, or another thing in its place."""
    for path in _paths(value):
        for other in OTHERS:
            yield json.dumps(
                _changed(value, path, lambda owner, key, other=other: owner.__setitem__(key, other))
            )
        yield json.dumps(_changed(value, path, lambda owner, key: owner.__delitem__(key)))
    yield from map(json.dumps, OTHERS)


def refusal(kind, call, *arguments):
    """The message of the error of this kind that a call raises, or an empty text."""
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    return ""


def _paths(value, path=()):
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in pairs:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _changed(value, path, change):
    value = copy.deepcopy(value)
    owner = value
    for key in path[:-1]:
        owner = owner[key]
    change(owner, path[-1])
    return value
