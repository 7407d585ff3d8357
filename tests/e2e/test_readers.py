"""GET /jobs/{id}/response: early, late, again and from anywhere, live and stored, and across attempts."""

import asyncio
import signal
from pathlib import Path

import pytest

from foreman.testing import Script, StubOllama
from tests.e2e import raw
from tests.e2e.client import chat, post
from tests.e2e.own import GENERATE, call, handed, prompt
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/api/chat"
OFFSETS = (0, 1, 57, 200)


async def read(foreman: Foreman, job: str, *headers: str, offset: int | None = None) -> raw.Answer:
    query = "" if offset is None else f"?offset={offset}"
    return await raw.ask(foreman.url, f"GET /jobs/{job}/response{query}", *headers)


async def test_readers_early_late_and_from_anywhere_get_the_same_bytes(
    stub: StubOllama, foreman: Foreman, db: Path
) -> None:
    assert (await post(foreman.url, *chat("llama3", "warm"))).whole
    stub.script(CHAT, [Script(hold=0), Script(hold=3)])
    before = asyncio.create_task(post(foreman.url, *chat("llama3", "before")))
    first = await stub.ledger.held()
    job = await handed(foreman, chat("llama3", "read by many")[1], CHAT)
    early = [asyncio.create_task(read(foreman, job, offset=offset)) for offset in OFFSETS]
    stub.release(first.path)
    await before
    await stub.ledger.held(2)
    live = [asyncio.create_task(read(foreman, job, f"Range: bytes={offset}-")) for offset in OFFSETS]
    async with raw.connected(foreman.url) as leaves:
        await leaves.request(f"GET /jobs/{job}/response")
        await leaves.head()
        beginning = await leaves.piece()
    stub.release(CHAT)
    await foreman.settled(job)
    (kept,) = (found for found in stored(db) if found.id == job)
    answer = kept.answer or b""
    assert answer.startswith(beginning)
    for offset, got in zip(OFFSETS, [await task for task in early], strict=True):
        assert (got.status, got.body, got.whole) == (200, answer[offset:], True)
    for offset, got in zip(OFFSETS, [await task for task in live], strict=True):
        assert (got.status, got.body, got.whole) == (206, answer[offset:], True)
        assert got.headers["content-range"].startswith(f"bytes {offset}-")
    again = await read(foreman, job, f"Range: bytes={len(beginning)}-", f"If-Range: {live[0].result().headers['etag']}")
    assert beginning + again.body == answer
    late = await read(foreman, job)
    assert (late.body, late.headers["content-type"]) == (answer, "application/x-ndjson")


@pytest.mark.parametrize("end", ["kill", "term"])
async def test_another_attempt_is_told_and_never_mixed_in(stub: StubOllama, tmp_path: Path, end: str) -> None:
    db = tmp_path / "foreman.db"
    stub.script(CHAT, [Script(hold=2)])
    async with serving(stub.url, db, drain_seconds=0) as foreman:
        job = await handed(foreman, chat("llama3", "two attempts")[1], CHAT)
        async with raw.connected(foreman.url) as reader:
            await reader.request(f"GET /jobs/{job}/response")
            first = await reader.head()
            beginning = await reader.piece()
            if end == "kill":
                await foreman.kill()
            else:
                foreman.send(signal.SIGTERM)
                assert await foreman.ended() == 0
            assert not (await reader.closed()).endswith(b"0\r\n\r\n")
    stub.script(CHAT, None)
    async with serving(stub.url, db) as foreman:
        tag, size = first.headers["etag"], len(beginning)
        second = await read(foreman, job, f"Range: bytes={size}-", f"If-Range: {tag}")
        assert (second.status, second.whole) == (200, True)
        assert second.headers["etag"] != tag
        assert second.headers["x-foreman-attempt"] != first.headers["x-foreman-attempt"]
        await foreman.settled(job)
        kept = next(found for found in stored(db) if found.id == job)
        assert second.body == kept.answer
        newest = f"If-Range: {second.headers['etag']}"
        assert (await read(foreman, job, f"Range: bytes={size}-", newest)).status == 206


async def test_what_cannot_be_read_is_said(stub: StubOllama, foreman: Foreman) -> None:
    done = await handed(foreman, prompt("short"))
    await foreman.settled(done)
    size = len((await read(foreman, done)).body)
    assert (await read(foreman, done, offset=size)).body == b""
    for line, status, named in (
        (f"/jobs/{done}/response?offset={size + 1}", 416, str(size)),
        (f"/jobs/{done}/response?offset=-1", 400, "offset"),
        (f"/jobs/{done}/response?offset=x", 400, "offset"),
        ("/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV/response", 404, "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("/jobs/x/response", 404, "x"),
    ):
        got, problem, headers = await call(foreman, "GET", line)
        assert (got, headers["Content-Type"]) == (status, "application/problem+json")
        assert named in problem["detail"]
    got, problem, _ = await call(foreman, "GET", f"/jobs/{done}/response", Range="bytes=1-2")
    assert (got, "Range" in problem["detail"]) == (400, True)
    got, _, headers = await call(foreman, "GET", f"/jobs/{done}/response", Range=f"bytes={size}-")
    assert (got, headers["Content-Range"]) == (416, f"bytes */{size}")


async def test_a_failed_job_tells_the_targets_words_and_a_cancelled_one_that_it_was(
    stub: StubOllama, foreman: Foreman
) -> None:
    stub.script(GENERATE, [Script(status=400, error="the target's words")])
    failed = await handed(foreman, prompt("fails"))
    await foreman.settled(failed)
    got = await read(foreman, failed)
    assert (got.status, b"the target's words" in got.body) == (400, True)
    cancelled = await handed(foreman, prompt("later"), not_before=3600)
    assert (await call(foreman, "DELETE", f"/jobs/{cancelled}"))[0] == 200
    status, problem, _ = await call(foreman, "GET", f"/jobs/{cancelled}/response")
    assert (status, problem["code"]) == (410, "cancelled")
