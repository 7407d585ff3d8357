"""HTTP/1.1 by hand: requests written byte by byte, answers read chunk by chunk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE = 20.0
CUT = (ConnectionError, asyncio.IncompleteReadError)


@dataclass
class Answer:
    """What came back; `whole` says that the body ended as its framing wants it."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False


class Connection:
    """One connection to a server. Every wait has an end, so that a hang is a failure."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def request(self, line: str, *headers: str, body: bytes = b"", host: str | None = None) -> None:
        """A request line without its version, with Host and, where there is a body, its length."""
        lines = [f"{line} HTTP/1.1", f"Host: {self._host if host is None else host}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; an empty one is the last."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def line(self) -> bytes:
        """The next line without its end."""
        async with asyncio.timeout(PATIENCE):
            return (await self._reader.readuntil(b"\r\n"))[:-2]

    async def head(self) -> Answer:
        status = int((await self.line()).split()[1])
        headers = {}
        while line := await self.line():
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name.lower()] = value
        return Answer(status, headers)

    async def piece(self) -> bytes:
        """The next chunk of a chunked answer, empty at its end. Raises one of CUT where the answer breaks off."""
        size = int(await self.line(), 16)
        async with asyncio.timeout(PATIENCE):
            data = await self._reader.readexactly(size + 2)
        return data[:-2]

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer, as far as it comes."""
        answer = await self.head()
        try:
            if not to_head and answer.status not in (204, 304):
                await self._body(answer)
        except CUT:
            return answer
        answer.whole = True
        return answer

    async def _body(self, answer: Answer) -> None:
        if answer.headers.get("transfer-encoding") == "chunked":
            while piece := await self.piece():
                answer.body += piece
            return
        async with asyncio.timeout(PATIENCE):
            if "content-length" not in answer.headers:
                answer.body = await self._reader.read()
                return
            while missing := int(answer.headers["content-length"]) - len(answer.body):
                piece = await self._reader.read(missing)
                if not piece:
                    raise ConnectionError
                answer.body += piece

    async def quiet(self) -> bool:
        """Whether nothing has come yet that nobody read."""
        await asyncio.sleep(0)
        return not self._reader._buffer  # type: ignore[attr-defined]

    async def closed(self) -> bytes:
        """Wait until the other side closes; what it sent before that."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 26)
    try:
        yield Connection(reader, writer, parts.netloc)
    finally:
        writer.close()


async def ask(url: str, line: str, *headers: str, body: bytes = b"", host: str | None = None) -> Answer:
    """One request on a connection of its own, and its answer."""
    async with connected(url) as connection:
        await connection.request(line, *headers, body=body, host=host)
        return await connection.answer(to_head=line.startswith("HEAD "))
