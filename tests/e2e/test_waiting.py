"""Clients that wait: what they hear meanwhile, that it leaves the answer alone, and how they are told of a failure."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from foreman.testing import Die, Script, StubOllama
from tests.e2e import raw
from tests.e2e.client import post
from tests.e2e.padded import QUICK, SKY
from tests.e2e.process import Foreman, serving
from tests.e2e.raw import Connection, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")
NDJSON, SSE, WHOLE = "application/x-ndjson", "text/event-stream", "application/json"
COMMENT = re.compile(
    rb": foreman job=(\w+) state=(\w+) model=(\S+)(?: position=(\d+) reason=(\w+))?"
    rb"( expected_start=[^:]*)?(?:: .*)?\n\n"
)


ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "chat": ("/api/chat", {"messages": SKY}, NDJSON),
    "generate": ("/api/generate", {"prompt": "hello"}, NDJSON),
    "chat whole": ("/api/chat", {"messages": SKY, "stream": False}, WHOLE),
    "load": ("/api/chat", {"messages": []}, WHOLE),
    "openai": ("/v1/chat/completions", {"messages": SKY, "stream": True}, SSE),
    "openai whole": ("/v1/chat/completions", {"messages": SKY}, WHOLE),
    "completion": ("/v1/completions", {"prompt": "hello", "stream": True}, SSE),
    "responses": ("/v1/responses", {"input": "hello", "stream": True}, SSE),
    "anthropic": ("/v1/messages", {"messages": SKY, "max_tokens": 9, "stream": True}, SSE),
    "anthropic whole": ("/v1/messages", {"messages": SKY, "max_tokens": 9}, WHOLE),
}
EACH = pytest.mark.parametrize(("path", "fields", "kind"), ASKED.values(), ids=ASKED.keys())


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return QUICK


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db, **QUICK) as foreman:
        yield foreman
        assert foreman.process.returncode is None, "\n".join(foreman.lines)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def unscripted(stub: StubOllama, foreman: Foreman) -> AsyncIterator[None]:
    yield
    stub.scripts.clear()
    stub.release_loads()
    await foreman.healthy(lambda report: report["running"] is None and report["queue"]["depth"] == 0)


@asynccontextmanager
async def waiting(foreman: Foreman, path: str, model: str = "llama3", **fields: Any) -> AsyncIterator[Connection]:
    """A client that has asked and reads nothing yet."""
    async with connected(foreman.url) as connection:
        await connection.request(f"POST {path}", body=orjson.dumps({"model": model, **fields}))
        yield connection


async def told(connection: Connection, seen: Callable[[re.Match[bytes]], object]) -> re.Match[bytes]:
    """The first comment of an event stream of which `seen` is true; nothing but comments may come before it."""
    while True:
        comment = COMMENT.fullmatch(await connection.piece())
        assert comment is not None
        if seen(comment):
            return comment


async def rest(connection: Connection, answer: raw.Answer) -> None:
    """All that still comes of a chunked answer."""
    try:
        while piece := await connection.piece():
            answer.body += piece
        answer.whole = True
    except raw.CUT:
        return


def unpadded(kind: str, body: bytes) -> bytes:
    """An answer without its heartbeats; none of them may have made a blank line, or stand within one of its lines."""
    if kind == SSE:
        return COMMENT.sub(b"", body)
    if kind == WHOLE:
        return body.lstrip(b" ")
    lines = body.split(b"\n")
    assert lines.pop() == b""
    assert all(line.strip() for line in lines)
    return b"".join(line.lstrip(b" ") + b"\n" for line in lines)


def bare(body: bytes) -> bytes:
    """What came of an answer so far, without its heartbeats."""
    return re.sub(rb"(^|\n) +", rb"\1", COMMENT.sub(b"", body))


@EACH
async def test_heartbeats_come_before_the_answer_and_leave_its_bytes_alone(
    stub: StubOllama, foreman: Foreman, path: str, fields: dict[str, Any], kind: str
) -> None:
    stub.script("llama3", [Script(hold=0)])
    async with waiting(foreman, path, **fields) as client:
        answer = await client.head()
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert len(answer.headers["x-foreman-job"]) == 26
        for _ in range(3):
            beat = await client.piece()
            answer.body += beat
            if kind == SSE:
                assert (comment := COMMENT.fullmatch(beat))
                assert comment[1].decode() == answer.headers["x-foreman-job"]
                assert comment[3] == b"llama3:latest"
            else:
                assert beat == b" "
        stub.release("llama3")
        await rest(client, answer)
    assert answer.whole
    sent = next(entry for entry in reversed(stub.ledger.on(path)) if entry.ended_at)
    assert hashlib.sha256(unpadded(kind, answer.body)).hexdigest() == sent.sha256


async def test_they_come_while_queued_while_loading_and_while_the_target_thinks(
    stub: StubOllama, foreman: Foreman
) -> None:
    _, fields, _ = ASKED["openai"]
    stub.script("/v1/chat/completions", Script(hold=0))
    async with (
        waiting(foreman, "/v1/chat/completions", **fields) as first,
        waiting(foreman, "/api/chat", messages=SKY) as second,
    ):
        await first.head()
        await told(first, lambda comment: comment[2] == b"working")
        await second.head()
        assert await second.piece() == b" "
        await foreman.queued(1)
        async with waiting(foreman, "/v1/chat/completions", model="qwen3:8b", **fields) as third:
            await third.head()
            comment = await told(third, lambda comment: comment[4])
            assert comment.groups()[1:5] == (b"queued", b"qwen3:8b", b"2", b"swap")
            stub.hold_loads()
            stub.release("/v1/chat/completions")
            await told(third, lambda comment: comment[2] == b"loading")
            await told(third, lambda comment: comment[2] == b"loading")
            stub.release_loads()
            await told(third, lambda comment: comment[2] == b"working")
            await told(third, lambda comment: comment[2] == b"working")
            stub.release("/v1/chat/completions")
            assert not (await third.piece()).startswith(b"event")


async def test_a_paused_queue_is_the_reason(stub: StubOllama, foreman: Foreman) -> None:
    await raw.ask(foreman.url, "POST /queue/pause")
    async with waiting(foreman, "/v1/chat/completions", messages=SKY, stream=True) as client:
        await client.head()
        assert (await told(client, lambda comment: comment[4]))[5] == b"paused"
        await raw.ask(foreman.url, "POST /queue/resume")
        answer = raw.Answer(200, {})
        await rest(client, answer)
    assert answer.whole


@pytest.mark.parametrize("name", ["chat", "openai"])
async def test_they_come_between_two_lines_and_never_within_one(stub: StubOllama, foreman: Foreman, name: str) -> None:
    path, fields, kind = ASKED[name]
    stub.script("llama3", [Script(hold=2), Script(hold=2, slices=(11,))])
    async with waiting(foreman, path, **fields) as client:
        answer = await client.head()
        while not answer.body.endswith((b" ", b"latest\n\n")):
            answer.body += await client.piece()
        assert bare(answer.body).count(b"\n" if kind == NDJSON else b"\n\n") == 2
        async with waiting(foreman, path, **fields) as second, waiting(foreman, path, **fields) as clock:
            await foreman.queued(2)
            stub.release("llama3")
            await rest(client, answer)
            begun = await second.head()
            while len(bare(begun.body)) < 22:
                begun.body += await second.piece()
            await clock.head()
            for _ in range(6):
                await clock.piece()
            assert await second.quiet()
            stub.release("llama3")
            await rest(second, begun)
    for got, entry in zip((answer, begun), stub.ledger.on(path)[-3:-1], strict=True):
        assert got.whole
        assert hashlib.sha256(unpadded(kind, got.body)).hexdigest() == entry.sha256


async def test_none_comes_behind_the_last_line_however_long_the_target_keeps_the_connection(
    stub: StubOllama, tmp_path: Path
) -> None:
    stub.script("/api/chat", [Script(tokens=2, die=Die.SILENCE, die_after_chunks=3)])
    async with (
        serving(stub.url, tmp_path / "foreman.db", idle_timeout_seconds=0.5, **QUICK) as foreman,
        waiting(foreman, "/api/chat", messages=SKY) as client,
    ):
        answer = await client.answer()
    assert answer.whole
    assert answer.body.count(b"\n") == 3
    assert answer.body.endswith(b"}\n")
    assert hashlib.sha256(unpadded(NDJSON, answer.body)).hexdigest() == stub.ledger.on("/api/chat")[-1].sha256


LATE = {
    "refused": ([Script(hold=0, status=400, error="no such thing")], "no such thing"),
    # A kept connection that closes without a word is not the target's last one.
    "lost": ([Script(hold=0, die=Die.FIN), Script(die=Die.FIN)], ""),
}


@pytest.mark.parametrize(("scripts", "message"), LATE.values(), ids=LATE.keys())
@EACH
async def test_a_late_failure_is_told_in_band_and_the_connection_ends_without_the_final_chunk(
    stub: StubOllama,
    foreman: Foreman,
    path: str,
    fields: dict[str, Any],
    kind: str,
    scripts: list[Script],
    message: str,
) -> None:
    stub.script("llama3", scripts)
    async with waiting(foreman, path, **fields) as client:
        answer = await client.head()
        answer.body += await client.piece()
        stub.release("llama3")
        await rest(client, answer)
    assert (answer.status, answer.whole) == (200, False)
    last = unpadded(kind, answer.body)
    if kind == SSE:
        assert b"[DONE]" not in last
        assert last.startswith(b"event: error\ndata: " if path == "/v1/messages" else b"data: ")
        last = last.partition(b"data: ")[2]
    error = orjson.loads(last)["error"]
    assert message in (error if path.startswith("/api/") else error["message"])
    assert answer.headers["x-foreman-job"].encode() in answer.body or kind == WHOLE


EARLY: dict[str, tuple[Script, int]] = {
    "the target's 400": (Script(status=400, error="no such thing"), 400),
    "the target's 404": (Script(status=404, error="model not found"), 404),
    "lost": (Script(die=Die.FIN), 502),
}


@pytest.mark.parametrize(("script", "status"), EARLY.values(), ids=EARLY.keys())
async def test_an_error_within_the_hold_keeps_its_status(
    stub: StubOllama, foreman: Foreman, script: Script, status: int
) -> None:
    for path, fields, _ in ASKED.values():
        stub.script(path, script)
        got = await post(foreman.url, path, {"model": "llama3", **fields})
        assert (got.status, got.whole, len(got.job)) == (status, True, 26)
        stub.script(path, None)


async def test_what_is_refused_at_the_door_keeps_its_status_and_leaves_no_job(stub: StubOllama, tmp_path: Path) -> None:
    stub.script("/api/chat", [Script(hold=0)])
    async with (
        serving(stub.url, tmp_path / "foreman.db", max_queued=1, hold_seconds=0, heartbeat_seconds=0.05) as foreman,
        waiting(foreman, "/api/chat", messages=SKY),
    ):
        await stub.ledger.held()
        async with waiting(foreman, "/api/chat", messages=SKY):
            await foreman.queued(1)
            for path, fields, _ in ASKED.values():
                full = await post(foreman.url, path, {"model": "llama3", **fields})
                assert (full.status, full.whole) == (503, True)
                assert "x-foreman-job" not in full.headers
        missing = await post(foreman.url, "/api/chat", {"model": "no-such-model", "messages": SKY})
        assert (missing.status, missing.whole) == (404, True)
        assert "x-foreman-job" not in missing.headers


async def test_without_heartbeats_nothing_is_sent_and_an_error_keeps_its_status_however_late(
    stub: StubOllama, tmp_path: Path
) -> None:
    late = Script(status=404, error="model not found", delay=0.3)
    async with serving(
        stub.url, tmp_path / "foreman.db", hold_seconds=0.05, heartbeat_seconds=0, max_attempts=1
    ) as foreman:
        for name in ("chat whole", "openai"):
            path, fields, _ = ASKED[name]
            stub.script(path, [late, Script(delay=0.15)])
            got = await post(foreman.url, path, {"model": "llama3", **fields})
            assert (got.status, got.whole) == (404, True)
            got = await post(foreman.url, path, {"model": "llama3", **fields})
            assert (got.status, got.whole) == (200, True)
            assert hashlib.sha256(got.body).hexdigest() == stub.ledger.on(path)[-1].sha256


async def test_what_is_not_queued_is_left_alone(stub: StubOllama, foreman: Foreman) -> None:
    stub.script("nomic-embed-text", [Script(hold=0)])
    stub.script("/api/chat", [Script(hold=0)])
    async with (
        waiting(foreman, "/api/embed", "nomic-embed-text", input="one") as embed,
        waiting(foreman, "/api/chat", messages=SKY) as clock,
    ):
        await clock.head()
        for _ in range(6):
            assert await clock.piece() == b" "
        assert await embed.quiet()
        stub.release("nomic-embed-text")
        answer = await embed.answer()
        stub.release("/api/chat")
        assert answer.whole
        assert "x-foreman-job" not in answer.headers
        assert hashlib.sha256(answer.body).hexdigest() == stub.ledger.on("/api/embed")[-1].sha256


async def test_expected_starts_are_told_from_three_samples_on(tmp_path: Path) -> None:
    async with (
        StubOllama() as stub,
        serving(stub.url, tmp_path / "foreman.db", **QUICK | {"hold_seconds": 0}) as foreman,
    ):
        for count in (0, 1, 2, 3):
            stub.script("/api/chat", [Script(hold=0)])
            async with waiting(foreman, "/api/chat", messages=SKY) as running:
                await running.head()
                await stub.ledger.held()
                async with waiting(foreman, "/v1/chat/completions", messages=SKY, stream=True) as queued:
                    await queued.head()
                    comment = await told(queued, lambda comment: comment[4])
                await foreman.event("job_finished", count + 1, outcome="cancelled")
                stub.release("/api/chat")
                await foreman.event("job_finished", count + 1, outcome="done")
            assert (comment[6] is not None) == (count == 3)
        assert comment[6] == b" expected_start=0s"


async def test_a_client_of_http_1_0_hears_them_too(stub: StubOllama, foreman: Foreman) -> None:
    body = orjson.dumps({"model": "llama3", "messages": SKY})
    request = b"POST /api/chat HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    for script in (Script(hold=0), Script(hold=0, status=400, error="no such thing")):
        stub.script("/api/chat", [script])
        async with connected(foreman.url) as client:
            await client.send(request)
            answer = await client.head()
            assert answer.status == 200
            assert "transfer-encoding" not in answer.headers
            assert await client._reader.readexactly(3) == b"   "
            stub.release("/api/chat")
            got = unpadded(NDJSON, await client.closed())
        if script.status is None:
            assert hashlib.sha256(got).hexdigest() == stub.ledger.on("/api/chat")[-1].sha256
        else:
            assert orjson.loads(got)["error"] == "no such thing"
