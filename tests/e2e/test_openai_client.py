"""The official `openai` package in front of foreman, and the APIs beside it: Anthropic's messages, transcriptions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from foreman.testing import Die, Script, StubModel, StubOllama, Terminal, expected_text
from tests.e2e.process import Foreman
from tests.e2e.stored import accepted

pytestmark = pytest.mark.asyncio(loop_scope="module")

Call = Callable[[Any], Awaitable[Any]]

SKY: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL: list[Any] = [{"role": "user", "content": "use the tool"}]
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SEEN: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "what is this"}, PIXEL]}]
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}]
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
MESSAGES = {"model": "llama3", "max_tokens": 64, "messages": SKY}


def sdk(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="nobody-else's-business", max_retries=0)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(foreman: Foreman) -> AsyncIterator[Any]:
    async with sdk(foreman.url) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def direct(stub: StubOllama) -> AsyncIterator[Any]:
    async with sdk(stub.url) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http(foreman: Foreman) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(foreman.url) as session:
        yield session


async def whole(answer: Awaitable[Any]) -> list[Any]:
    """All parts of an answer, streamed or not, as plain values."""
    found = await answer
    parts = [part async for part in found] if isinstance(found, openai.AsyncStream) else [found]
    return [part if isinstance(part, str) else part.model_dump() for part in parts]


SAME: dict[str, Call] = {
    "chat": lambda c: c.chat.completions.create(model="llama3", messages=SKY),
    "chat stream": lambda c: c.chat.completions.create(model="llama3", messages=SKY, stream=True),
    "chat usage": lambda c: c.chat.completions.create(model="llama3", messages=SKY, **USAGE),
    "chat tools": lambda c: c.chat.completions.create(model="llama3", messages=TOOL, tools=TOOLS),
    "chat tools stream": lambda c: c.chat.completions.create(model="llama3", messages=TOOL, tools=TOOLS, stream=True),
    "chat thinking": lambda c: c.chat.completions.create(model="llama3", messages=SKY, reasoning_effort="low"),
    "chat image": lambda c: c.chat.completions.create(model="llama3", messages=SEEN, max_tokens=3),
    "completion": lambda c: c.completions.create(model="llama3", prompt="hello"),
    "completion stream": lambda c: c.completions.create(model="llama3", prompt="hello", **USAGE),
    "responses": lambda c: c.responses.create(model="llama3", input="hello"),
    "responses stream": lambda c: c.responses.create(model="llama3", input="hello", stream=True),
    "embeddings": lambda c: c.embeddings.create(model="nomic-embed-text", input=["one", "two"]),
    "embeddings as text": lambda c: c.embeddings.create(
        model="nomic-embed-text", input="one", encoding_format="float", dimensions=8
    ),
    "transcription": lambda c: c.audio.transcriptions.create(model="llama3", file=b"RIFF" * 1000),
    "transcription text": lambda c: c.audio.transcriptions.create(
        model="llama3", file=b"RIFF", prompt="names", response_format="text"
    ),
    "models": lambda c: c.models.list(),
    "model": lambda c: c.models.retrieve("qwen3:8b"),
    "model without tag": lambda c: c.models.retrieve("llama3"),
}


@pytest.mark.parametrize("call", SAME.values(), ids=SAME.keys())
async def test_the_client_gets_what_the_target_itself_would_have_given(client: Any, direct: Any, call: Call) -> None:
    assert await whole(call(client)) == await whole(call(direct))


async def test_the_answers_are_the_expected_ones(client: Any) -> None:
    text = expected_text({"model": "llama3", "messages": SKY})
    answer = await client.chat.completions.create(model="llama3", messages=SKY)
    assert answer.choices[0].message.content == text
    chunks = [chunk async for chunk in await client.chat.completions.create(model="llama3", messages=SKY, **USAGE)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == text
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 16)
    events = [event async for event in await client.responses.create(model="llama3", input="hello", stream=True)]
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


async def test_the_synchronous_client_works_too(foreman: Foreman) -> None:
    def ask() -> str:
        with openai.OpenAI(base_url=f"{foreman.url}/v1", api_key="x", max_retries=0) as client:
            stream = client.chat.completions.create(model="llama3", messages=SKY, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(ask) == expected_text({"model": "llama3", "messages": SKY})


async def test_a_model_that_came_behind_foremans_back_works(stub: StubOllama, client: Any) -> None:
    stub.library.add(StubModel(name="side-loaded:1b"))
    answer = await client.chat.completions.create(model="side-loaded:1b", messages=SKY)
    assert answer.choices[0].finish_reason == "stop"
    assert (await client.models.retrieve("side-loaded:1b")).owned_by == "library"


REFUSED: tuple[Call, ...] = (
    lambda c: c.chat.completions.create(model="nope", messages=SKY),
    lambda c: c.chat.completions.create(model="nope", messages=SKY, stream=True),
    lambda c: c.chat.completions.create(model="foo bar", messages=SKY),
    lambda c: c.chat.completions.create(model="", messages=SKY),
    lambda c: c.chat.completions.create(model="llama3", messages=[]),
    lambda c: c.chat.completions.create(model="nomic-embed-text", messages=SKY),
    lambda c: c.completions.create(model="nope", prompt="hello"),
    lambda c: c.completions.create(model="llama3", prompt=["one", "two"]),
    lambda c: c.responses.create(model="nope", input="hello"),
    lambda c: c.embeddings.create(model="nope", input="hello"),
    lambda c: c.embeddings.create(model="nomic-embed-text", input=[]),
    lambda c: c.audio.transcriptions.create(model="nope", file=b"RIFF"),
    lambda c: c.models.retrieve("nope"),
)


async def refusal(call: Awaitable[Any]) -> tuple[type[openai.APIStatusError], object]:
    with pytest.raises(openai.APIStatusError) as refused:
        await whole(call)
    return type(refused.value), refused.value.body


async def test_the_client_is_refused_in_the_targets_words(client: Any, direct: Any) -> None:
    expected = await asyncio.gather(*(refusal(call(direct)) for call in REFUSED))
    assert await asyncio.gather(*(refusal(call(client)) for call in REFUSED)) == expected


async def test_an_unknown_model_leaves_no_row_and_reaches_no_target(stub: StubOllama, db: Path, client: Any) -> None:
    before, asked = accepted(db), len(stub.ledger.on("/v1/chat/completions"))
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        await client.chat.completions.create(model="nope", messages=SKY)
    assert accepted(db) == before
    assert len(stub.ledger.on("/v1/chat/completions")) == asked


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, openai.BadRequestError), (401, openai.AuthenticationError), (403, openai.PermissionDeniedError)],
)
async def test_error_statuses_of_the_target_reach_the_client(
    stub: StubOllama, client: Any, status: int, kind: type[openai.APIStatusError]
) -> None:
    stub.script("llama3", Script(status=status, error="the target's own words"))
    with pytest.raises(kind, match="the target's own words"):
        await client.chat.completions.create(model="llama3", messages=SKY, stream=True)
    stub.script("llama3", None)


@pytest.mark.parametrize("script", [Script(die=Die.FIN, die_after_chunks=3), Script(terminal=Terminal.OMIT)])
async def test_an_answer_that_breaks_off_raises(stub: StubOllama, client: Any, script: Script) -> None:
    stub.script("llama3", script)
    stream = await client.chat.completions.create(model="llama3", messages=SKY, stream=True)
    with pytest.raises(openai.APIError, match="the target"):
        await whole(_given(stream))
    stub.script("llama3", None)


async def _given(stream: Any) -> Any:
    return stream


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_messages_pass_byte_for_byte(
    stub: StubOllama, http: aiohttp.ClientSession, stream: bool
) -> None:
    asked = MESSAGES | {"stream": stream}
    async with http.post("/v1/messages?beta=true", json=asked) as answer:
        got, kind = await answer.read(), answer.headers["Content-Type"]
        assert len(answer.headers["X-Foreman-Job"]) == 26
    async with aiohttp.ClientSession(stub.url) as target, target.post("/v1/messages", json=asked) as answer:
        assert (await answer.read(), answer.headers["Content-Type"]) == (got, kind)
    assert (b"event: message_stop" in got) == stream


async def test_anthropic_errors_have_anthropics_shape(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/messages", json=MESSAGES | {"model": "nope"}) as answer:
        assert answer.status == 404
        error = await answer.json()
    assert error["type"] == "error"
    assert error["error"] == {"type": "not_found_error", "message": "model 'nope' not found"}
    async with http.post("/v1/messages", json={"model": "llama3", "messages": SKY}) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (400, "invalid_request_error")


async def test_anthropic_hears_of_a_break_as_an_error_event(stub: StubOllama, http: aiohttp.ClientSession) -> None:
    stub.script("llama3", Script(die=Die.FIN, die_after_chunks=3))
    async with http.post("/v1/messages", json=MESSAGES | {"stream": True}) as answer:
        await answer.content.readuntil(b"event: error\n")
        assert b'"type":"error"' in await answer.content.readline()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    stub.script("llama3", None)
