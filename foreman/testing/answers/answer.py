"""An answer that is ready to be sent, whatever its API."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from foreman.testing.gojson import encode

# Fixed, so that the same request gets the same bytes. Nine digits of a second, as Go writes them.
CREATED_AT: Final = "2026-01-02T03:04:05.123456789Z"
CREATED: Final = 1767323045


@dataclass(frozen=True, slots=True)
class Answer:
    """`frames` leave one by one when `streamed`; else they are one body, sent after `work` tokens of thought."""

    status: int
    content_type: str
    frames: Iterable[bytes]
    streamed: bool = False
    work: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    # What an SSE stream sends where an NDJSON stream has its error line: Ollama swallows the text there.
    swallowed: bytes | None = None

    def error_frame(self, text: str) -> bytes:
        """What follows in a stream that fails on the way; the stream then ends without its last event."""
        return encode({"error": text}) + b"\n" if self.swallowed is None else self.swallowed


def gin(value: Mapping[str, Any], status: int = 200, work: int = 0) -> Answer:
    """JSON as gin writes it: a charset, no newline."""
    return Answer(status, "application/json; charset=utf-8", (encode(value),), work=work)


def go_json(value: Mapping[str, Any], status: int = 200, work: int = 0) -> Answer:
    """JSON as Go's encoder writes it on the compatible APIs: no charset, a newline."""
    return Answer(status, "application/json", (encode(value) + b"\n",), work=work)


def ndjson(lines: Iterable[Mapping[str, Any]]) -> Answer:
    return Answer(200, "application/x-ndjson", (encode(line) + b"\n" for line in lines), streamed=True)


def plain(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", (text.encode(),), headers=headers or {})


def nothing(status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An empty body."""
    return Answer(status, "", (), headers=headers or {})


def events(frames: Iterable[bytes], swallowed: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """A stream of server-sent events."""
    return Answer(200, "text/event-stream", frames, streamed=True, headers=headers or {}, swallowed=swallowed)


def data(value: Mapping[str, Any]) -> bytes:
    """One OpenAI frame."""
    return b"data: " + encode(value) + b"\n\n"


def event(value: Mapping[str, Any]) -> bytes:
    """One frame of the APIs that name their events by `type`."""
    return f"event: {value['type']}\n".encode() + data(value)
