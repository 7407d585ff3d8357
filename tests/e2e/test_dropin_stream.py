"""The bytes of an answer are the target's bytes, and each leaves when it arrives."""

import base64
import hashlib
import os
from typing import Any

import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e.process import Foreman
from tests.e2e.raw import ask, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
# Headers that belong to one hop, or to foreman alone.
OWN = {"date", "server", "connection", "x-foreman-job", "x-foreman-attempt"}

STREAMS: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": "llama3", "messages": SKY},
    "/api/generate": {"model": "llama3", "prompt": "hello", "think": True},
    "/v1/chat/completions": {"model": "llama3", "messages": SKY, "stream": True},
    "/v1/completions": {"model": "llama3", "prompt": "hello", "stream": True},
    "/v1/responses": {"model": "llama3", "input": "hello", "stream": True},
    "/v1/messages": {"model": "llama3", "messages": SKY, "max_tokens": 9, "stream": True},
}


async def alike(stub: StubOllama, foreman: Foreman, path: str, body: bytes, script: Script | None = None) -> bytes:
    """Ask the target and foreman the same; the answers must not differ in status, headers or body."""
    stub.script("llama3", script)
    expected = await ask(stub.url, f"POST {path}", body=body)
    got = await ask(foreman.url, f"POST {path}", body=body)
    stub.script("llama3", None)
    assert (got.status, got.whole) == (expected.status, expected.whole) == (got.status, True)
    assert _of_the_target(got.headers) == _of_the_target(expected.headers)
    assert got.body == expected.body
    assert "x-foreman-error" not in got.headers
    return got.body


def _of_the_target(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in OWN}


@pytest.mark.parametrize("slices", [(), (1,), (7,), (3, 1000, 1), (100_000,)], ids=str)
@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_is_the_targets_however_it_is_cut(
    stub: StubOllama, foreman: Foreman, path: str, slices: tuple[int, ...]
) -> None:
    body = await alike(stub, foreman, path, orjson.dumps(STREAMS[path]), Script(slices=slices))
    assert any(byte > 0x7F for byte in body)


@pytest.mark.parametrize("path", STREAMS)
async def test_a_whole_answer_is_the_targets(stub: StubOllama, foreman: Foreman, path: str) -> None:
    asked = orjson.dumps(STREAMS[path] | {"stream": False})
    await alike(stub, foreman, path, asked)
    await alike(stub, foreman, path, asked, Script(slices=(5,)))
    await alike(stub, foreman, path, asked, Script(tokens=20_000))


async def test_a_line_of_ten_megabytes_passes(stub: StubOllama, foreman: Foreman) -> None:
    asked = orjson.dumps(STREAMS["/api/chat"])
    body = await alike(stub, foreman, "/api/chat", asked, Script(line_bytes=10_000_000))
    assert len(body.partition(b"\n")[0]) >= 9_999_999


async def test_a_body_of_forty_megabytes_of_images_arrives_as_it_was_sent(stub: StubOllama, foreman: Foreman) -> None:
    image = base64.b64encode(os.urandom(10_000_000)).decode()
    seen = {"role": "user", "content": "what is this", "images": [image] * 3}
    asked = orjson.dumps({"model": "llama3", "messages": [seen]})
    assert len(asked) > 40_000_000
    answer = await ask(foreman.url, "POST /api/chat", body=asked)
    assert (answer.status, answer.whole) == (200, True)
    assert stub.ledger.on("/api/chat")[-1].body_sha256 == hashlib.sha256(asked).hexdigest()


async def test_a_body_in_chunks_arrives_as_it_was_sent(stub: StubOllama, foreman: Foreman) -> None:
    asked = b'{"prompt": "hello",  "model":"llama3"} and then some'
    async with connected(foreman.url) as connection:
        await connection.request("POST /api/generate", "Transfer-Encoding: chunked")
        for piece in (asked[:5], asked[5:6], asked[6:], b""):
            await connection.chunk(piece)
        assert (await connection.answer()).whole
    assert stub.ledger.on("/api/generate")[-1].body == asked


@pytest.mark.parametrize("path", STREAMS)
async def test_each_chunk_leaves_when_it_arrives_and_nothing_before_the_target_answers(
    stub: StubOllama, foreman: Foreman, path: str
) -> None:
    stub.script("llama3", Script(hold=0, slices=(11,)))
    async with connected(foreman.url) as connection:
        await connection.request(f"POST {path}", body=orjson.dumps(STREAMS[path]))
        entry = await stub.ledger.held()
        assert (await foreman.health())["running"]["state"] == "working"
        assert await connection.quiet()
        stub.release("llama3", 1)
        assert (await connection.head()).status == 200
        got = await connection.piece()
        for count in range(2, 5):
            stub.release("llama3", 1)
            got += await connection.piece()
            assert len(got) == 11 * count == entry.written
        stub.release("llama3")
        while piece := await connection.piece():
            got += piece
    stub.script("llama3", None)
    assert hashlib.sha256(got).hexdigest() == entry.sha256


ERRORS = {
    "400": Script(status=400, error="no such thing"),
    "401": Script(status=401, body=b'{"error":"unauthorized","signin_url":"https://ollama.com/x"}'),
    "403 empty": Script(status=403),
    "404": Script(status=404, error="model 'llama3' not found", headers={"X-Some": "thing"}),
    "409 text": Script(status=409, body=b"not \xff json at all", headers={"Content-Type": "text/weird"}),
    "418 teapot": Script(status=418, body=b" " * 5000, headers={"Retry-After": "120"}),
}


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("script", ERRORS.values(), ids=ERRORS.keys())
async def test_an_error_answer_is_the_targets(stub: StubOllama, foreman: Foreman, path: str, script: Script) -> None:
    await alike(stub, foreman, path, orjson.dumps(STREAMS[path]), script)


async def test_an_error_line_of_the_target_is_its_own_too(stub: StubOllama, foreman: Foreman) -> None:
    script = Script(error="out of memory", error_after=4)
    body = await alike(stub, foreman, "/api/chat", orjson.dumps(STREAMS["/api/chat"]), script)
    assert orjson.loads(body.splitlines()[-1]) == {"error": "out of memory"}
