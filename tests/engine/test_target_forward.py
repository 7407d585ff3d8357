"""Passing requests on: bodies streamed both ways, connections given back or closed."""

import asyncio
import gc
from collections.abc import AsyncIterator

import aiohttp
import pytest

from foreman.core.errors import BodyStalled, TargetCut, TargetLost
from foreman.engine.arrival import arriving
from foreman.engine.target import Target
from foreman.testing import StubOllama
from tests.engine.serving import CHUNKED, PATIENCE, Slow, heard, talking_to


async def test_forward_streams_both_ways() -> None:
    said = asyncio.Queue[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        while (size := int(await reader.readline(), 16)) > 0:
            piece = await reader.readexactly(size + 2)
            writer.write(b"%x\r\n%b" % (size, piece.upper()))
        writer.write(b"0\r\n\r\n")

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await said.get():
            yield piece

    # Without a first piece aiohttp sends no head either.
    said.put_nowait(b"one")
    async with talking_to(answer) as target, target.forward("POST", "/api/blobs/x", (), pieces()) as response:
        assert await response.content.readany() == b"ONE"
        for piece in (b"two", b"three"):
            said.put_nowait(piece)
            assert await response.content.readany() == piece.upper()
        said.put_nowait(b"")
        assert await response.content.readany() == b""


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("HEAD", None), ("DELETE", b"{}"), ("POST", b"x" * (1 << 20)), ("PURGE", b"")]
)
async def test_forward_passes_method_path_headers_and_body(
    stub: StubOllama, target: Target, method: str, body: bytes | None
) -> None:
    async with target.forward(method, "/odd?x=%20", (("x-a", "1"), ("x-a", "2")), body) as response:
        assert response.status == 404
        said = await response.read()
    entry = stub.ledger.entries[0]
    assert (entry.method, entry.path, entry.body) == (method, "/odd", body or b"")
    assert said == (b"" if method == "HEAD" else b"404 page not found")
    sent = [(name.lower(), value) for name, value in entry.headers if name.lower() not in ("host", "content-length")]
    assert sorted(sent) == [("accept-encoding", "identity"), ("x-a", "1"), ("x-a", "2")]


async def test_forward_of_a_whole_answer_gives_its_connection_back() -> None:
    connections = 0
    begun = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await heard(reader)
            writer.write(CHUNKED)
            await begun.acquire()
            writer.write(b"2\r\nok\r\n0\r\n\r\n")

    async with talking_to(answer) as target:
        for _ in range(30):
            async with target.forward("GET", "/", (), None) as response:
                begun.release()
                assert await response.read() == b"ok"
        assert connections == 1
        del response
        gc.collect()
        kept = [found for found in gc.get_objects() if isinstance(found, aiohttp.ClientResponse)]
        assert len(kept) < 5, "the connection keeps the answers it has carried"


async def test_forward_of_an_answer_nobody_reads_on_closes_its_connection() -> None:
    slow = Slow(CHUNKED, b"3\r\nabc\r\n")
    async with talking_to(slow) as target:
        async with target.forward("GET", "/", (), None) as response:
            assert await response.content.readany() == b"abc"
        await slow.left.wait()


async def test_forward_of_an_answer_with_broken_framing_ends() -> None:
    waits = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(CHUNKED + b"2\r\nok\r\n")
        await waits.wait()
        writer.write(b"no size\r\n")
        await reader.read()

    async with talking_to(answer) as target, target.forward("GET", "/", (), None) as response:
        assert await arriving(response) == b"ok"
        reading = asyncio.create_task(arriving(response))
        await asyncio.sleep(0)
        waits.set()
        with pytest.raises(TargetCut):
            await asyncio.wait_for(reading, PATIENCE)


async def test_a_body_that_breaks_off_is_no_whole_request() -> None:
    requests = asyncio.Queue[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.put_nowait(await reader.read())

    async def stalls() -> AsyncIterator[bytes]:
        yield b"half"
        raise BodyStalled("no more")

    async with talking_to(answer) as target:
        with pytest.raises(TargetLost):
            async with target.forward("POST", "/api/blobs/x", (), stalls()):
                pass
        request = await requests.get()
        assert request.endswith(b"4\r\nhalf\r\n")
