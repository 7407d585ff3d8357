"""An ordinary request, read from the bytes that arrived; everything that is not ordinary is somebody else's.

Ordinary is what clients send all day, and nothing about which two readers of HTTP could differ: HTTP/1.1, kept
alive, one plain Content-Length, a path as it stands in the table. httptools (llhttp) reads the head.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

import httptools
from multidict import CIMultiDict

from foreman.core.ollama import QUEUED_PATHS

# What is longer takes the other way, which reads it piece by piece.
HEAD_BYTES: Final = 16 * 1024
BODY_BYTES: Final = 64 * 1024
# What aiohttp takes; with more, it refuses.
FIELDS: Final = 128

# A transcription is a form, and long.
JOB_PATHS: Final = frozenset(QUEUED_PATHS) - {"/v1/audio/transcriptions"}
CACHED_PATHS: Final = frozenset({"/api/tags", "/v1/models"})
_BEGINNINGS: Final = (b"POST /api/", b"POST /v1/", b"GET /api/tags ", b"GET /v1/models ")
# Each of these asks for more than a plain answer to a plain body.
_UNUSUAL: Final = frozenset(
    {
        *("transfer-encoding", "content-encoding", "expect", "upgrade", "te", "trailer", "range", "if-range"),
        *("origin", "sec-fetch-site", "access-control-request-method"),
        *("proxy-connection", "http2-settings", "sec-websocket-key1"),
    }
)


class Reading(Enum):
    """What is there instead of a request."""

    MORE = "more bytes are needed"
    UNUSUAL = "not an ordinary request"


@dataclass(frozen=True, slots=True)
class QuickRequest:
    """`size` is what it took of the bytes that were read."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes
    size: int


class _Head:
    """Takes what the parser finds."""

    __slots__ = ("complete", "headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser takes away the space before a value, and leaves what is behind it.
        text = value.rstrip(b" \t").decode("utf-8", "surrogateescape")
        self.headers.append((name.decode("latin-1"), text))

    def on_headers_complete(self) -> None:
        self.complete = True


def read(data: bytes, body_bytes: int = BODY_BYTES) -> QuickRequest | Reading:
    """The request that `data` begins with, with a body of at most `body_bytes`."""
    end = data.find(b"\r\n\r\n") + 4
    head = data if end < 4 else data[:end]
    if len(head) > HEAD_BYTES or not _begins(head):
        return Reading.UNUSUAL
    # One line a field: no lone line feeds, no folding.
    if head.count(b"\n") != head.count(b"\r\n") or b"\n " in head or b"\n\t" in head or b"\0" in head:
        return Reading.UNUSUAL
    return Reading.MORE if end < 4 else _ordinary(head, data, body_bytes)


def _begins(head: bytes) -> bool:
    return head.startswith(_BEGINNINGS) or any(beginning.startswith(head) for beginning in _BEGINNINGS)


def _ordinary(head: bytes, data: bytes, body_bytes: int) -> QuickRequest | Reading:
    found = _Head()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return Reading.UNUSUAL
    path, method = found.url.decode("latin-1"), parser.get_method().decode("latin-1")
    if not found.complete or not head.startswith(f"{method} {path} HTTP/1.1\r\n".encode("latin-1")):
        return Reading.UNUSUAL
    length = _length(found.headers, method)
    if length is None or length > body_bytes or path not in (JOB_PATHS if method == "POST" else CACHED_PATHS):
        return Reading.UNUSUAL
    end = len(head) + length
    if len(data) < end:
        return Reading.MORE
    return QuickRequest(method, path, CIMultiDict(found.headers), data[len(head) : end], end)


def _length(headers: list[tuple[str, str]], method: str) -> int | None:
    """How long the body is; None where that is not plain."""
    fields = {name.lower(): value for name, value in headers}
    # A field that comes twice is one for some readers, the first or the last for others.
    if len(fields) != len(headers) or len(fields) > FIELDS or "host" not in fields or not _UNUSUAL.isdisjoint(fields):
        return None
    if fields.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    stated = fields.get("content-length")
    if method == "GET":
        return 0 if stated is None else None
    if stated is None or not (stated.isascii() and stated.isdigit() and len(stated) <= 5):
        return None
    return int(stated)
