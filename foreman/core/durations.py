"""How long a model is to stay loaded: what a `keep_alive` says.

Rules: those of Ollama's Duration and Go's time.ParseDuration: a number is seconds, text needs a unit ("10m", "1h30m"),
anything negative means for ever.
It must not know whose keep_alive it is.
"""

import math
import re
from decimal import Decimal
from typing import Final

from foreman.core.jsonvalue import Scalar

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART: Final = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_PARTS: Final = re.compile(_PART)
_TEXT: Final = re.compile(rf"([-+]?)(0|(?:{_PART})+)")
_LONGEST: Final = 2**63 - 1  # nanoseconds; Go keeps a duration in 64 bits
_LONGEST_TEXT: Final = 1000  # characters; keeps odd numbers from costing time


def keep_alive_seconds(value: Scalar) -> float | None:
    """Seconds, infinite for "for ever"; None where there is no value or Ollama refuses it."""
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        return None
    nanoseconds = value * 10**9  # of a large float this is infinite
    return math.inf if value < 0 or nanoseconds > _LONGEST else int(nanoseconds) / 10**9


def _parsed(text: str) -> float | None:
    match = _TEXT.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        return None
    total = sum(int(Decimal(number) * _NANOSECONDS[unit]) for number, unit in _PARTS.findall(match[2]))
    if total > _LONGEST:
        return None
    return math.inf if match[1] == "-" and total > 0 else total / 10**9
