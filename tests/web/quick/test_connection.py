"""One client on the short way: what it may send when, what it is held back for, and when it is let go."""

import asyncio
import socket
from pathlib import Path

import orjson
import pytest

from foreman.testing import Ending, Script
from foreman.web.quick import connection as short
from tests.e2e.raw import PATIENCE, ask, connected
from tests.engine.loops import on_both_loops
from tests.web.quick.hearing import PATH, VERSION, status
from tests.web.quick.serving import CHAT, TAGS, Quick, got, posted, quick, sent, state, until


async def settled(served: Quick, *states: str) -> None:
    """Wait until all jobs there were have ended so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            jobs = orjson.loads((await ask(served.url, "GET /jobs")).body)["jobs"]
            if sorted(job["state"] for job in jobs) == sorted(states):
                return


# -- what arrives how


@on_both_loops
async def test_a_request_may_be_cut_anywhere(tmp_path: Path) -> None:
    raw = posted("Connection: keep-alive")
    async with quick(tmp_path) as served, connected(served.url) as connection:
        ours = await served.only()
        for cut in range(1, len(raw)):
            await sent(connection, ours, (raw[:cut], raw[cut:]))
            assert await status(connection) == 200
        for cut in range(1, len(TAGS)):
            await sent(connection, ours, (TAGS[:cut], TAGS[cut:]))
            assert await status(connection) == 200
        assert not served.handed


@on_both_loops
async def test_a_request_may_come_byte_by_byte(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url) as connection:
        ours = await served.only()
        for raw in (posted(), TAGS):
            await sent(connection, ours, (raw[at : at + 1] for at in range(len(raw))))
            assert await status(connection) == 200
        assert not served.handed


@on_both_loops
async def test_an_unusual_request_may_be_cut_anywhere_too(tmp_path: Path) -> None:
    raw = posted("Connection: close")
    async with quick(tmp_path) as served:
        for cut in range(1, len(raw)):
            async with connected(served.url) as connection:
                await sent(connection, await served.only(), (raw[:cut], raw[cut:]))
                assert await status(connection) == 200
                assert await connection.closed() == b""
        assert len(served.handed) == len(raw) - 1


PIPELINED = {
    "two jobs": ([posted(), posted(body=CHAT[:-1] + b',"stream":false}')], 0),
    "three lists": ([TAGS, TAGS, TAGS], 0),
    "mixed": ([TAGS, posted(), TAGS, TAGS, posted(), TAGS], 0),
    "unusual behind a job": ([posted(), VERSION], 1),
    "unusual behind a list": ([TAGS, VERSION], 1),
    "ordinary behind unusual": ([posted(), VERSION, posted(), TAGS], 1),
    "refused between": ([posted(), posted(body=b'{"model":"a/b/c/d/e"}'), posted()], 0),
    "left to the target between": ([posted(), posted(body=b"{}"), posted()], 1),
}


@pytest.mark.parametrize("case", PIPELINED)
@on_both_loops
async def test_what_is_sent_ahead_is_answered_in_order(tmp_path: Path, case: str) -> None:
    requests, handed = PIPELINED[case]
    async with quick(tmp_path) as served:
        alone = []
        for request in requests:
            async with connected(served.url) as connection:
                await connection.send(request)
                alone.append(await got(connection))
        served.handed.clear()
        async with connected(served.url) as connection:
            await connection.send(b"".join(requests))
            assert [await got(connection) for _ in requests] == alone
            assert await state(connection) == "open"
        assert len(served.handed) == handed


@on_both_loops
async def test_what_closes_behind_an_ordinary_one_closes(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url) as connection:
        await connection.send(posted() + posted("Connection: close"))
        assert [await status(connection), await status(connection)] == [200, 200]
        assert await connection.closed() == b""


@on_both_loops
async def test_a_connection_serves_on_after_a_stream_and_after_an_error(tmp_path: Path) -> None:
    async with quick(tmp_path, max_attempts=1) as served, connected(served.url) as connection:
        served.stub.script(PATH, [Script(), Script(status=400, error="no"), Script()])
        for expected in (200, 400, 200):
            await connection.send(posted())
            assert await status(connection) == expected
        assert await state(connection) == "open"
        assert not served.handed


# -- time


@on_both_loops
async def test_a_request_that_stays_unfinished_is_handed_over(tmp_path: Path) -> None:
    for raw in (posted(), TAGS):
        async with quick(tmp_path) as served, connected(served.url) as connection:
            ours = await served.only()
            await connection.send(raw[:-5])
            await until(lambda: ours._transport is None)  # noqa: B023
            assert len(served.handed) == 1
            assert ours not in served.shared.connections
            await connection.send(raw[-5:])
            assert await status(connection) == 200
            assert await state(connection) == "open"


async def test_a_list_that_came_in_pieces_leaves_its_connection_on_the_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short, "MORE_SECONDS", 0.3)
    async with quick(tmp_path) as served, connected(served.url) as connection:
        ours = await served.only()
        await sent(connection, ours, (TAGS[:9], TAGS[9:]))
        assert await status(connection) == 200
        assert ours._timer is not None
        assert ours._timer.when() - asyncio.get_running_loop().time() > 60
        assert not served.handed


@on_both_loops
async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    idle, loop = 0.2, asyncio.get_running_loop()
    async with quick(tmp_path, idle=idle) as served, connected(served.url) as silent, connected(served.url) as used:
        await used.send(posted())
        assert await status(used) == 200
        since = loop.time()
        await used.send(TAGS)
        assert await status(used) == 200
        assert (await used.closed(), loop.time() - since >= idle * 0.9) == (b"", True)
        assert await silent.closed() == b""
        await until(lambda: not served.shared.connections)
        assert not served.handed


@on_both_loops
async def test_who_waits_for_an_answer_is_not_idle(tmp_path: Path) -> None:
    async with quick(tmp_path, idle=0.05) as served, connected(served.url) as connection:
        served.stub.script(PATH, Script(delay=0.3))
        await connection.send(posted())
        assert await status(connection) == 200
        assert await connection.closed() == b""


# -- clients that leave


@pytest.mark.parametrize("queued", [False, True], ids=["working", "queued"])
@pytest.mark.parametrize("way", ["quick", "aiohttp"])
async def test_who_leaves_takes_the_job_along(tmp_path: Path, way: str, queued: bool) -> None:
    async with quick(tmp_path, short=way == "quick") as served, connected(served.url) as other:
        served.stub.script(PATH, Script(hold=0))
        if queued:
            await other.send(posted())
            await served.stub.ledger.held()
        async with connected(served.url) as connection:
            await connection.send(posted(body=CHAT + b" "))
            await until(lambda: len(served.engine.jobs) == 1 + queued)
            if not queued:
                await served.stub.ledger.held()
        await until(lambda: len(served.engine.jobs) == queued)
        served.stub.script(PATH, None)
        served.stub.release(PATH)
        if queued:
            assert await status(other) == 200
        await settled(served, *["cancelled", "done"][: 1 + queued])
        if not queued:
            assert served.stub.ledger.on("/api/chat")[0].ending is Ending.CLIENT_GONE


@on_both_loops
async def test_who_leaves_in_the_middle_of_an_answer_takes_the_job_along(tmp_path: Path) -> None:
    async with quick(tmp_path) as served:
        served.stub.script(PATH, Script(hold=2))
        async with connected(served.url) as connection:
            await connection.send(posted())
            await connection.head()
            await connection.piece()
        await until(lambda: not len(served.engine.jobs) and not served.shared.connections)
        await settled(served, "cancelled")


@on_both_loops
async def test_who_says_that_nothing_more_comes_is_gone(tmp_path: Path) -> None:
    """As on the other way: a client that closes its sending side cannot be told from one that left."""
    async with quick(tmp_path) as served, connected(served.url) as connection:
        served.stub.script(PATH, Script(hold=0))
        await connection.send(posted())
        await served.stub.ledger.held()
        connection._writer.write_eof()
        assert await connection.closed() == b""
        await until(lambda: not len(served.engine.jobs))
        await settled(served, "cancelled")


@on_both_loops
async def test_who_leaves_before_it_is_handed_over_is_not(tmp_path: Path) -> None:
    """Half a request, or one the other way has to answer, and then the end."""
    async with quick(tmp_path) as served:
        for raw in (posted()[:-1], posted(body=b"{}"), TAGS[:-1]):
            async with connected(served.url) as connection:
                await connection.send(raw)
                connection._writer.write_eof()
                await connection.closed()
        await until(lambda: not served.shared.connections)
        async with connected(served.url) as connection:
            assert await state(connection) == "open"


# -- the rest


@on_both_loops
async def test_a_dead_client_is_looked_for(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url):
        ours = await served.only()
        assert ours._transport is not None
        assert ours._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_it_says_what_it_does(tmp_path: Path) -> None:
    async with quick(tmp_path) as served, connected(served.url) as connection:
        ours = await served.only()
        assert repr(ours) == "<QuickConnection idle>"
        served.stub.script(PATH, Script(hold=0))
        await connection.send(posted())
        await served.stub.ledger.held()
        assert repr(ours) == "<QuickConnection busy>"
        served.stub.release(PATH)
        assert await status(connection) == 200
