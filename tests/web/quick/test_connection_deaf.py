"""Clients on the short way that do not read, and what is sent ahead of the answers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from foreman.testing import Script
from foreman.web.quick.connection import AHEAD_BYTES, QuickConnection
from tests.e2e.raw import Connection, connected
from tests.engine.loops import on_both_loops
from tests.web.quick.hearing import PATH, VERSION, status
from tests.web.quick.serving import CHAT, TAGS, Quick, got, posted, quick, state, until

# More than both ends of a connection take in before somebody has to wait.
LONG = Script(line_bytes=12_000_000)


@asynccontextmanager
async def deaf(served: Quick) -> AsyncIterator[socket.socket]:
    """A client that reads nothing by itself, and has little room for what it does not read."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        host, _, port = served.url.removeprefix("http://").partition(":")
        await loop.sock_connect(client, (host, int(port)))
        yield client


@asynccontextmanager
async def hearing(client: socket.socket) -> AsyncIterator[Connection]:
    """From now on it reads."""
    reader, writer = await asyncio.open_connection(sock=client, limit=1 << 26)
    try:
        yield Connection(reader, writer, "localhost")
    finally:
        writer.close()
        await writer.wait_closed()


# -- clients that do not read


def full(ours: QuickConnection) -> bool:
    return ours._writing_held


def buffered(ours: QuickConnection) -> int:
    assert ours._transport is not None
    return ours._transport.get_write_buffer_size()


@on_both_loops
async def test_who_does_not_read_its_answer_holds_nobody_up_and_gets_all_of_it_later(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, deaf(served) as client:
        served.stub.script(PATH, [LONG, Script()])
        loop = asyncio.get_running_loop()
        ours = await served.only()
        await loop.sock_sendall(client, posted())
        await until(lambda: full(ours))
        async with connected(served.url) as other:
            await other.send(posted())
            assert await status(other) == 200
        assert full(ours)
        assert buffered(ours) < 2_000_000
        async with hearing(client) as connection:
            answer = await got(connection)
            assert (answer.status, answer.whole, len(answer.body) > 12_000_000) == (200, True, True)
            assert await state(connection) == "open"


@on_both_loops
async def test_who_asks_and_does_not_read_is_not_answered_without_end(tmp_path: Path) -> None:
    count = 30_000
    async with quick(tmp_path, idle=0.2) as served, deaf(served) as client:
        ours = await served.only()
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(client, TAGS * count))
        await until(lambda: full(ours) and len(ours._data) > AHEAD_BYTES)
        assert ours._transport is not None
        assert not ours._transport.is_reading()
        assert buffered(ours) < 200_000
        assert len(ours._data) < 1_000_000
        async with hearing(client) as connection:
            for _ in range(count):
                assert (await got(connection)).status == 200
            await sending
            assert not served.handed


@on_both_loops
async def test_who_has_yet_to_read_what_is_written_is_not_idle_either(tmp_path: Path) -> None:
    async with quick(tmp_path, idle=0.05) as served, deaf(served) as client:
        ours, asked = await served.only(), 0
        while not full(ours):
            await asyncio.get_running_loop().sock_sendall(client, TAGS)
            asked += 1
            for _ in range(5):  # one after the other, so that nothing is left to be answered
                await asyncio.sleep(0)
        assert not ours._data
        for _ in range(3):  # it has looked whether nothing was going on for too long
            await until(partial(_has_looked, ours, ours._timer))
        async with hearing(client) as connection:
            for _ in range(asked):
                assert (await got(connection)).status == 200
            assert await connection.closed() == b""


def _has_looked(ours: QuickConnection, last: asyncio.TimerHandle | None) -> bool:
    return ours._timer is not last


@on_both_loops
async def test_who_has_yet_to_read_is_not_idle(tmp_path: Path) -> None:
    async with quick(tmp_path, idle=0.05) as served, deaf(served) as client:
        served.stub.script(PATH, LONG)
        ours = await served.only()
        await asyncio.get_running_loop().sock_sendall(client, posted())
        await until(lambda: full(ours))
        assert ours._timer is None
        async with hearing(client) as connection:
            assert (await got(connection)).whole
            assert await connection.closed() == b""


@on_both_loops
async def test_what_is_unusual_waits_until_the_answer_before_it_is_read(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, deaf(served) as client:
        served.stub.script(PATH, LONG)
        ours = await served.only()
        await asyncio.get_running_loop().sock_sendall(client, posted() + VERSION + TAGS)
        await until(lambda: full(ours))
        assert not served.handed
        async with hearing(client) as connection:
            assert [await status(connection) for _ in range(3)] == [200, 200, 200]
            assert len(served.handed) == 1


async def test_a_handler_that_takes_over_while_the_client_does_not_read_is_told(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, deaf(served) as client:
        ours = await served.only()
        ours.pause_writing()
        ours._hand_over(b"")
        (handler,) = served.handed
        assert getattr(handler, "_paused")  # noqa: B009
        async with hearing(client) as connection:
            handler.resume_writing()
            assert await state(connection) == "open"


# -- what is sent ahead


@on_both_loops
async def test_who_sends_far_ahead_is_held_back_and_served_after(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, deaf(served) as client:
        served.stub.script(PATH, [Script(hold=0), *[Script()] * 400])
        ours = await served.only()
        large = posted(body=CHAT + b" " * 60_000)
        ahead = AHEAD_BYTES // len(large) * 20
        requests = posted() + large * ahead + VERSION
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(client, requests))
        await served.stub.ledger.held()
        await until(lambda: len(ours._data) > AHEAD_BYTES)
        assert ours._transport is not None
        assert not ours._transport.is_reading()
        assert len(ours._data) < AHEAD_BYTES + 600_000
        async with hearing(client) as connection:
            served.stub.release(PATH)
            assert [await status(connection) for _ in range(2 + ahead)] == [200] * (2 + ahead)
            await sending
            assert await state(connection) == "open"
