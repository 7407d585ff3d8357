"""A job's answer, read again: from any place, by many, live and stored, and never of two attempts."""

import asyncio

import orjson
import pytest

from foreman.core.job import JobState
from foreman.engine.ids import new_id
from foreman.testing import Die, Script, StubOllama
from tests.e2e.raw import Connection, ask, connected
from tests.web.conftest import Front, Fronts

HELLO = {"model": "llama3", "prompt": "hello"}


async def run(front: Front, **body: object) -> tuple[str, bytes]:
    """A finished job: its id, and its answer as its client got it."""
    async with front.http.post("/api/generate", json=HELLO | body) as answer:
        return answer.headers["X-Foreman-Job"], await answer.read()


BREAKS = Script(hold=2, die=Die.FIN, die_after_chunks=3)


async def begun(stub: StubOllama, front: Front, *scripts: Script) -> str:
    """The id of a detached job whose answer has begun and waits."""
    await run(front)  # a load would use up a script
    await run(front)  # the load takes no script of theirs then
    stub.script("llama3", scripts)
    async with front.http.post("/api/generate", json=HELLO, headers={"Prefer": "respond-async"}) as answer:
        assert answer.status == 202
        job = answer.headers["X-Foreman-Job"]
    await stub.ledger.held()
    return job


async def test_a_stored_answer_is_the_one_its_client_got(front: Front) -> None:
    job, body = await run(front)
    async with front.http.get(f"/jobs/{job.lower()}/response") as answer:
        assert (answer.status, await answer.read()) == (200, body)
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["X-Foreman-Job"] == job
        assert (answer.headers["X-Foreman-Attempt"], answer.headers["ETag"]) == ("1", f'"{job}-1"')
    assert front.engine.jobs.held_bytes == 0


async def test_an_error_of_the_target_is_kept_as_it_was(stub: StubOllama, front: Front) -> None:
    stub.script("llama3", Script(status=400, body=b'{"error":"no"}'))
    job, body = await run(front)
    for headers in ({}, {"Range": "bytes=3-"}):
        async with front.http.get(f"/jobs/{job}/response", headers=headers) as answer:
            assert (answer.status, await answer.read()) == (400, body)


@pytest.mark.parametrize("at", [0, 1, 100, -1])
async def test_it_is_read_from_any_byte_on(front: Front, at: int) -> None:
    job, body = await run(front)
    start = at % len(body)
    async with front.http.get(f"/jobs/{job}/response?offset={start}") as answer:
        assert (answer.status, await answer.read()) == (200, body[start:])
    async with front.http.get(f"/jobs/{job}/response", headers={"Range": f"bytes={start}-"}) as answer:
        assert (answer.status, await answer.read()) == (206, body[start:])
        assert answer.headers["Content-Range"] == f"bytes {start}-{len(body) - 1}/{len(body)}"


async def test_the_end_is_a_place_and_what_is_beyond_it_is_not(front: Front) -> None:
    job, body = await run(front)
    size = len(body)
    async with front.http.get(f"/jobs/{job}/response?offset={size}") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    beyond: list[tuple[str, dict[str, str]]] = [
        (f"?offset={size + 1}", {}),
        ("", {"Range": f"bytes={size}-"}),
        ("", {"Range": f"bytes={size + 5}-"}),
    ]
    for query, headers in beyond:
        async with front.http.get(f"/jobs/{job}/response{query}", headers=headers) as answer:
            assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
            assert (await answer.json())["code"] == "offset_beyond_end"


@pytest.mark.parametrize("offset", ["", "-1", "x", "1.5", "9" * 19, "\u0661"])
async def test_a_bad_offset_is_named(front: Front, offset: str) -> None:
    async with front.http.get(f"/jobs/{new_id(1)}/response", params={"offset": offset}) as answer:
        assert answer.status == 400
        assert "offset" in (await answer.json())["detail"]


@pytest.mark.parametrize("wanted", ["bytes=-5", "bytes=1-5", "bytes=1-,3-", "lines=1-", "bytes"])
async def test_a_range_without_an_open_end_is_refused(front: Front, wanted: str) -> None:
    async with front.http.get(f"/jobs/{new_id(1)}/response", headers={"Range": wanted}) as answer:
        assert answer.status == 400
        assert "Range" in (await answer.json())["detail"]


@pytest.mark.parametrize(
    "job", ["x", "0", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "00000000010S5DM8JVQG8D9HD3", "01ARZ3NDEKTSV4RRFFQ69G5FAI", "%00"]
)
async def test_there_is_no_answer_of_a_job_that_is_none(front: Front, job: str) -> None:
    async with front.http.get(f"/jobs/{job}/response") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "job_not_found")


async def test_a_live_answer_is_told_as_it_grows_to_everyone_from_their_place(stub: StubOllama, front: Front) -> None:
    job = await begun(stub, front, Script(hold=2))
    async with connected(front.url) as first, connected(front.url) as second:
        await first.request(f"GET /jobs/{job}/response")
        assert (await first.head()).headers["etag"] == f'"{job}-1"'
        had = await some(first, 2)
        await second.request(f"GET /jobs/{job}/response", f"Range: bytes={len(had) - 3}-", f'If-Range: "{job}-1"')
        head = await second.head()
        assert (head.status, head.headers["content-range"]) == (206, f"bytes {len(had) - 3}-{len(had) - 1}/*")
        assert await second.piece() == had[-3:]
        stub.release("llama3")
        rest = await some(first)
        assert await some(second) == rest
    async with front.http.get(f"/jobs/{job}/response") as answer:
        assert await answer.read() == had + rest


