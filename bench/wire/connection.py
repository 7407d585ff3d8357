"""A client that costs little: HTTP/1.1 on a kept connection, nothing looked at but where an answer ends.

What arrives is kept with the time of its arrival and read after the measuring is over. It knows Content-Length and
chunked bodies, nothing else. An answer that is not 200 or that breaks off voids the figures, so it is an error.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Final, cast
from urllib.parse import urlsplit

# Close by reset: a run makes more connections than there are ports to leave in TIME_WAIT.
_RESET: Final = struct.pack("ii", 1, 0)
_LAST_CHUNK: Final = b"0\r\n\r\n"


class AnswerVoid(Exception):
    """An answer that cannot be counted."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send; the Host is the connection's to add."""

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def wire(self, host: str) -> bytes:
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\n"
        kind = f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n" if self.body else ""
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return f"{head}{kind}{more}\r\n".encode() + self.body


@dataclass(slots=True)
class Exchange:
    """One request and what came back: (ns of arrival, bytes), head included. `sent` is in ns too."""

    sent: int
    pieces: list[tuple[int, bytes]] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One kept connection. `answered` is called with each whole answer, `lost` when one breaks off or is not 200."""

    def __init__(self, answered: Callable[[Exchange], None], lost: Callable[[AnswerVoid], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._exchange: Exchange | None = None
        self._missing: int | None = None
        self._tail = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, wire: bytes) -> None:
        """Send a request; the answer to the one before must have come."""
        if self._transport.is_closing():
            self._give_up("the connection was closed")
            return
        self._missing, self._tail = None, b""
        self._exchange = Exchange(monotonic_ns())
        self._transport.write(wire)

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        exchange = self._exchange
        if exchange is None:
            self._give_up("bytes that nobody asked for")
            return
        exchange.pieces.append((now, data))
        if self._ended(data, exchange):
            self._exchange = None
            self._answered(exchange)

    def _ended(self, data: bytes, exchange: Exchange) -> bool:
        if self._missing is None:
            head, found, body = b"".join(piece for _, piece in exchange.pieces).partition(b"\r\n\r\n")
            if not found:
                return False
            try:
                self._missing, data = self._length(head), body
            except AnswerVoid as error:
                self._give_up(str(error))
                return False
        if self._missing >= 0:
            self._missing -= len(data)
            return self._missing <= 0
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :] if len(data) < len(_LAST_CHUNK) else data
        return self._tail.endswith(_LAST_CHUNK)

    def _length(self, head: bytes) -> int:
        """The length of the body; -1 where its last chunk ends it. Raises AnswerVoid."""
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202")):
            raise AnswerVoid(head.partition(b"\r\n")[0].decode("latin-1"))
        _, found, rest = head.lower().partition(b"\r\ncontent-length:")
        if found:
            return int(rest.partition(b"\r\n")[0])
        if b"\r\ntransfer-encoding: chunked" not in head.lower():
            raise AnswerVoid("an answer of unknown length")
        return -1

    def connection_lost(self, error: Exception | None) -> None:
        if self._exchange is not None:
            self._give_up(f"the answer broke off: {error or 'closed'}")

    def _give_up(self, why: str) -> None:
        self._exchange = None
        self._lost(AnswerVoid(why))

    def close(self) -> None:
        """Close at once; what is under way is nobody's loss."""
        self._exchange = None
        if self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()


async def connected(
    url: str, answered: Callable[[Exchange], None], lost: Callable[[AnswerVoid], None]
) -> tuple[Connection, str]:
    """A connection to the URL's host, and that host for requests. Raises OSError when nobody listens."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    host, port = parts.hostname or "", parts.port or 80
    _, connection = await loop.create_connection(lambda: Connection(answered, lost), host, port)
    return connection, parts.netloc
