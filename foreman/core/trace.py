"""`traceparent`, by which a request is followed from one program to the next (W3C Trace Context).

Rules:
1. One that is malformed, or there twice, is no one's: it is dropped without a word, and `tracestate` with it.
2. One that is well formed is passed on as it came; foreman begins no traces and adds no parts.
"""

import re
from collections.abc import Iterable
from typing import Final

TRACEPARENT: Final = "traceparent"
_MARKS: Final = (TRACEPARENT, "tracestate")

_LENGTH: Final = 512
# A version that nobody knows yet may have more behind the flags.
_FORM: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")


def trace_id(value: str) -> str | None:
    """The trace that a `traceparent` names; None where it is malformed."""
    found = _FORM.fullmatch(value) if len(value) <= _LENGTH else None
    if found is None or (found[1] == "00" and found[3] is not None):
        return None
    return found[2]


def trace_of(headers: Iterable[tuple[str, str]]) -> str | None:
    """The trace that a request belongs to; names of headers in lower case."""
    found = None
    for name, value in headers:
        if name == TRACEPARENT:
            if found is not None:
                return None
            found = value
    return None if found is None else trace_id(found)


def followed(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers without what says of a trace nothing that can be followed; names in lower case."""
    for name, _ in headers:
        if name in _MARKS:
            break
    else:
        return headers
    if trace_of(headers) is not None:
        return headers
    return tuple((name, value) for name, value in headers if name not in _MARKS)


def carried(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Of the headers of a request, those by which it is followed; nothing else of it travels with its jobs."""
    lowered = ((name.lower(), value) for name, value in headers)
    return followed(tuple((name, value) for name, value in lowered if name in _MARKS))