async def test_a_place_that_a_growing_answer_has_not_reached_is_waited_for(stub: StubOllama, front: Front) -> None:
    whole = (await run(front))[1]
    job = await begun(stub, front, Script(hold=2))
    reached, beyond = len(whole) - 5, len(whole) + 5
    async with connected(front.url) as early, connected(front.url) as never:
        await early.request(f"GET /jobs/{job}/response", f"Range: bytes={reached}-")
        await never.request(f"GET /jobs/{job}/response", f"Range: bytes={beyond}-")
        while (live := front.engine.jobs.get(job)) is None or live.relay.readers < 2:
            await ask(front.url, "GET /")
        stub.release("llama3")
        answer = await early.answer()
        assert (answer.status, answer.body) == (206, whole[reached:])
        assert answer.headers["content-range"].startswith(f"bytes {reached}-")
        refused = await never.answer()
        assert (refused.status, refused.headers["content-range"]) == (416, f"bytes */{len(whole)}")


async def some(connection: Connection, lines: int = -1) -> bytes:
    """So many lines, or all to the end."""
    body = b""
    while lines < 0 or body.count(b"\n") < lines:
        if not (piece := await connection.piece()):
            break
        body += piece
    return body


async def test_a_reader_who_came_before_the_answer_is_told_its_attempt(stub: StubOllama, front: Front) -> None:
    await front.engine.pause(True)
    async with front.http.post("/api/generate", json=HELLO, headers={"Prefer": "respond-async"}) as answer:
        job = answer.headers["X-Foreman-Job"]
    async with connected(front.url) as early:
        await early.request(f"GET /jobs/{job}/response")
        await front.engine.pause(False)
        assert (await early.answer()).headers["etag"] == f'"{job}-1"'


async def test_a_reader_of_an_earlier_attempt_gets_the_new_one_whole(front: Front) -> None:
    job, body = await run(front)
    headers = {"Range": "bytes=5-", "If-Range": f'"{job}-0"'}
    async with front.http.get(f"/jobs/{job}/response", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (200, body)


async def test_an_attempt_that_breaks_off_breaks_its_readers_off_and_the_next_is_another(
    stub: StubOllama, fronts: Fronts
) -> None:
    async with fronts(retry_base_seconds=0.01) as front:
        job = await begun(stub, front, BREAKS, Script())
        async with connected(front.url) as reader:
            await reader.request(f"GET /jobs/{job}/response")
            await reader.head()
            await some(reader, 2)
            live = front.engine.jobs.get(job)
            assert live is not None
            stub.release("llama3")
            assert not (await rest_of(reader))
            await live.ended.wait()
        async with front.http.get(f"/jobs/{job}/response") as answer:
            assert (answer.headers["X-Foreman-Attempt"], answer.status) == ("2", 200)
            assert orjson.loads((await answer.read()).splitlines()[-1])["done"]


async def rest_of(connection: Connection) -> bool:
    """Whether the answer ends as it should."""
    try:
        await some(connection)
    except (ConnectionError, asyncio.IncompleteReadError):
        return False
    return True


async def test_an_answer_that_broke_off_for_good_breaks_off_again(stub: StubOllama, fronts: Fronts) -> None:
    async with fronts(max_attempts=1) as front:
        job = await begun(stub, front, BREAKS)
        live = front.engine.jobs.get(job)
        assert live is not None
        stub.release("llama3")
        await live.ended.wait()
        got = await ask(front.url, f"GET /jobs/{job}/response")
        assert (got.status, got.whole, got.body.count(b"\n")) == (200, False, 3)
        assert front.engine.jobs.held_bytes == 0


async def test_an_answer_that_was_too_long_to_be_kept_is_an_error_and_not_an_empty_answer(
    stub: StubOllama, fronts: Fronts
) -> None:
    async with fronts(relay_buffer_bytes=1 << 20) as front:
        await run(front)
        stub.script("llama3", [Script(line_bytes=3 << 20)])
        async with front.http.post("/api/generate", json=HELLO, headers={"Idempotency-Key": "long"}) as answer:
            job, body = answer.headers["X-Foreman-Job"], await answer.read()
        assert len(body) > 3 << 20
        async with front.http.get(f"/jobs/{job}/response") as answer:
            assert (answer.status, "too long" in (await answer.json())["detail"]) == (502, True)
        async with front.http.post("/api/generate", json=HELLO, headers={"Idempotency-Key": "long"}) as answer:
            assert (answer.status, "too long" in (await answer.json())["error"]) == (502, True)


async def test_a_cancelled_job_has_no_answer(front: Front) -> None:
    await front.engine.pause(True)
    async with front.http.post("/api/generate", json=HELLO, headers={"Prefer": "respond-async"}) as answer:
        job = answer.headers["X-Foreman-Job"]
    async with connected(front.url) as early:
        await early.request(f"GET /jobs/{job}/response")
        live = front.engine.jobs.get(job)
        assert live is not None
        while not live.relay.readers:  # noqa: ASYNC110 a relay tells nobody that a reader has come
            await asyncio.sleep(0)
        assert await front.engine.cancel(job) is JobState.CANCELLED
        assert (await early.answer()).status == 410
    async with front.http.get(f"/jobs/{job}/response") as answer:
        assert (answer.status, (await answer.json())["code"]) == (410, "cancelled")
