"""Servers that say and do what a test wants, down to the byte, and the target that speaks to them."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress

from foreman.core.job import Payload
from foreman.engine.exchange import Exchange
from foreman.engine.target import Target

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = OK + b"Content-Length: 2\r\n\r\nok"
CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
# Long enough never to be reached while a test runs, short enough to end one that hangs.
PATIENCE = 10.0

# Whether jobs travel on kept connections; see the fixture `carried`.
kept_by_default = True

_RESET = struct.pack("ii", 1, 0)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """The URL of a server that does with each connection what `answer` does, and closes it after that."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await answer(reader, writer)
            with suppress(ConnectionError):
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(run(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def saying(*parts: bytes, reset: bool = False) -> Answer:
    """Reads the head of a request, then sends the parts, each in a packet of its own as far as that can be had."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if reset:
            reset_by(writer)

    return answer


def reset_by(writer: asyncio.StreamWriter) -> None:
    """Close with RST: what the other side has not read yet is lost to it."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def heard(reader: asyncio.StreamReader) -> bytes:
    """A request with a stated length, or without a body, byte for byte."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return head + await reader.readexactly(int(length[1]) if length else 0)


def replying(*answers: bytes, then: Answer | None = None) -> Answer:
    """One answer for each request on a connection; after that as told, or nothing until the other side closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answers:
            await heard(reader)
            writer.write(each)
        if then is not None:
            await then(reader, writer)
        else:
            await reader.read()

    return answer


class InTurn:
    """The first connection meets the first of the answers, the second the second; more must not come."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self.answers[self.connections - 1](reader, writer)


class Slow:
    """A target as Go makes it: it reads the end of the request, and closes when its handler has returned."""

    def __init__(self, *begun: bytes) -> None:
        self.begun = begun
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.returns = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(b"".join(self.begun))
        self.asked.set()
        await reader.read()
        self.left.set()
        await self.returns.wait()


def full(stack: ExitStack) -> str:
    """The URL of a machine that takes no connection: its queue of those is full, so packets are dropped."""
    listening = stack.enter_context(socket.socket())
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    for _ in range(3):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listening.getsockname())
    return "http://127.0.0.1:{1}".format(*listening.getsockname())


def target_at(url: str, *, connect: float = PATIENCE, probe: float = PATIENCE, kept: bool | None = None) -> Target:
    return Target(url, connect_timeout=connect, probe_timeout=probe, kept=kept_by_default if kept is None else kept)


@asynccontextmanager
async def talking_to(answer: Answer, *, kept: bool | None = None) -> AsyncIterator[Target]:
    async with serving(answer) as url, target_at(url, kept=kept) as target:
        yield target


def payload(body: bytes = b"{}", path: str = "/api/chat", headers: tuple[tuple[str, str], ...] = ()) -> Payload:
    return Payload(path, headers, body)


async def asked(target: Target, body: bytes = b"{}") -> tuple[int, bytes]:
    """Status and body of the answer to one request."""
    exchange = target.exchange(payload(body))
    try:
        head = await exchange.head(PATIENCE)
        assert head is not None
        return head.status, await rest(exchange)
    finally:
        exchange.close()


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 for what tells nobody that it has happened
        await asyncio.sleep(0)


async def rest(exchange: Exchange) -> bytes:
    """All that still comes of an answer."""
    body = b""
    while chunk := await exchange.read(PATIENCE):
        body += chunk
    return body
