"""Embedding vectors: a pure function of the text, of length one."""

import hashlib
import math
import struct
from typing import Final

_SIZE: Final = 32


def vector(text: str, dimensions: object = None) -> list[float]:
    """The normalised vector of a text; `dimensions` at most shortens it."""
    raw = [byte - 127.5 for byte in hashlib.sha256(text.encode("utf-8", "replace")).digest()]
    wanted = dimensions if isinstance(dimensions, int) and 0 < dimensions < _SIZE else _SIZE
    length = math.sqrt(sum(value * value for value in raw[:wanted]))
    # Through four bytes and back: a float32, as Ollama keeps them.
    return list(struct.unpack(f"<{wanted}f", struct.pack(f"<{wanted}f", *(value / length for value in raw[:wanted]))))
