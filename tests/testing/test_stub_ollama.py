"""Ollama's own API, as the official client and a curious one see it."""

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import ollama
import pytest

from foreman.testing import Die, Script, StubModel, StubOllama, expected_text

CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
        },
    }
]


@pytest.fixture
async def client(stub: StubOllama) -> AsyncIterator[Any]:
    async with ollama.AsyncClient(stub.url) as client:
        yield client


async def test_generate_streams_and_answers_whole_alike(client: Any) -> None:
    whole = await client.generate("llama3", "hello")
    parts = [part async for part in await client.generate("llama3", "hello", stream=True)]
    assert whole.response == expected_text({"model": "llama3", "prompt": "hello"})
    assert "".join(part.response for part in parts) == whole.response
    assert (whole.done_reason, whole.eval_count, whole.prompt_eval_count) == ("stop", 16, 1)
    assert parts[-1].done
    assert parts[-1].total_duration == whole.total_duration > whole.load_duration > 0


async def test_the_same_prompt_gets_the_same_words_under_any_spelling_of_the_model(client: Any) -> None:
    one = await client.generate("library/LLAMA3:Latest", "hello")
    assert one.response == (await client.generate("llama3", "hello")).response
    assert one.response != (await client.generate("qwen3:8b", "hello")).response
    assert one.model == "library/LLAMA3:Latest"


async def test_num_predict_cuts_the_answer(client: Any) -> None:
    answer = await client.generate("llama3", "hello", options={"num_predict": 3})
    assert (answer.done_reason, answer.eval_count) == ("length", 3)
    assert answer.response == expected_text({"model": "llama3", "prompt": "hello"}, tokens=3)


async def test_a_tool_is_called_when_the_prompt_asks_for_it(client: Any) -> None:
    for stream in (False, True):
        asked = [{"role": "user", "content": "use the tool"}]
        answer = await client.chat("llama3", asked, tools=TOOLS, stream=stream)
        parts = [part async for part in answer] if stream else [answer]
        calls = [call for part in parts for call in part.message.tool_calls or []]
        assert [(call.function.name, call.function.arguments) for call in calls] == [
            ("weather", {"city": "some city", "days": 1})
        ]
        assert parts[-1].done_reason == "stop"


@pytest.mark.parametrize("think", [True, "high"])
async def test_thinking_comes_before_the_answer(client: Any, think: bool | str) -> None:
    parts = [part.message async for part in await client.chat(**CHAT, think=think, stream=True)]
    assert all(parts[index].thinking for index in range(4))
    assert "".join(part.content for part in parts[4:]) == expected_text(CHAT)
    whole = await client.chat(**CHAT, think=think)
    assert whole.message.thinking == "".join(part.thinking for part in parts[:4])


async def test_images_are_taken(client: Any) -> None:
    seen = [{"role": "user", "content": "what is this", "images": [b"\x89PNG"]}]
    assert (await client.chat("llama3", seen)).message.content


async def test_load_lists_the_model_and_unload_takes_it_away(stub: StubOllama, client: Any) -> None:
    loaded = await client.generate("llama3", keep_alive=-1)
    assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
    (running,) = (await client.ps()).models
    assert running.name == "llama3:latest"
    assert running.expires_at.year > 2300
    assert (await client.chat("llama3", [], keep_alive=0)).done_reason == "unload"
    await stub.ledger.wait_for(lambda ledger: ledger.unloads == ["llama3:latest"])
    assert (await client.ps()).models == []


async def test_embeddings_are_normalised_and_need_the_text_alone(client: Any) -> None:
    answer = await client.embed("nomic-embed-text", ["one", "two"])
    assert len(answer.embeddings) == 2
    assert math.isclose(sum(value * value for value in answer.embeddings[0]), 1.0, rel_tol=1e-5)
    assert answer.embeddings[0] != answer.embeddings[1]
    assert (await client.embed("nomic-embed-text", "one")).embeddings[0] == answer.embeddings[0]
    assert (await client.embed("nomic-embed-text", "")).embeddings == []
    assert (await client.embeddings("nomic-embed-text", "one")).embedding == answer.embeddings[0]


