"""The toxic proxy between two plain sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from foreman.testing import Script, StubOllama
from foreman.testing.toxic import Then, Toxic, ToxicProxy

SENT = bytes(range(256)) * 400

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def _pipes(up: Toxic = Toxic(), down: Toxic = Toxic()) -> AsyncIterator[tuple[Pipe, Pipe]]:  # noqa: B008
    """The two ends of one connection through a proxy: the client's and the target's."""
    accepted: asyncio.Queue[Pipe] = asyncio.Queue()
    server = await asyncio.start_server(lambda reader, writer: accepted.put_nowait((reader, writer)), "127.0.0.1", 0)
    async with ToxicProxy("127.0.0.1", server.sockets[0].getsockname()[1], up=up, down=down) as proxy:
        client = await asyncio.open_connection("127.0.0.1", proxy.port)
        target = await accepted.get()
        try:
            yield client, target
        finally:
            for _, writer in (client, target):
                writer.close()
            server.close()


async def test_a_clear_proxy_passes_both_ways_and_the_half_close() -> None:
    async with _pipes() as ((reader, writer), (target_reader, target_writer)):
        writer.write(SENT)
        writer.write_eof()
        assert await target_reader.read() == SENT
        target_writer.write(SENT[::-1])
        target_writer.write_eof()
        assert await reader.read() == SENT[::-1]


async def test_slices_keep_the_bytes() -> None:
    async with _pipes(down=Toxic(slices=7)) as ((reader, _), (_, target_writer)):
        target_writer.write(SENT[:1000])
        target_writer.write_eof()
        assert await reader.read() == SENT[:1000]


async def test_latency_delays() -> None:
    async with _pipes(down=Toxic(latency=0.05)) as ((reader, _), (_, target_writer)):
        begun = time.monotonic()
        target_writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert time.monotonic() - begun >= 0.04


async def test_a_limit_then_fin() -> None:
    async with _pipes(down=Toxic(limit=1000)) as ((reader, _), (target_reader, target_writer)):
        target_writer.write(SENT)
        assert await reader.read() == SENT[:1000]
        with pytest.raises(ConnectionError):
            await _until_gone(target_reader, target_writer)


async def test_a_limit_then_rst() -> None:
    async with _pipes(up=Toxic(limit=10, then=Then.RST)) as ((reader, writer), (target_reader, _)):
        writer.write(SENT)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionResetError):
            await _drained(target_reader)


async def test_a_half_close_leaves_the_other_direction_open() -> None:
    async with _pipes(up=Toxic(limit=10, then=Then.HALF_CLOSE)) as ((reader, writer), (target_reader, target_writer)):
        writer.write(SENT[:20])
        assert await target_reader.read() == SENT[:10]
        target_writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"


async def test_a_black_hole_passes_nothing_and_stays_open() -> None:
    hole = Toxic(limit=5, then=Then.BLACKHOLE)
    async with _pipes(down=hole) as ((reader, writer), (target_reader, target_writer)):
        target_writer.write(b"12345678")
        assert await reader.readexactly(5) == b"12345"
        waiting = asyncio.create_task(reader.read(1))
        writer.write(b"up is open")
        assert await target_reader.readexactly(10) == b"up is open"
        assert not waiting.done()
        waiting.cancel()


async def test_a_target_that_refuses_resets_the_client() -> None:
    async with StubOllama() as stub:
        stub.refuse()
        async with ToxicProxy(stub.host, stub.port) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()


async def test_a_toxic_may_come_while_a_stream_is_open() -> None:
    async with StubOllama() as stub, ToxicProxy(stub.host, stub.port) as proxy:
        stub.script("llama3", Script(hold=1))
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        body = b'{"model":"llama3","prompt":"hello"}'
        writer.write(b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"}\n")
        proxy.down = Toxic(limit=0, then=Then.RST)
        stub.release("llama3")
        with pytest.raises(ConnectionResetError):
            await _drained(reader)
        writer.close()


async def _drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Writes until the other end is found to be gone."""
    while True:
        writer.write(SENT)
        await writer.drain()
        if reader.at_eof():
            raise ConnectionResetError
