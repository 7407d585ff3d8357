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

# A transcription is a form, and long.
JOB_PATHS: Final = frozenset(QUEUED_PATHS) - {"/v1/audio/transcriptions"}
CACHED_PATHS: Final = frozenset({"/api/tags", "/v1/models"})
_BEGINNINGS: Final = (b"POST /api/", b"POST /v1/", b"GET /api/tags ", b"GET /v1/models ")
# Each of these asks for more than a plain answer to a plain body.
_UNUSUAL: Final = frozenset(
    {
        *("transfer-encoding", "content-encoding", "expect", "upgrade", "te", "trailer", "range", "if-range"),
        *("origin", "sec-fetch-site", "access-control-request-method", "http2-settings"),
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
        self.headers.append((name.decode("latin-1"), value.decode("utf-8", "surrogateescape")))

    def on_headers_complete(self) -> None:
        self.complete = True


def read(data: bytes) -> QuickRequest | Reading:
    """The request that `data` begins with."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        fits = len(data) <= HEAD_BYTES and data.startswith(_BEGINNINGS)
        return Reading.MORE if fits else Reading.UNUSUAL
    if end > HEAD_BYTES or not data.startswith(_BEGINNINGS):
        return Reading.UNUSUAL
    head = data[:end]
    # One line a field: no lone line feeds, no folding.
    if head.count(b"\n") != head.count(b"\r\n") or b"\n " in head or b"\n\t" in head or b"\0" in head:
        return Reading.UNUSUAL
    return _ordinary(head, data)


def _ordinary(head: bytes, data: bytes) -> QuickRequest | Reading:
    found = _Head()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return Reading.UNUSUAL
    if not found.complete or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
        return Reading.UNUSUAL
    path, method = found.url.decode("latin-1"), parser.get_method().decode("latin-1")
    length = _length(found.headers, method)
    if length is None or path not in (JOB_PATHS if method == "POST" else CACHED_PATHS):
        return Reading.UNUSUAL
    end = len(head) + length
    if len(data) < end:
        return Reading.MORE
    return QuickRequest(method, path, CIMultiDict(found.headers), data[len(head) : end], end)


def _length(headers: list[tuple[str, str]], method: str) -> int | None:
    """How long the body is; None where that is not plain, or too long."""
    names = [name.lower() for name, _ in headers]
    if not _UNUSUAL.isdisjoint(names) or names.count("host") != 1:
        return None
    if method == "GET":
        return None if "content-length" in names else 0
    if names.count("content-length") != 1:
        return None
    stated = headers[names.index("content-length")][1]
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 5):
        return None
    return int(stated) if int(stated) <= BODY_BYTES else None
