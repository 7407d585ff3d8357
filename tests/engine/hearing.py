"""A wire without a socket: what it makes of bytes that arrive in given pieces."""

import asyncio
from collections.abc import Iterable
from typing import Any

from foreman.core.errors import TargetCut, TargetError, TargetGarbled, TargetLost
from foreman.core.headers import Headers
from foreman.engine.wire import Wire
from tests.engine.corpus import End, Made

ENDS: dict[type[TargetError], End] = {TargetCut: End.CUT, TargetGarbled: End.REFUSED, TargetLost: End.LOST}


class Line(asyncio.Transport):
    """Takes what the wire sends, and remembers how it was treated."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write_eof(self) -> None:
        self.sent += b"<eof>"

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Heard:
    """A listener that insists on the order in which it is to be told."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.heads = 0  # the parser swallows what is raised here
        self.headers: Headers = ()
        self.body = b""
        self.end: End | None = None

    def on_head(self, status: int, headers: Headers) -> None:
        self.heads += 1
        self.status, self.headers = status, headers

    def on_bytes(self, chunk: bytes) -> None:
        assert chunk
        assert self.status is not None
        assert self.end is None
        self.body += chunk

    def on_end(self) -> None:
        assert self.status is not None
        assert self.end is None
        self.end = End.WHOLE

    def on_error(self, error: TargetError) -> None:
        assert self.end is None
        self.end = ENDS[type(error)]
        assert (self.end is End.CUT) == (self.status is not None)

    @property
    def made(self) -> Made:
        assert self.end is not None
        assert self.heads == (self.status is not None)
        return Made(self.end, self.status, self.body)


def linked() -> tuple[Wire, Line]:
    wire, line = Wire(), Line()
    wire.connection_made(line)
    return wire, line


def asked(wire: Wire) -> Heard:
    heard = Heard()
    wire.send(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", b"", heard)
    return heard


def feed(wire: Wire, line: Line, pieces: Iterable[bytes], *, closes: bool) -> None:
    """Let pieces arrive as long as the wire wants them, and close the connection where either side does."""
    for piece in pieces:
        if line.closed:
            break
        wire.data_received(piece)
    if closes or line.closed:
        wire.connection_lost(None)


def cut_at(raw: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes in pieces, none of them empty."""
    ends = sorted({place % (len(raw) + 1) for place in places} | {len(raw)})
    starts = [0, *ends]
    return [raw[start:end] for start, end in zip(starts, ends, strict=False) if start < end]
