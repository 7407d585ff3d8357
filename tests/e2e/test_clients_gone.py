"""Clients that leave, or stop reading: what the target hears of it, what becomes of the job, and of the next one."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from foreman.testing import Ending, Script, StubOllama
from tests.e2e.client import asking, chat, post, submit
from tests.e2e.deaf import DeafProxy
from tests.e2e.process import Foreman, serving
from tests.e2e.raw import CUT, Connection
from tests.e2e.stored import job_of, stored

CHAT = "/api/chat"


@asynccontextmanager
async def both(tmp_path: Path, **settings: object) -> AsyncIterator[tuple[StubOllama, Foreman, Path]]:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **settings) as foreman:
        yield stub, foreman, db


async def hang_up(client: asyncio.Task[Any]) -> None:
    """End a client in the middle of its request."""
    client.cancel()
    await asyncio.wait((client,))


async def test_a_queued_job_is_cancelled_and_the_target_never_hears_of_it(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        stub.script(CHAT, [Script(hold=0)])
        first = asyncio.create_task(post(foreman.url, *chat("llama3", "first")))
        await stub.ledger.held()
        gone, stays = await submit(foreman, chat("llama3", "gone"), chat("llama3", "stays"))
        await hang_up(gone)
        await foreman.event("job_finished", outcome="cancelled")
        assert (await foreman.health())["queue"]["depth"] == 1
        stub.release(CHAT)
        assert [(await client).whole for client in (first, stays)] == [True, True]
        assert not [entry for entry in stub.ledger.entries if b"gone" in entry.body]
        job = job_of(db, "gone")
    assert (job.state, job.error_code, job.attempts) == ("cancelled", "cancelled", 0)


async def test_a_working_job_is_stopped_and_the_next_one_waits_until_the_target_has_let_go(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, DeafProxy(stub.host, stub.port) as proxy, serving(proxy.url, db) as foreman:
        stub.script(CHAT, [Script(hold=3)])
        async with asking(foreman.url, *chat("llama3", "gone")) as answer:
            await answer.content.readany()
            (stays,) = await submit(foreman, chat("llama3", "stays"))
        await proxy.hung_up.wait()
        for _ in range(20):
            report = await foreman.health()
            assert (report["running"]["id"], report["queue"]["depth"]) == (job_of(db, "gone").id, 1)
        assert len(stub.ledger.on(CHAT)) == 1
        proxy.hear()
        got = await stays
        assert got.whole
        await foreman.settled(got.job)
        first, second = stub.ledger.on(CHAT)
        assert first.ending is Ending.CLIENT_GONE
        assert first.ended_at is not None
        assert first.ended_at <= second.at
        assert stub.ledger.max_concurrent == 1
    assert [(job.state, job.attempts) for job in stored(db)] == [("cancelled", 1), ("done", 1)]


async def test_a_load_nobody_waits_for_is_aborted(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        stub.hold_loads()
        client = asyncio.create_task(post(foreman.url, *chat("llama3", "gone")))
        await stub.ledger.wait_for(lambda ledger: ledger.loads)
        (stays,) = await submit(foreman, chat("qwen3:8b", "stays"))
        await hang_up(client)
        await stub.ledger.wait_for(lambda ledger: ledger.on("/api/generate")[0].ending is Ending.CLIENT_GONE)
        stub.release_loads()
        assert (await stays).whole
        assert [load.name for load in stub.ledger.loads] == ["llama3:latest", "qwen3:8b"]
        assert stub.ledger.unloads == []
        assert job_of(db, "gone").state == "cancelled"
        assert len(stub.ledger.on(CHAT)) == 1


async def test_a_load_that_others_wait_for_goes_on(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, db):
        stub.hold_loads()
        client = asyncio.create_task(post(foreman.url, *chat("llama3", "gone")))
        await stub.ledger.wait_for(lambda ledger: ledger.loads)
        (stays,) = await submit(foreman, chat("llama3", "stays"))
        await hang_up(client)
        await foreman.event("load_kept")
        stub.release_loads()
        assert (await stays).whole
        assert [load.name for load in stub.ledger.loads] == ["llama3:latest"]
        assert [entry.ending for entry in stub.ledger.on("/api/generate")] == [Ending.COMPLETE]
        assert job_of(db, "gone").state == "cancelled"
        assert len(stub.ledger.on(CHAT)) == 1


async def test_a_client_that_leaves_exactly_at_the_end(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, foreman, db):

        async def leaves_at_the_end(text: str, slack: int) -> str:
            async with asking(foreman.url, *chat("llama3", text)) as answer:
                body = b""
                while b'"done":true' not in body[: len(body) - slack]:
                    if not (piece := await answer.content.readany()):
                        break
                    body += piece
                return answer.headers["X-Foreman-Job"]

        for i in range(40):
            job = await leaves_at_the_end(f"client {i}!", slack=i % 3)
            await foreman.settled(job)
            assert job_of(db, f"client {i}!").state in ("done", "cancelled")
        finished = [event["fields"]["job"] for event in foreman.events if event["event"] == "job_finished"]
        assert len(finished) == len(set(finished)) == 40
        assert all(job.complete for job in stored(db) if job.state == "done")
        assert (await post(foreman.url, *chat("llama3", "and on"))).whole


async def test_a_job_may_be_finished_for_a_client_that_is_gone(tmp_path: Path) -> None:
    async with both(tmp_path, on_client_gone="finish") as (stub, foreman, db):
        stub.script(CHAT, [Script(hold=3)])
        async with asking(foreman.url, *chat("llama3", "gone")) as answer:
            await answer.content.readany()
            gone_too = asyncio.create_task(post(foreman.url, *chat("llama3", "as well")))
            await foreman.queued(1)
        await hang_up(gone_too)
        stub.release(CHAT)
        await foreman.event("job_finished", 2, outcome="done")
        for entry, asked in zip(stub.ledger.on(CHAT), ("gone", "as well"), strict=True):
            job = job_of(db, asked)
            assert (job.state, job.complete) == ("done", True)
            assert hashlib.sha256(job.answer or b"").hexdigest() == entry.sha256


async def test_a_client_that_half_closes_counts_as_gone(tmp_path: Path) -> None:
    async with both(tmp_path) as (stub, foreman, _):
        stub.script(CHAT, Script(hold=0))
        host, port = foreman.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = orjson.dumps(chat("llama3", "gone")[1])
        head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await stub.ledger.held()
        writer.write_eof()
        assert (await foreman.event("job_finished"))["fields"]["outcome"] == "cancelled"
        assert await reader.read() == b""
        writer.close()
        assert stub.ledger.on(CHAT)[0].ending is Ending.CLIENT_GONE


LIMIT = 256 * 1024
ANSWER = 12_000_000


@asynccontextmanager
async def small_window(url: str) -> AsyncIterator[Connection]:
    """A connection that takes in next to nothing while nobody reads from it."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.connect((host, int(port)))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        yield Connection(reader, writer, host)
        writer.close()


