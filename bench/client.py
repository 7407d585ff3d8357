"""A client that costs little: HTTP/1.1 on kept connections, just enough of it to time the answers of the bench.

It knows Content-Length and chunked bodies, nothing else. An answer that is not 200, or that breaks off, voids the
figures, so it is an error.
"""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Self
from urllib.parse import urlsplit


class AnswerVoid(Exception):
    """An answer that cannot be counted."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send; the Host is the connection's to add."""

    method: str
    path: str
    body: bytes = b""

    def wire(self, host: str) -> bytes:
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(self.body)}\r\n"
        kind = "Content-Type: application/json\r\n" if self.body else ""
        return f"{head}{kind}\r\n".encode() + self.body


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds from the last byte of the request to the first and to the last byte of the answer's body."""

    first_byte: float
    total: float
    size: int


class Connection:
    """One kept connection: `async with await Connection.open(url) as connection`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    @classmethod
    async def open(cls, url: str) -> Self:
        """Raises OSError when nobody listens."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer, parts.netloc)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def time(self, request: Request) -> Timing:
        """Raises AnswerVoid."""
        wire = request.wire(self._host)
        self._writer.write(wire)
        sent = perf_counter()
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise AnswerVoid(head.partition(b"\r\n")[0].decode("latin-1"))
            first, size = await self._body(head.lower())
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise AnswerVoid(f"the answer broke off: {error}") from error
        return Timing(first - sent, perf_counter() - sent, size)

    async def _body(self, head: bytes) -> tuple[float, int]:
        """When the first byte came, and how many there were."""
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if found:
            size = int(rest.partition(b"\r\n")[0])
            await self._reader.readexactly(min(size, 1))
            first = perf_counter()
            await self._reader.readexactly(max(0, size - 1))
            return first, size
        if b"\r\ntransfer-encoding: chunked\r\n" not in head:
            raise AnswerVoid("an answer of unknown length")
        return await self._chunks()

    async def _chunks(self) -> tuple[float, int]:
        first, size = 0.0, 0
        while True:
            length = int(await self._reader.readuntil(b"\r\n"), 16)
            await self._reader.readexactly(length + 2)
            if not first:
                first = perf_counter()
            if length == 0:
                return first, size
            size += length
