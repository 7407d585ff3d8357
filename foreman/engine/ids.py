"""Public names of things that are kept."""

import os

from ulid import ULID


def new_id(now: int) -> str:
    """A ULID of this millisecond with fresh randomness: ids are public, so none may be guessed from another."""
    return str(ULID.from_bytes(now.to_bytes(6, "big") + os.urandom(10)))
