"""The Prefer header (RFC 7240), as far as it says how long a client wants to wait."""

from dataclasses import dataclass
from typing import Final

# Longer than any answer takes; it keeps the arithmetic of timers out of trouble.
WAIT_LIMIT: Final = 86_400
# Python turns no text of thousands of digits into a number.
WAIT_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Preference:
    """`wait` in seconds: 0 for an answer at once, None where the client waits for as long as it takes.

    `applied` is what the answer says it has followed, empty where nothing was asked.
    """

    wait: int | None = None
    applied: str = ""


def preference(header: str) -> Preference:
    """Read a Prefer header. What is unknown or malformed is ignored, as the RFC wants it.

    `respond-async` alone is an answer at once; with `wait=N` the client waits so long before it is told where to look.
    """
    asynchronous, wait = False, None
    for part in header.split(","):
        name, _, value = part.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            asynchronous = True
        elif name == "wait" and wait is None and value.isascii() and value.isdigit():
            wait = min(int(value), WAIT_LIMIT) if len(value) <= WAIT_DIGITS else WAIT_LIMIT
    if wait is not None:
        return Preference(wait, f"respond-async, wait={wait}" if asynchronous else f"wait={wait}")
    return Preference(0, "respond-async") if asynchronous else Preference()
