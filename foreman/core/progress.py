"""What the progress lines of upkeep say together: how much there is, how much of it has come, and whether it is done.

Ollama fetches one layer after the other, so the whole is known layer by layer; the largest comes first. Parts that were
there before count as come. Knows nothing of who reads the lines.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

# No line of a pull is as long; what has no end is not gathered for ever.
LINE_BYTES: Final = 64 * 1024
SUCCESS: Final = "success"


@dataclass(slots=True)
class Layer:
    """Bytes."""

    total: int
    completed: int


class Progress:
    """Fed with the answer's bytes, cut anywhere; gives back whole lines."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.status = ""
        self.error = ""
        self.counting = False  # the last line was one of many on its step
        self._last: dict[str, bytes] = {}
        self._open = b""

    def feed(self, chunk: bytes) -> bytes:
        """Look at the next bytes; returns those lines that are whole by now."""
        text = self._open + chunk
        end = len(text) if len(text) > LINE_BYTES else text.rfind(b"\n") + 1
        lines, self._open = text[:end], text[end:]
        for line in lines.splitlines():
            self._note(line)
        return lines

    def rest(self) -> bytes:
        """What follows the last whole line, where it says by itself how it ended; nothing comes after it."""
        last, self._open = self._open, b""
        self._note(last)
        said = _object(last)
        return last if _text(said, "status") == SUCCESS or _text(said, "error") else b""

    @property
    def total(self) -> int:
        return sum(layer.total for layer in self.layers.values())

    @property
    def completed(self) -> int:
        return sum(layer.completed for layer in self.layers.values())

    @property
    def to_come(self) -> int:
        """Bytes that are known of and have not come."""
        return self.total - self.completed

    @property
    def succeeded(self) -> bool:
        return self.status == SUCCESS

    @property
    def summary(self) -> bytes:
        """The last line on every step: what is worth keeping of them all."""
        return b"".join(line + b"\n" for line in self._last.values())

    def _note(self, line: bytes) -> None:
        said = _object(line)
        self.error = _text(said, "error") or self.error
        self.status = _text(said, "status") or self.status
        step = _text(said, "digest") or _text(said, "status") or _text(said, "error")
        if not step:
            return
        self._last[step] = line.strip()
        self.counting = False
        total, completed = said.get("total"), said.get("completed", 0)
        if isinstance(total, int) and isinstance(completed, int) and total > 0:
            self.layers[step] = Layer(total, max(0, min(completed, total)))
            self.counting = True


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