async def test_show_tells_what_a_model_is(client: Any) -> None:
    shown = await client.show("qwen3:8b")
    assert shown.modelinfo["llama.block_count"] == 32
    assert "thinking" in shown.capabilities


async def test_pulling_reports_progress_and_then_the_model_is_there(client: Any) -> None:
    lines = [line async for line in await client.pull("phi4:14b", stream=True)]
    statuses = [line.status for line in lines]
    assert (statuses[0], statuses[-1]) == ("pulling manifest", "success")
    layers = {line.digest: line for line in lines if line.total}
    assert all(line.completed == line.total for line in layers.values())
    newest = (await client.list()).models[0]
    assert (newest.model, newest.size) == ("phi4:14b", sum(line.total for line in layers.values()))
    assert len(layers) == 3
    assert (await client.generate("phi4:14b", "hi")).done


async def test_a_pull_that_was_cut_goes_on_where_it_was(stub: StubOllama, client: Any) -> None:
    stub.script("phi4:14b", [Script(die=Die.FIN, die_after_chunks=4)])
    with pytest.raises(httpx.RemoteProtocolError):
        _ = [line async for line in await client.pull("phi4:14b", stream=True)]
    again = [line async for line in await client.pull("phi4:14b", stream=True)]
    weights = next(line for line in again if line.total)
    assert 0 < weights.completed < weights.total
    assert again[-1].status == "success"
    anew = [line async for line in await client.pull("phi4:14b", stream=True)]
    assert next(line for line in anew if line.total).completed is None


async def test_a_pull_is_work(stub: StubOllama, client: Any) -> None:
    stub.script("phi4:14b", Script(hold=0))
    pull = asyncio.create_task(client.pull("phi4:14b"))
    await stub.ledger.held()
    assert stub.ledger.concurrent == 1
    stub.release("phi4:14b")
    await pull
    assert (stub.ledger.concurrent, stub.ledger.max_concurrent) == (0, 1)


async def test_copy_create_and_delete(client: Any) -> None:
    await client.copy("llama3", "mine/copy:v1")
    await client.create("child", from_="llama3", system="be brief")
    listed = {model.model: model for model in (await client.list()).models}
    assert listed["mine/copy:v1"].digest == listed["llama3:latest"].digest != listed["child:latest"].digest
    assert listed["child:latest"].details.parent_model == "llama3:latest"
    await client.delete("mine/copy:v1")
    assert "mine/copy:v1" not in {model.model for model in (await client.list()).models}
    with pytest.raises(ollama.ResponseError, match="model 'mine/copy:v1' not found"):
        await client.delete("mine/copy:v1")


async def test_push_reports_success(client: Any) -> None:
    assert (await client.push("llama3")).status == "success"


