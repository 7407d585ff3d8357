"""The stub itself: starting, stopping, refusing, freezing, holding, releasing."""

import asyncio
import json
from typing import Any

import aiohttp
import ollama
import pytest

from foreman.testing import Ending, Script, StubOllama, expected_text

CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


def _said(lines: bytes) -> str:
    return "".join(json.loads(line)["message"]["content"] for line in lines.splitlines())


async def test_the_ollama_client_hears_the_expected_words(stub: StubOllama) -> None:
    client: Any = ollama.AsyncClient(stub.url)
    async with client:
        whole = await client.chat(CHAT["model"], CHAT["messages"])
        parts = [part async for part in await client.chat(CHAT["model"], CHAT["messages"], stream=True)]
    assert whole.message.content == expected_text(CHAT) != ""
    assert "".join(part.message.content for part in parts) == expected_text(CHAT)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


async def test_the_same_request_gets_the_same_bytes(stub: StubOllama, http: aiohttp.ClientSession) -> None:
    bodies = []
    for _ in range(2):
        async with http.post(f"{stub.url}/api/chat", json=CHAT) as response:
            bodies.append(await response.read())
    assert bodies[0] == bodies[1]
    assert _said(bodies[0]) == expected_text(CHAT)


async def test_a_hold_before_the_headers_lasts_until_release(stub: StubOllama, http: aiohttp.ClientSession) -> None:
    stub.script("LLAMA3:Latest", Script(hold=0))
    asking = asyncio.create_task(http.post(f"{stub.url}/api/chat", json=CHAT))
    entry = await stub.ledger.held()
    assert not asking.done()
    assert entry.status is None
    stub.release("llama3")
    async with await asking as response:
        assert _said(await response.read()) == expected_text(CHAT)


async def test_release_lets_so_many_chunks_out(stub: StubOllama, http: aiohttp.ClientSession) -> None:
    stub.script("llama3", Script(hold=2))
    async with http.post(f"{stub.url}/api/chat", json=CHAT) as response:
        entry = await stub.ledger.held()
        assert entry.chunks == 2
        stub.release("llama3", 3)
        await stub.ledger.wait_for(lambda _: entry.chunks == 5 and entry.held)
        stub.release("llama3")
        assert _said(await response.read()) == expected_text(CHAT)
    assert entry.ending is Ending.COMPLETE


async def test_a_release_that_comes_first_counts_for_the_next_request(
    stub: StubOllama, http: aiohttp.ClientSession
) -> None:
    stub.script("llama3", Script(hold=0))
    stub.release("llama3")
    async with http.post(f"{stub.url}/api/chat", json=CHAT) as response:
        assert _said(await response.read()) == expected_text(CHAT)


async def test_refuse_refuses_and_accept_takes_the_same_port(stub: StubOllama, http: aiohttp.ClientSession) -> None:
    url = stub.url
    stub.refuse()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(url)
    await stub.accept()
    assert stub.url == url
    async with http.get(url) as response:
        assert await response.text() == "Ollama is running"


async def test_a_frozen_stub_answers_when_it_thaws(stub: StubOllama, http: aiohttp.ClientSession) -> None:
    stub.freeze()
    asking = asyncio.create_task(http.get(f"{stub.url}/api/version"))
    await stub.ledger.wait_for(lambda ledger: ledger.on("/api/version"))
    assert not asking.done()
    stub.thaw()
    async with await asking as response:
        assert response.status == 200


async def test_stopping_cuts_open_streams_at_once(http: aiohttp.ClientSession) -> None:
    async with StubOllama() as stub:
        stub.script("llama3", Script(hold=1))
        response = await http.post(f"{stub.url}/api/chat", json=CHAT)
        entry = await stub.ledger.held()
        async with asyncio.timeout(1):
            await stub.stop()
    assert entry.ending is Ending.CUT
    with pytest.raises(aiohttp.ClientError):
        await response.read()


async def test_a_restart_keeps_the_port_and_forgets_what_was_loaded(
    stub: StubOllama, http: aiohttp.ClientSession
) -> None:
    async with http.post("/api/generate", json={"model": "llama3", "keep_alive": -1}) as response:
        assert response.status == 200
    await stub.stop()
    await stub.start()
    async with http.get("/api/ps") as response:
        assert await response.json() == {"models": []}


async def test_stopping_ends_what_lingers(http: aiohttp.ClientSession) -> None:
    async with StubOllama() as stub:
        stub.script("llama3", Script(hold=1, linger=1000.0))
        response = await http.post(f"{stub.url}/api/chat", json=CHAT)
        await stub.ledger.held()
        response.close()
        await stub.ledger.wait_for(lambda ledger: ledger.entries[0].ending is Ending.CLIENT_GONE)
        assert stub.ledger.concurrent == 1
        async with asyncio.timeout(1):
            await stub.stop()
        assert stub.ledger.concurrent == 0


async def test_a_client_that_leaves_is_noticed(stub: StubOllama, http: aiohttp.ClientSession) -> None:
    stub.script("llama3", Script(hold=1))
    response = await http.post(f"{stub.url}/api/chat", json=CHAT)
    entry = await stub.ledger.held()
    response.close()
    await stub.ledger.wait_for(lambda ledger: entry.ending is Ending.CLIENT_GONE and ledger.concurrent == 0)


async def test_max_concurrent_counts_worker_requests_and_no_embeddings(http: aiohttp.ClientSession) -> None:
    async with StubOllama(parallel=2) as stub:
        stub.script("llama3", Script(hold=0))
        asking = [asyncio.create_task(http.post(f"{stub.url}/api/chat", json=CHAT)) for _ in range(2)]
        await stub.ledger.wait_for(lambda ledger: sum(entry.held for entry in ledger.entries) == 2)
        async with http.post(f"{stub.url}/api/embed", json={"model": "nomic-embed-text", "input": "x"}) as response:
            assert response.status == 200
        for task in asking:
            stub.release("llama3")
            (await task).release()
        assert stub.ledger.max_concurrent == 2
        assert [entry.concurrent for entry in stub.ledger.entries] == [1, 2, 0]
