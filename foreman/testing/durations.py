"""Go's durations, as `keep_alive` uses them."""

import re
from typing import Final

from foreman.testing.gojson import Refusal
from foreman.testing.residency import FOREVER

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def keep_alive_seconds(value: object) -> float | None:
    """Seconds, FOREVER for any negative value, None when nothing was said.

    Raises Refusal(400) with Go's texts: a string needs a unit, a bool is no duration.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refusal(400, f"Unsupported type: '{'bool' if isinstance(value, bool) else 'map[string]interface {}'}'")
    seconds = _parsed(value) if isinstance(value, str) else float(value)
    return FOREVER if seconds < 0 else min(seconds, FOREVER)


def _parsed(text: str) -> float:
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    if re.fullmatch(r"\d+\.?\d*", rest):
        raise Refusal(400, f'time: missing unit in duration "{text}"')
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise Refusal(400, f'time: invalid duration "{text}"')
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
