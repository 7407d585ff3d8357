"""Exchanges on a kept connection, begun by hand."""

import asyncio

from foreman.engine.kept import KeptExchange
from foreman.engine.target import Target
from foreman.engine.wire import Wire
from tests.engine.serving import (
    CHUNKED,
    OK,
    heard,
    payload,
    until,
)

# More than all buffers between two ends of a connection hold together.
MUCH = 32 << 20


def begun(target: Target, body: bytes = b"{}") -> KeptExchange:
    exchange = target.exchange(payload(body))
    assert isinstance(exchange, KeptExchange)
    return exchange


async def wire_of(exchange: KeptExchange) -> Wire:
    await until(lambda: exchange._wire is not None)
    assert exchange._wire is not None
    return exchange._wire


class Flood:
    """Sends an answer of MUCH bytes as fast as it is taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % MUCH)
        while self.sent < MUCH:
            writer.write(bytes(65536))
            await writer.drain()
            self.sent += 65536
        await reader.read()


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Read to the end, whichever way it comes."""
    try:
        while await reader.read(65536):
            pass
    except ConnectionError:
        return


class Phase:
    """A target that stops in a phase of the exchange, and notes when it sees the end of the connection."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.reached = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.phase == "sending":
            await reader.readuntil(b"\r\n\r\n")
            self.reached.set()
        else:
            await heard(reader)
            writer.write({"waiting for the head": b"", "in the head": OK, "in the body": CHUNKED}[self.phase])
            self.reached.set()
        await until_closed(reader)
        self.left.set()

    @property
    def body(self) -> bytes:
        return bytes(MUCH) if self.phase == "sending" else b"{}"
