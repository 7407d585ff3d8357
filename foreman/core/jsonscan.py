"""A scanner for the top level of a JSON object, that keeps what parsers drop: order, duplicates, and where bytes stand.

Rules: it accepts and refuses exactly what Go's encoding/json scanner does; it never recurses, and its cost is linear
in the length of the text, whatever the text.
It must not know which keys matter, nor what they mean.
"""

import re
from collections.abc import Iterator
from typing import Final

Span = tuple[int, int]

MAX_DEPTH: Final = 10_000  # containers inside each other, as in Go's encoding/json

# All repeats of groups have bounds, because the regular expression engine keeps memory for each round of one. Groups
# are not possessive, because these match wrongly before Python 3.11.5 (gh-106052); repeats of one class may be.
_SPACE: Final = rb"[ \t\n\r]*+"
_PLAIN: Final = rb'[^"\\\x00-\x1f]'
_ESCAPE: Final = rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_SHORT: Final = rb'"' + _PLAIN + rb"{0,4096}+(?:" + _ESCAPE + _PLAIN + rb'{0,4096}+){0,256}"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_VALUE: Final = rb"(?:" + _SHORT + rb"|" + _NUMBER + rb"|true|false|null)"
_KEY: Final = _SPACE + _SHORT + _SPACE + rb":"
_COMMA: Final = _SPACE + rb","

_SPACES: Final = re.compile(_SPACE)
_COLON: Final = re.compile(_SPACE + rb":" + _SPACE)
_AFTER_VALUE: Final = re.compile(_SPACE + rb"([,\]}])")
_SHORT_STRING: Final = re.compile(_SHORT)
_STRETCH: Final = re.compile(rb"(?:" + _PLAIN + rb"++|" + _ESCAPE + rb"){0,1000}")
_SHORT_SCALAR: Final = re.compile(_VALUE)
_ITEMS: Final = re.compile(rb"(?:" + _SPACE + _VALUE + _COMMA + rb"){0,1000}" + _SPACE)
_MEMBERS: Final = re.compile(rb"(?:" + _KEY + _SPACE + _VALUE + _COMMA + rb"){0,1000}" + _SPACE)

_BARE: Final = re.compile(rb"[^ \t\n\r,\]}]++")
_TOKEN: Final = re.compile(rb'[^"\[\]{}]*+(["\[\]{}])')

_CONTROLS: Final = bytes(range(0x20))
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_OBJECT: Final = ord("{")
_ARRAY: Final = ord("[")
_CLOSING: Final = {_OBJECT: b"}", _ARRAY: b"]"}
_NOT_BARE: Final = frozenset({_QUOTE, _OBJECT, _ARRAY})


class NotJSON(ValueError):
    """The bytes do not begin with a JSON object that Go would accept. Never leaves floor 1."""


def members(body: bytes, *, checked: bool = False) -> Iterator[tuple[Span, Span]]:
    """The spans of each key (with its quotes) and value of the object `body` begins with, in order.

    `checked` says that its syntax is known to be right: then values are crossed without a look into them, which is ten
    times faster. Raises NotJSON, possibly after some members: a caller that must not act on half a body takes them all.
    """
    position = _skip_space(body, 0)
    if _at(body, position) != _OBJECT:
        raise NotJSON("not an object")
    position = _skip_space(body, position + 1)
    if body[position : position + 1] == b"}":
        return
    separator = b","
    while separator == b",":
        position = _skip_space(body, position)
        key_end = _string_end(body, position)
        value = _cross_colon(body, key_end)
        end = _cross(body, value) if checked else _scalar_end(body, value) or _container_end(body, value)
        yield (position, key_end), (value, end)
        separator, position = _after_value(body, end)
    if separator != b"}":
        raise NotJSON("object ends with another bracket")


def _at(body: bytes, position: int) -> int | None:
    return body[position] if position < len(body) else None


