"""The compatible APIs: OpenAI's as its official client reads them, Anthropic's by its events."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from foreman.testing import Script, StubOllama, expected_text

MESSAGES: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
CHAT: dict[str, Any] = {"model": "llama3", "messages": MESSAGES}
TEXT = expected_text(CHAT)
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
USE_TOOL: list[Any] = [{"role": "user", "content": "use the tool"}]


@pytest.fixture
async def client(stub: StubOllama) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{stub.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_chat_whole(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (16, 21)


async def test_chat_stream_with_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 16


async def test_chat_stream_ends_with_done_and_says_so_in_its_type(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        frames = (await answer.read()).split(b"\n\n")
    assert frames[-2:] == [b"data: [DONE]", b""]
    assert all(json.loads(frame[6:])["object"] == "chat.completion.chunk" for frame in frames[:-2])


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_calls_a_tool(client: openai.AsyncOpenAI, stream: bool) -> None:
    asked: Any = {"model": "llama3", "messages": USE_TOOL, "tools": [{"type": "function", "function": WEATHER}]}
    answer: Any = await client.chat.completions.create(**asked, stream=stream)
    if stream:
        chunks = [chunk async for chunk in answer]
        (call,) = chunks[0].choices[0].delta.tool_calls
        finish = chunks[-1].choices[0].finish_reason
    else:
        (call,), finish = answer.choices[0].message.tool_calls, answer.choices[0].finish_reason
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "some city"})
    assert finish == "tool_calls"


async def test_max_tokens_cuts(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(**CHAT, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == expected_text(CHAT, tokens=2)


async def test_completions(client: openai.AsyncOpenAI) -> None:
    expected = expected_text({"model": "llama3", "prompt": "once"})
    whole = await client.completions.create(model="llama3", prompt="once")
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == (expected, "stop")
    stream = await client.completions.create(
        model="llama3", prompt="once", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == expected
    assert [chunk.usage.total_tokens if chunk.usage else None for chunk in chunks] == [0] * 17 + [17]


async def test_embeddings_in_both_encodings(client: openai.AsyncOpenAI) -> None:
    packed = await client.embeddings.create(model="nomic-embed-text", input=["one", "two"])
    plain = await client.embeddings.create(model="nomic-embed-text", input="one", encoding_format="float")
    assert len(packed.data) == 2
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert {model.id async for model in client.models.list()} == {
        "llama3:latest",
        "qwen3:8b",
        "nomic-embed-text:latest",
    }
    assert (await client.models.retrieve("llama3")).owned_by == "library"
    with pytest.raises(openai.NotFoundError, match="model 'nope:latest' not found"):
        await client.models.retrieve("nope")


async def test_responses_whole_and_streamed_agree(client: openai.AsyncOpenAI) -> None:
    whole = await client.responses.create(model="llama3", input="Why is the sky blue?")
    assert whole.output_text == TEXT
    async with client.responses.stream(model="llama3", input="Why is the sky blue?") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == TEXT
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


async def test_responses_think_and_call_tools(client: openai.AsyncOpenAI) -> None:
    tool: Any = {"type": "function", "strict": False, **WEATHER}
    asked: Any = {"model": "llama3", "input": "use the tool", "tools": [tool], "reasoning": {"effort": "high"}}
    async with client.responses.stream(**asked) as stream:
        final = await stream.get_final_response()
    thought, call = final.output
    assert thought.type == "reasoning"
    assert thought.summary[0].text
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "some city"})


async def test_transcriptions(client: openai.AsyncOpenAI) -> None:
    heard = await client.audio.transcriptions.create(model="llama3", file=("a.wav", b"RIFF\r\n--x"), prompt="names")
    assert heard.text == expected_text({"model": "llama3", "prompt": "names"})


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/chat/completions", {"model": "llama3"}, 400, "[] is too short - 'messages'"),
        ("/v1/chat/completions", {"model": "nope", "messages": MESSAGES}, 404, "model 'nope' not found"),
        ("/v1/embeddings", {"model": "nomic-embed-text", "input": []}, 400, "invalid input"),
    ],
)
async def test_errors_are_openais(
    http: aiohttp.ClientSession, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    async with http.post(path, json=body) as answer:
        assert answer.status == status
        assert await answer.json() == {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def test_an_error_on_the_way_is_swallowed(stub: StubOllama, client: openai.AsyncOpenAI) -> None:
    stub.script("llama3", Script(error="the runner died", error_after=3))
    chunks = [chunk async for chunk in await client.chat.completions.create(**CHAT, stream=True)]
    assert len(chunks) == 4
    assert (chunks[-1].model, chunks[-1].choices[0].finish_reason) == ("", None)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/completions"])
async def test_a_swallowed_error_just_ends_the_stream(stub: StubOllama, http: aiohttp.ClientSession, path: str) -> None:
    stub.script("llama3", Script(error="the runner died", error_after=3))
    asked = {"model": "llama3", "input": "x", "messages": MESSAGES, "max_tokens": 9, "stream": True}
    async with http.post(path, json=asked) as answer:
        body = (await answer.read()).decode()
    assert body.count("\n\n") == 3 + (path == "/v1/completions")
    assert "the runner died" not in body
    assert "[DONE]" not in body


async def test_messages_whole(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/messages", json=CHAT | {"max_tokens": 100}) as answer:
        said = await answer.json()
    assert said["content"] == [{"type": "text", "text": TEXT}]
    assert (said["stop_reason"], said["usage"]["output_tokens"]) == ("end_turn", 16)


async def test_messages_stream(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/messages", json=CHAT | {"max_tokens": 100, "stream": True}) as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
        frames = (await answer.read()).decode().strip().split("\n\n")
    events = []
    for frame in frames:
        name, line = frame.split("\n")
        events.append(json.loads(line.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert [event["type"] for event in events if event["type"] != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == TEXT


async def test_messages_needs_a_limit(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/messages", json=CHAT) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"
