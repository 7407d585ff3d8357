"""The official `ollama` package cannot tell foreman from the Ollama behind it, in what works and in what fails."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import ollama
import pytest
import pytest_asyncio

from foreman.testing import Die, Script, StubModel, StubOllama, expected_text
from tests.e2e.process import Foreman
from tests.e2e.stored import accepted

pytestmark = pytest.mark.asyncio(loop_scope="module")

Call = Callable[[Any], Awaitable[Any]]

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL = [{"role": "user", "content": "use the tool"}]
SEEN = [{"role": "user", "content": "what is this", "images": [b"\x89PNG" * 1000]}]
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": WEATHER}]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(foreman: Foreman) -> AsyncIterator[Any]:
    async with ollama.AsyncClient(foreman.url) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def direct(stub: StubOllama) -> AsyncIterator[Any]:
    async with ollama.AsyncClient(stub.url) as client:
        yield client


async def whole(answer: Awaitable[Any]) -> list[dict[str, Any]]:
    """All parts of an answer, streamed or not, as plain values."""
    found = await answer
    parts = [part async for part in found] if hasattr(found, "__aiter__") else [found]
    return [part.model_dump() for part in parts]


SAME: dict[str, Call] = {
    "chat": lambda c: c.chat("llama3", SKY),
    "chat stream": lambda c: c.chat("llama3", SKY, stream=True),
    "chat thinking": lambda c: c.chat("llama3", SKY, think=True),
    "chat thinking hard, stream": lambda c: c.chat("llama3", SKY, think="high", stream=True),
    "chat tools": lambda c: c.chat("llama3", TOOL, tools=TOOLS),
    "chat tools stream": lambda c: c.chat("llama3", TOOL, tools=TOOLS, stream=True),
    "chat image": lambda c: c.chat("llama3", SEEN),
    "chat image stream": lambda c: c.chat("llama3", SEEN, stream=True),
    "chat json": lambda c: c.chat("llama3", SKY, format="json", options={"temperature": 0, "num_predict": 3}),
    "chat spelled otherwise": lambda c: c.chat("library/LLAMA3:Latest", SKY),
    "chat cloud": lambda c: c.chat("gpt-oss:120b-cloud", SKY, stream=True),
    "generate": lambda c: c.generate("llama3", "hello"),
    "generate stream": lambda c: c.generate("llama3", "hello", stream=True),
    "generate image": lambda c: c.generate("llama3", "look", images=[b"\x89PNG"], stream=True),
    "generate raw": lambda c: c.generate("llama3", "hello", raw=True, suffix="!", stream=True),
    "load": lambda c: c.generate("llama3", keep_alive="10m"),
    "load stream": lambda c: c.chat("llama3", [], stream=True),
    "embed": lambda c: c.embed("nomic-embed-text", ["one", "two"]),
    "embed cut": lambda c: c.embed("nomic-embed-text", "one", dimensions=8),
    "embeddings": lambda c: c.embeddings("nomic-embed-text", "one"),
    "show": lambda c: c.show("qwen3:8b"),
    "list": lambda c: c.list(),
}


@pytest.mark.parametrize("call", SAME.values(), ids=SAME.keys())
async def test_the_client_gets_what_the_target_itself_would_have_given(client: Any, direct: Any, call: Call) -> None:
    assert await whole(call(client)) == await whole(call(direct))


async def test_the_answers_are_the_expected_ones(client: Any) -> None:
    text = expected_text({"model": "llama3", "messages": SKY})
    assert (await client.chat("llama3", SKY)).message.content == text
    parts = [part async for part in await client.chat("llama3", SKY, stream=True)]
    assert "".join(part.message.content for part in parts) == text
    assert len(parts) == 17


async def test_the_synchronous_client_works_too(foreman: Foreman) -> None:
    def ask() -> tuple[Any, str, Any]:
        with ollama.Client(foreman.url) as client:
            streamed = client.generate("llama3", "hello", stream=True)
            return client.generate("llama3", "hello"), "".join(part.response for part in streamed), client.list()

    answer, text, listed = await asyncio.to_thread(ask)
    assert answer.response == text == expected_text({"model": "llama3", "prompt": "hello"})
    assert {model.model for model in listed.models} >= {"llama3:latest", "qwen3:8b", "nomic-embed-text:latest"}


async def test_ps_tells_what_is_loaded_and_an_unload_is_seen(stub: StubOllama, client: Any) -> None:
    await client.generate("qwen3:8b", "hello")
    loaded = {runner.name: runner for runner in (await client.ps()).models}
    assert "llama3:latest" not in loaded
    assert loaded["qwen3:8b"].size == 5_200_000_000
    unloads = len(stub.ledger.unloads)
    assert (await client.generate("qwen3:8b", keep_alive=0)).done_reason == "unload"
    await stub.ledger.wait_for(lambda ledger: ledger.unloads[unloads:] == ["qwen3:8b"])
    assert "qwen3:8b" not in {runner.name for runner in (await client.ps()).models}


async def test_a_pull_shows_its_progress_and_the_model_works_at_once(client: Any, direct: Any) -> None:
    lines = [line.model_dump() async for line in await client.pull("phi4:14b", stream=True)]
    assert (lines[0]["status"], lines[-1]["status"]) == ("pulling manifest", "success")
    assert lines == [line.model_dump() async for line in await direct.pull("phi4:14b", stream=True)]
    assert (await client.list()).models[0].model == "phi4:14b"
    assert (await client.generate("phi4:14b", "hi")).done
    assert (await client.pull("phi4:mini")).status == "success"
    assert (await client.generate("phi4:mini", "hi")).done


async def test_a_model_that_came_behind_foremans_back_works(stub: StubOllama, client: Any) -> None:
    await client.list()
    stub.library.add(StubModel(name="side-loaded:1b"))
    assert (await client.generate("side-loaded:1b", "hi")).done


async def test_copy_create_push_and_delete(client: Any) -> None:
    await client.copy("llama3", "mine/copy:v1")
    assert (await client.generate("mine/copy:v1", "hi")).done
    steps = [line.status async for line in await client.create("child", from_="llama3", system="short", stream=True)]
    assert steps[-1] == "success"
    listed = {model.model: model for model in (await client.list()).models}
    assert listed["mine/copy:v1"].digest == listed["llama3:latest"].digest != listed["child:latest"].digest
    assert (await client.push("llama3")).status == "success"
    assert (await client.delete("mine/copy:v1")).status == "success"
    assert "mine/copy:v1" not in {model.model for model in (await client.list()).models}
    with pytest.raises(ollama.ResponseError, match="model 'mine/copy:v1' not found") as gone:
        await client.generate("mine/copy:v1", "hi")
    assert gone.value.status_code == 404


async def test_a_blob_is_uploaded_from_a_file(stub: StubOllama, client: Any, tmp_path: Path) -> None:
    blob = b"weights" * 1_000_000
    (tmp_path / "blob").write_bytes(blob)
    digest = await client.create_blob(tmp_path / "blob")
    assert digest == "sha256:" + hashlib.sha256(blob).hexdigest()
    (entry,) = stub.ledger.on(f"/api/blobs/{digest}")
    assert entry.body_sha256 == hashlib.sha256(blob).hexdigest()
    assert (await client.create("from-file", files={"model.gguf": digest})).status == "success"
    assert (await client.generate("from-file", "hi")).done


REFUSED: tuple[Call, ...] = (
    lambda c: c.chat("nope", SKY),
    lambda c: c.chat("library/Nope", SKY, stream=True),
    lambda c: c.generate("nope:7b", "hi"),
    lambda c: c.generate("foo bar", "hi"),
    lambda c: c.chat("nomic-embed-text", SKY),
    lambda c: c.chat("llama3", SKY, options={"num_ctx": "many"}),
    lambda c: c.embed("nope", "hi"),
    lambda c: c.show("nope"),
    lambda c: c.delete("nope"),
    lambda c: c.copy("nope", "other"),
)


async def refusal(call: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(ollama.ResponseError) as refused:
        await whole(call)
    return refused.value.status_code, refused.value.error


async def test_the_client_is_refused_in_the_targets_words(client: Any, direct: Any) -> None:
    expected = await asyncio.gather(*(refusal(call(direct)) for call in REFUSED))
    assert await asyncio.gather(*(refusal(call(client)) for call in REFUSED)) == expected


async def test_an_unknown_model_leaves_no_row_and_reaches_no_target(stub: StubOllama, db: Path, client: Any) -> None:
    before, asked = accepted(db), len(stub.ledger.on("/api/chat"))
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
        await client.chat("nope", SKY)
    assert accepted(db) == before
    assert len(stub.ledger.on("/api/chat")) == asked


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_error_statuses_of_the_target_reach_the_client(
    stub: StubOllama, client: Any, status: int, stream: bool
) -> None:
    stub.script("llama3", Script(status=status, error="the target's own words"))
    with pytest.raises(ollama.ResponseError) as refused:
        await whole(client.chat("llama3", SKY, stream=stream))
    stub.script("llama3", None)
    assert (refused.value.status_code, refused.value.error) == (status, "the target's own words")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script(error="out of memory", error_after=3), "out of memory"),
        (Script(die=Die.FIN, die_after_chunks=3), "broke off"),
        (Script(die=Die.CLEAN, die_after_chunks=3), "before it was complete"),
    ],
)
async def test_an_answer_that_breaks_off_raises(stub: StubOllama, client: Any, script: Script, words: str) -> None:
    stub.script("llama3", script)
    parts = aiter(await client.chat("llama3", SKY, stream=True))
    heard = [(await anext(parts)).message.content for _ in range(3)]
    with pytest.raises(ollama.ResponseError, match=words):
        await anext(parts)
    stub.script("llama3", None)
    assert "".join(heard) == expected_text({"model": "llama3", "messages": SKY}, tokens=3)


async def test_a_pull_that_fails_on_the_way_raises(stub: StubOllama, client: Any) -> None:
    stub.script("nowhere:1b", Script(error="pull model manifest: file does not exist", error_after=1))
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
        await whole(client.pull("nowhere:1b", stream=True))
