"""How an answer leaves: nothing before its head, every byte in order, and an error where it must be seen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import orjson
import pytest
from aiohttp import web

from foreman.core.addresses import Address
from foreman.core.errors import ForemanError, JobCancelled, JobFailed, TargetSilent
from foreman.core.framing import Framing
from foreman.core.job import LoadKey
from foreman.core.prefer import Preference
from foreman.engine.engine import Engine
from foreman.engine.intake import ticket_of
from foreman.engine.live import Live
from foreman.engine.relay import Budget, Head, Reader, Relay
from foreman.web.answer import Waiting, answer
from foreman.web.relayed import RelayedOutlet
from foreman.web.server import listening
from tests.e2e.raw import Connection, connected

NDJSON = Head(200, (("content-type", "application/x-ndjson"),))
SSE = Head(200, (("content-type", "text/event-stream"),))
JSON = Head(200, (("content-type", "application/json"),))
# No heartbeats: what is written is the answer alone.
SILENCE = Waiting(Framing.NDJSON, hold=0, heartbeat=0, wish=Preference())
BROKEN = JobFailed("the target's answer broke off", "truncated")


class Left:
    """Stands where the engine stands: it is told when a reader leaves."""

    def __init__(self) -> None:
        self.readers: list[Reader] = []
        self.told = asyncio.Event()

    def left(self, _: Live, reader: Reader, *, may_return: bool) -> None:
        assert not may_return
        reader.leave()
        self.readers.append(reader)
        self.told.set()


def job(path: str = "/api/chat", budget: int = 1 << 20) -> Live:
    return Live("01JOB", "llama3:latest", LoadKey("llama3:latest"), path, "", Relay(Budget(budget)), 0)


@asynccontextmanager
async def reading(live: Live) -> AsyncIterator[tuple[Connection, Left]]:
    """A client that has asked for this job's answer."""
    left, asked = Left(), asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.set()
        outlet = RelayedOutlet(request)
        return await answer(outlet, cast("Engine", left), ticket_of(live), SILENCE) or outlet.response

    app = web.Application()
    app.router.add_get("/", handle)
    async with listening(app, Address("127.0.0.1", 0)) as url, connected(url) as connection:
        await connection.request("GET /")
        await asked.wait()
        yield connection, left


async def test_nothing_leaves_before_the_head_and_then_every_chunk_at_once() -> None:
    live = job()
    async with reading(live) as (connection, left):
        assert await connection.quiet()
        live.relay.begin(NDJSON)
        head = await connection.head()
        assert (head.status, head.headers["x-foreman-job"]) == (200, "01JOB")
        assert head.headers["content-type"] == "application/x-ndjson"
        for chunk in (b"\xe6\x97", b"\xa5", b"x" * 300_000):
            live.relay.feed(chunk)
            assert await connection.piece() == chunk
        assert not left.readers
        live.relay.finish()
        assert await connection.piece() == b""
        await left.told.wait()


@pytest.mark.parametrize("error", [JobCancelled("x"), TargetSilent("x"), BROKEN], ids=lambda error: error.code)
@pytest.mark.parametrize("path", ["/api/chat", "/v1/messages"])
async def test_an_error_before_the_head_has_its_status_and_names_the_job(error: ForemanError, path: str) -> None:
    live = job(path)
    async with reading(live) as (connection, left):
        live.relay.finish(error)
        got = await connection.answer()
        await left.told.wait()
    assert got.status >= 400
    assert (got.headers["x-foreman-error"], got.headers["x-foreman-job"]) == (error.code, "01JOB")
    assert ("type" in orjson.loads(got.body)) == (path == "/v1/messages")


async def test_an_error_after_the_head_is_told_in_band_and_by_the_missing_end() -> None:
    live = job()
    async with reading(live) as (connection, left):
        live.relay.begin(NDJSON)
        live.relay.feed(b'{"done":false}\n')
        live.relay.finish(BROKEN)
        got = await connection.answer()
        await left.told.wait()
    assert not got.whole
    assert orjson.loads(got.body.splitlines()[-1]) == {"error": str(BROKEN), "job": "01JOB"}


async def test_a_client_that_hangs_up_leaves_its_reader_behind() -> None:
    live = job()
    async with reading(live) as (_, left):
        live.relay.begin(NDJSON)
    await left.told.wait()
    assert live.relay.readers == 0


async def test_a_client_that_does_not_read_is_given_up_when_there_is_no_more_room() -> None:
    live = job(budget=1 << 20)
    async with reading(live) as (connection, left):
        live.relay.begin(NDJSON)
        for _ in range(64):
            live.relay.feed(b"x" * (1 << 20))
            await asyncio.sleep(0)
        assert live.relay.held <= 1 << 20
        got = await connection.answer()
        await left.told.wait()
    assert not got.whole
    assert "not read" in orjson.loads(got.body.splitlines()[-1])["error"]


LAST: list[tuple[Head, str, bytes, bytes]] = [
    (NDJSON, "/api/chat", b"", b""),
    (NDJSON, "/api/chat", b"{}\n", b""),
    (NDJSON, "/api/chat", b'{"a', b"\n"),
    (SSE, "/v1/chat/completions", b"data: x\n\n", b"data: "),
    (SSE, "/v1/chat/completions", b"data: x", b"\n\ndata: "),
    (SSE, "/v1/messages", b"data: x\n", b"\nevent: error\ndata: "),
    (JSON, "/v1/chat/completions", b"", b""),
]


async def broken_off(head: Head, path: str, part: bytes) -> bytes:
    """What a client gets behind a part of an answer that breaks off there."""
    live = job(path)
    async with reading(live) as (connection, _):
        live.relay.begin(head)
        if part:
            live.relay.feed(part)
        live.relay.finish(BROKEN)
        got = await connection.answer()
    assert not got.whole
    assert got.body.startswith(part)
    return got.body.removeprefix(part)


@pytest.mark.parametrize(("head", "path", "part", "start"), LAST)
async def test_the_last_words_stand_alone_in_the_framing(head: Head, path: str, part: bytes, start: bytes) -> None:
    words = await broken_off(head, path, part)
    assert words.startswith(start)
    assert words.endswith(b"\n")
    said = orjson.loads(words.removeprefix(start))["error"]
    assert (said if path == "/api/chat" else said["message"]) == str(BROKEN)


async def test_a_whole_answer_that_has_begun_has_no_room_for_words() -> None:
    assert await broken_off(JSON, "/api/chat", b'{"a":') == b""
