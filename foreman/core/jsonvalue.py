"""Values of a JSON text as Ollama sees them: strings unescaped and mended, numbers, and no look into containers.

Rules: bad UTF-8 and lone surrogates are replaced, never refused, one U+FFFD for each (Go's encoding/json).
It must not know where in a document a value stands.
"""

import re
from typing import Final

Scalar = str | int | float | bool | tuple[()] | None

CONTAINER: Final[tuple[()]] = ()
"""Stands for an object or an array, whose content nobody asks for."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPED: Final = re.compile(
    r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)"
)
_LETTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def scalar(token: bytes) -> Scalar:
    """The value that `token` spells; CONTAINER for an object or an array.

    Whole numbers beyond 64 bits become floats, as they do in Go; a float too large for a double is infinite.
    """
    match token[:1]:
        case b'"':
            return text(token)
        case b"[" | b"{":
            return CONTAINER
        case b"t" | b"f":
            return token == b"true"
        case b"n":
            return None
    if len(token) <= 20 and not re.search(rb"[.eE]", token):
        number = int(token)
        if -(2**63) <= number < 2**64:
            return number
    return float(token)


def text(token: bytes) -> str:
    """The string that `token` spells (its quotes included), unescaped and mended."""
    decoded = _SURROGATE.sub("\ufffd", token[1:-1].decode("utf-8", "surrogateescape"))
    return _ESCAPED.sub(_unescape, decoded) if "\\" in decoded else decoded


def _unescape(match: re.Match[str]) -> str:
    high, low, single, letter = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if single:
        return _SURROGATE.sub("\ufffd", chr(int(single, 16)))
    return _LETTERS.get(letter, letter)