async def test_blobs_are_checked_by_digest(client: Any, http: aiohttp.ClientSession, tmp_path: Any) -> None:
    (tmp_path / "blob").write_bytes(b"weights" * 100_000)
    digest = await client.create_blob(tmp_path / "blob")
    assert digest == "sha256:" + hashlib.sha256(b"weights" * 100_000).hexdigest()
    wrong = "sha256:" + "0" * 64
    for method, name, status in (
        ("HEAD", digest, 200),
        ("HEAD", wrong, 404),
        ("POST", wrong, 400),
        ("POST", digest, 200),
        ("POST", "x", 400),
    ):
        async with http.request(method, f"/api/blobs/{name}", data=b"weights" * 100_000) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", b"x", 400, "invalid character 'x' looking for beginning of value"),
        ("/api/chat", b'{"model":', 400, "unexpected EOF"),
        ("/api/chat", b"{}", 400, "model is required"),
        ("/api/generate", b"{}", 404, "model '' not found"),
        ("/api/generate", b'{"Model":"nope"} trailing', 404, "model 'nope' not found"),
        ("/api/chat", b'{"model":"a b"}', 400, "invalid model name"),
        ("/api/embed", b'{"model":"nope"}', 404, 'model "nope" not found, try pulling it first'),
        ("/api/chat", b'{"model":"nomic-embed-text"}', 400, '"nomic-embed-text" does not support chat'),
        ("/api/generate", b'{"model":"nomic-embed-text"}', 400, '"nomic-embed-text" does not support generate'),
        ("/api/chat", b'{"model":"llama3","keep_alive":"300"}', 400, 'time: missing unit in duration "300"'),
        ("/api/chat", b'{"model":"llama3","keep_alive":"x"}', 400, 'time: invalid duration "x"'),
        ("/api/chat", b'{"model":"llama3","keep_alive":true}', 400, "Unsupported type: 'bool'"),
        (
            "/api/generate",
            b'{"model":"llama3","options":{"num_ctx":"8k"}}',
            500,
            'option "num_ctx" must be of type integer',
        ),
        ("/api/show", b'{"model":"nope"}', 404, "model 'nope:latest' not found"),
        ("/api/copy", b'{"source":"nope","destination":"x"}', 404, 'model "nope" not found'),
    ],
)
async def test_errors_have_ollamas_words(
    http: aiohttp.ClientSession, path: str, body: bytes, status: int, error: str
) -> None:
    async with http.post(path, data=body) as answer:
        assert answer.status == status
        assert await answer.json() == {"error": error}


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "body"),
    [
        ("GET", "/", 200, "text/plain; charset=utf-8", b"Ollama is running"),
        ("HEAD", "/", 200, "text/plain; charset=utf-8", b""),
        ("GET", "/api/version", 200, "application/json; charset=utf-8", b'{"version":"0.33.0"}'),
        ("GET", "/api/ps", 200, "application/json; charset=utf-8", b'{"models":[]}'),
        ("HEAD", "/api/ps", 405, "text/plain; charset=utf-8", b""),
        ("GET", "/nope", 404, "text/plain; charset=utf-8", b"404 page not found"),
        ("GET", "/api/chat", 405, "text/plain; charset=utf-8", b"405 method not allowed"),
        (
            "GET",
            "/api/status",
            200,
            "application/json; charset=utf-8",
            b'{"cloud":{"disabled":false,"source":"none"}}',
        ),
    ],
)
async def test_plain_routes(
    http: aiohttp.ClientSession, method: str, path: str, status: int, kind: str, body: bytes
) -> None:
    async with http.request(method, path) as answer:
        assert (answer.status, answer.headers["Content-Type"], await answer.read()) == (status, kind, body)
        assert "Server" not in answer.headers
        assert status != 405 or "Allow" in answer.headers


async def test_a_trailing_slash_redirects(http: aiohttp.ClientSession) -> None:
    for method, path, status in (("GET", "/api/tags/", 301), ("POST", "/api/chat/", 307)):
        async with http.request(method, path, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (status, path[:-1])


async def test_streams_are_ndjson_and_load_is_one_object(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/chat", data=json.dumps(CHAT)) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        lines = (await answer.read()).split(b"\n")
        assert lines.pop() == b""
        assert [json.loads(line)["done"] for line in lines] == [False] * 16 + [True]
    async with http.post("/api/chat", json={"model": "llama3"}) as answer:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_text_is_escaped_as_go_does_it(http: aiohttp.ClientSession) -> None:
    asked = {"model": "llama3", "prompt": "hi", "stream": False, "options": {"num_predict": 200}}
    async with StubOllama(tokens=200) as stub, http.post(f"{stub.url}/api/generate", json=asked) as answer:
        body = await answer.read()
    assert b"\\u003cb\\u003e" in body
    assert b"fish \\u0026 chips" in body
    assert "größe".encode() in body
    assert not set(b"<>&") & set(body)


async def test_cloud_models_answer_without_being_there(stub: StubOllama, client: Any) -> None:
    assert (await client.generate("gpt-oss:120b-cloud", "hi")).response
    assert stub.ledger.loads == []
    assert stub.ledger.max_concurrent == 0


async def test_a_model_that_cannot_is_refused(http: aiohttp.ClientSession) -> None:
    async with StubOllama([StubModel(name="plain", capabilities=("completion",))]) as stub:
        for more, error in (
            ({"tools": TOOLS}, "registry.ollama.ai/library/plain:latest does not support tools"),
            ({"think": True}, '"plain" does not support thinking'),
        ):
            async with http.post(f"{stub.url}/api/chat", json=CHAT | {"model": "plain"} | more) as answer:
                assert (answer.status, await answer.json()) == (400, {"error": error})
