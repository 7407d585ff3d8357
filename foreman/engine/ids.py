"""Public names of things that are kept."""

import os
from typing import Final

# Crockford's base 32, two digits at a time.
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_SHIFTS: Final = range(120, -1, -10)


def new_id(now: int) -> str:
    """A ULID of this millisecond with fresh randomness: ids are public, so none may be guessed from another."""
    number = now << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
