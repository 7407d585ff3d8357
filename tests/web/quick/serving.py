"""A foreman whose short way can be looked into, and its twin that has only aiohttp."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from foreman.app import engine_of
from foreman.core.addresses import Address
from foreman.engine.clock import SystemClock
from foreman.engine.engine import Engine
from foreman.settings import Settings
from foreman.testing import StubOllama
from foreman.web.guard import Guard
from foreman.web.quick.connection import QuickConnection
from foreman.web.quick.server import QuickServer
from foreman.web.quick.shared import Shared
from foreman.web.server import application, listening
from tests.e2e.raw import CUT, PATIENCE, Connection

CHAT = b'{"model":"llama3","messages":[{"role":"user","content":"hi"}]}'
TAGS = b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n"
_ID = re.compile(rb"(?<![0-9A-Z])[0-9A-HJKMNP-TV-Z]{26}(?![0-9A-Z])")


def posted(*fields: str, line: str = "POST /api/chat HTTP/1.1", host: str = "localhost", body: bytes = CHAT) -> bytes:
    """A request with these fields before its length."""
    lines = [line, f"Host: {host}", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def bare(*lines: str, body: bytes = b"") -> bytes:
    """A request with exactly these lines."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass
class Quick:
    """A listening foreman; `handed` are the handlers to which connections were handed over."""

    url: str
    stub: StubOllama
    engine: Engine
    handed: list[asyncio.Protocol] = field(default_factory=list)
    servers: list[QuickServer] = field(default_factory=list)

    @property
    def server(self) -> QuickServer:
        (server,) = self.servers
        return server

    @property
    def shared(self) -> Shared:
        return self.server._shared

    async def only(self) -> QuickConnection:
        """The one connection that is on the short way, as soon as there is one."""
        await until(lambda: len(self.shared.connections) == 1)
        (connection,) = self.shared.connections
        assert isinstance(connection, QuickConnection)
        return connection


async def until(seen: Callable[[], bool]) -> None:
    """Let everything else go on until it is true."""
    async with asyncio.timeout(PATIENCE):
        while not seen():  # noqa: ASYNC110 (what is looked at has no event)
            await asyncio.sleep(0)


@asynccontextmanager
async def front(
    stub: StubOllama,
    db: Path,
    *,
    short: bool = True,
    key: str | None = None,
    idle: float = 75.0,
    patience: float = 2.0,
    **settings: Any,
) -> AsyncIterator[Quick]:
    """Its engine has had one look at the target. `idle` and `patience` are those of the listening socket."""
    chosen = Settings(**{"target": stub.url, "db": db, "gate": "off", "disk_reserve": 0, **settings})
    async with engine_of(chosen, SystemClock(), given=key) as engine:
        await engine.start()
        served = Quick("", stub, engine)

        class Watched(QuickServer):
            def __init__(self, shared: Shared) -> None:
                other_way = shared.other_way

                def handing() -> asyncio.Protocol:
                    served.handed.append(handler := other_way())
                    return handler

                shared.other_way = handing
                super().__init__(shared)
                served.servers.append(self)

        app = application(chosen, engine, Guard((), (), engine.keyring, engine.clock))
        with patch.multiple("foreman.web.server", QuickServer=Watched, KEEPALIVE_SECONDS=idle, CLOSE_SECONDS=patience):
            running = asyncio.create_task(engine.run())
            try:
                async with listening(app, Address("127.0.0.1", 0), quick=short) as served.url:
                    await engine.poller.refresh()
                    yield served
                    await engine.settled()
            finally:
                running.cancel()
                await asyncio.wait((running,))


@asynccontextmanager
async def quick(tmp_path: Path, **settings: Any) -> AsyncIterator[Quick]:
    """A stub and a foreman in front of it."""
    async with StubOllama() as stub, front(stub, tmp_path / "foreman.db", **settings) as served:
        yield served


@dataclass
class Twins:
    """The same foreman twice before one stub: with the short way and without."""

    stub: StubOllama
    quick: Quick
    aiohttp: Quick

    def __iter__(self) -> Any:
        return iter((self.quick, self.aiohttp))


@asynccontextmanager
async def twins(tmp_path: Path, **settings: Any) -> AsyncIterator[Twins]:
    async with (
        StubOllama() as stub,
        front(stub, tmp_path / "quick.db", **settings) as one,
        front(stub, tmp_path / "aiohttp.db", short=False, **settings) as other,
    ):
        yield Twins(stub, one, other)


@dataclass
class Got:
    """An answer as it came but for its date and ids, and whether its body was whole."""

    head: list[bytes]
    body: bytes = b""
    whole: bool = False

    @property
    def status(self) -> int:
        return int(self.head[0].split()[1])


async def got(connection: Connection, *, bodiless: bool = False) -> Got:
    """The next answer. Raises one of CUT where none comes."""
    lines = []
    while line := await connection.line():
        lines.append(line)
    answer = Got([lines[0], *sorted(_ID.sub(b"ID", line) for line in lines[1:] if not line.startswith(b"Date: "))])
    if bodiless or answer.status in (100, 204, 304):
        answer.whole = True
        return answer
    fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines[1:])}
    try:
        await _body(connection, fields, answer)
    except CUT:
        pass
    else:
        answer.whole = True
    answer.body = _ID.sub(b"ID", answer.body)
    return answer


async def _body(connection: Connection, fields: dict[bytes, bytes], answer: Got) -> None:
    if fields.get(b"transfer-encoding") == b"chunked":
        while piece := await connection.piece():
            answer.body += piece
    elif b"content-length" in fields:
        async with asyncio.timeout(PATIENCE):
            while missing := int(fields[b"content-length"]) - len(answer.body):
                if not (piece := await connection._reader.read(missing)):
                    raise ConnectionError
                answer.body += piece
    else:
        answer.body = await connection.closed()


async def state(connection: Connection) -> str:
    """Whether the connection takes one more request."""
    try:
        await connection.send(TAGS)
        return "open" if (await got(connection)).status == 200 else "spoiled"
    except CUT:
        return "closed"


async def sent(connection: Connection, quick: QuickConnection, pieces: Iterable[bytes]) -> None:
    """Send pieces, each when the one before has arrived; the last is not waited for."""
    before = b""
    for piece in pieces:
        if before:
            await until(lambda: quick._data == before or quick._transport is None)  # noqa: B023
        await connection.send(piece)
        before += piece