async def read_on(client: Connection, body: bytearray) -> None:
    """Read to the end of a chunked answer, or to where it breaks off."""
    while piece := await client.piece():
        body += piece


@pytest.mark.parametrize("policy", ["finish", "cancel"])
async def test_a_client_that_stops_reading_holds_nobody_up_and_is_told_so(tmp_path: Path, policy: str) -> None:
    async with both(tmp_path, relay_buffer_bytes=LIMIT, on_client_gone=policy) as (stub, foreman, db):
        stub.script(CHAT, [Script(line_bytes=ANSWER)])
        async with small_window(foreman.url) as client:
            await client.request(f"POST {CHAT}", body=orjson.dumps(chat("llama3", "slow")[1]))
            job = (await client.head()).headers["x-foreman-job"]
            held = []
            while not (entry := stub.ledger.on(CHAT)[0]).ended_at:
                held.append((await foreman.health())["relay_bytes"])
            await foreman.settled(job)
            assert (await post(foreman.url, *chat("llama3", "next"))).whole
            held.append((await foreman.health())["relay_bytes"])
            assert max(held) <= LIMIT
            body = bytearray()
            with pytest.raises(CUT):
                await read_on(client, body)
        passed, _, last = bytes(body).removesuffix(b"\n").rpartition(b"\n")
        assert "not read" in orjson.loads(last)["error"]
        # The whole buffer may have filled before the first byte went out, so nothing at all is a true beginning too.
        assert len(passed) < ANSWER
        assert passed == b"{".ljust(len(passed))[: len(passed)]
        kept = job_of(db, "slow")
        # Who is cut off for being slow has left as far as the job goes, and may have been while it still ran.
        assert kept.state in {"done", "cancelled" if policy == "cancel" else "done"}
        assert not kept.complete
        assert policy == "cancel" or entry.ending is Ending.COMPLETE
        assert (await foreman.health())["relay_bytes"] == 0
