"""How all connections end together."""

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from foreman.testing import Script
from tests.e2e.raw import PATIENCE, connected
from tests.engine.loops import on_both_loops
from tests.web.quick.serving import TAGS, got, posted, quick, until

PATH = "/api/chat"


@on_both_loops
async def test_idle_connections_are_closed_at_once(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url) as silent, connected(served.url) as used:
        await used.send(TAGS)
        assert (await got(used)).whole
        await used.send(TAGS[:-1])
        await until(lambda: sorted(len(c._data) for c in served.server._shared.connections) == [0, len(TAGS) - 1])  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE):
            await served.server.close(PATIENCE * 2)
        assert (await silent.closed(), await used.closed()) == (b"", b"")
        assert repr(served.server) == "<QuickServer 0 connections>"


@on_both_loops
async def test_a_busy_connection_is_closed_at_the_end_of_its_answer(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url) as busy, connected(served.url) as idle:
        served.stub.script(PATH, Script(hold=0))
        await busy.send(posted() + TAGS)
        await served.stub.ledger.held()
        closing = asyncio.create_task(served.server.close(PATIENCE))
        assert await idle.closed() == b""
        assert repr(served.server) == "<QuickServer 1 connections>"
        assert not closing.done()
        served.stub.release(PATH)
        assert (await got(busy)).whole
        assert await busy.closed() == b""
        await closing


@on_both_loops
async def test_what_is_left_after_that_is_cut(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url) as waits, connected(served.url) as streams:
        served.stub.script(PATH, Script(hold=1))
        await streams.send(posted())
        assert (await streams.head()).status == 200
        assert await streams.piece()
        await waits.send(posted())
        await until(lambda: len(served.engine.jobs) == 2)
        await served.server.close(0.01)
        for connection in (waits, streams):
            with suppress(ConnectionError):
                assert await connection.closed() == b""
        await until(lambda: len(served.engine.jobs) == 0)
        assert not served.shared.connections


@on_both_loops
async def test_a_connection_that_was_handed_over_is_no_longer_ours_to_close(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url) as connection:
        served.stub.script(PATH, Script(hold=0))
        await connection.send(posted(line="POST /api//chat HTTP/1.1"))
        await served.stub.ledger.held()
        async with asyncio.timeout(PATIENCE):
            await served.server.close(PATIENCE * 2)
        served.stub.release(PATH)
        assert (await got(connection)).whole


@on_both_loops
async def test_an_unusual_request_in_the_middle_of_an_end_is_answered(tmp_path: Path) -> None:
    """What its answer waits for ends before; here the last thing that happens is that it is handed over."""
    async with quick(tmp_path) as served, connected(served.url) as connection:
        served.engine.poller.inventory = None
        served.stub.freeze()
        await connection.send(posted(body=b'{"model":""}'))
        await until(lambda: len(served.handed) == 1)
        async with asyncio.timeout(PATIENCE):
            await served.server.close(PATIENCE * 2)
        served.stub.thaw()
        assert (await got(connection)).status == 400


@on_both_loops
async def test_the_end_of_listening_ends_them_all(tmp_path: Path) -> None:
    async with AsyncExitStack() as outside:
        async with quick(tmp_path, patience=0.05) as served:
            idle = await outside.enter_async_context(connected(served.url))
            handed = await outside.enter_async_context(connected(served.url))
            await handed.send(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await got(handed)).whole
        assert (await idle.closed(), await handed.closed()) == (b"", b"")
        assert not served.shared.connections