def _skip_space(body: bytes, position: int) -> int:
    return _end(_SPACES.match(body, position))


def _cross_colon(body: bytes, position: int) -> int:
    return _end(_COLON.match(body, position))


def _after_value(body: bytes, position: int) -> tuple[bytes, int]:
    match = _AFTER_VALUE.match(body, position)
    return (match[1] if match else b""), _end(match)


def _end(match: re.Match[bytes] | None) -> int:
    if match is None:
        raise NotJSON("syntax error")
    return match.end()


def _scalar_end(body: bytes, position: int) -> int | None:
    """Where the scalar at `position` ends; None when a container begins there."""
    match = _SHORT_SCALAR.match(body, position)
    if match:
        return match.end()
    first = _at(body, position)
    if first == _QUOTE:
        return _string_end(body, position)
    if first in _CLOSING:
        return None
    raise NotJSON("no value")


def _string_end(body: bytes, position: int) -> int:
    match = _SHORT_STRING.match(body, position)
    if match:
        return match.end()
    if _at(body, position) != _QUOTE:
        raise NotJSON("no string")
    position += 1
    quote = body.find(b'"', position)
    if quote > 0 and body.find(b"\\", position, quote) < 0:  # an image in base64: far cheaper than the loop below
        stretch = body[position:quote]
        if len(stretch.translate(None, _CONTROLS)) == len(stretch):
            return quote + 1
        raise NotJSON("control character in a string")
    while True:
        end = _end(_STRETCH.match(body, position))
        if _at(body, end) == _QUOTE:
            return end + 1
        if end == position:
            raise NotJSON("bad string")
        position = end


def _container_end(body: bytes, position: int) -> int:
    """Where the array or object at `position` ends, everything in it checked."""
    open_kinds: list[int] = []
    while True:
        kind = body[position]
        open_kinds.append(kind)
        if len(open_kinds) >= MAX_DEPTH:  # the object around it counts too
            raise NotJSON("too deep")
        position = _skip_space(body, position + 1)
        if body[position : position + 1] == _CLOSING[kind]:
            position = _climb(body, position, open_kinds)
        while open_kinds:
            position = _next_value(body, position, open_kinds[-1])
            end = _scalar_end(body, position)
            if end is None:
                break
            position = _climb(body, end, open_kinds)
        else:
            return position


def _next_value(body: bytes, position: int, kind: int) -> int:
    """Cross all plain members in one step, up to the value that needs a closer look."""
    if kind == _ARRAY:
        return _end(_ITEMS.match(body, position))
    return _cross_colon(body, _string_end(body, _end(_MEMBERS.match(body, position))))


def _climb(body: bytes, position: int, open_kinds: list[int]) -> int:
    """After a value: cross the comma, or close containers until there is one, or none is left."""
    separator = b""
    while open_kinds and separator != b",":
        separator, position = _after_value(body, position)
        if separator != b",":
            if separator != _CLOSING[open_kinds[-1]]:
                raise NotJSON("wrong closing bracket")
            open_kinds.pop()
    return position


def _cross(body: bytes, position: int) -> int:
    """Where the value at `position` ends, if its syntax is right."""
    if _at(body, position) not in _NOT_BARE:
        return _end(_BARE.match(body, position))
    depth = 0
    while True:
        position = _end(_TOKEN.match(body, position))
        token = body[position - 1]
        if token == _QUOTE:
            position = _cross_string(body, position)
        else:
            depth += 1 if token in _CLOSING else -1
        if depth <= 0:
            return position


def _cross_string(body: bytes, position: int) -> int:
    """From behind the opening quote of a string to behind its closing one."""
    while True:
        quote = body.find(b'"', position)
        if quote < 0:
            raise NotJSON("string without an end")
        first = quote
        while body[first - 1] == _BACKSLASH:
            first -= 1
        position = quote + 1
        if (quote - first) % 2 == 0:
            return position
