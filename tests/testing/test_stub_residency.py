"""What is loaded when, as /api/ps and the ledger tell it."""

import asyncio
from typing import Any

import aiohttp
import pytest

from foreman.testing import Load, Script, StubModel, StubOllama


async def _generate(stub: StubOllama, model: str, **more: Any) -> None:
    body = {"model": model, "prompt": "hello", "stream": False} | more
    async with aiohttp.ClientSession() as session, session.post(f"{stub.url}/api/generate", json=body) as answer:
        assert answer.status == 200


async def _running(stub: StubOllama) -> list[str]:
    async with aiohttp.ClientSession() as session, session.get(f"{stub.url}/api/ps") as answer:
        return [model["name"] for model in (await answer.json())["models"]]


def _names(stub: StubOllama) -> list[str]:
    return [load.name for load in stub.ledger.loads]


async def _abandon(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loading_model_is_not_listed_until_it_is_ready(stub: StubOllama) -> None:
    stub.hold_loads()
    asking = asyncio.create_task(_generate(stub, "llama3"))
    await stub.ledger.wait_for(lambda ledger: ledger.loads)
    assert await _running(stub) == []
    stub.release_loads()
    await asking
    assert await _running(stub) == ["llama3:latest"]


async def test_a_client_that_leaves_aborts_the_load(stub: StubOllama) -> None:
    stub.hold_loads()
    asking = asyncio.create_task(_generate(stub, "llama3"))
    await stub.ledger.wait_for(lambda ledger: ledger.loads)
    await _abandon(asking)
    await stub.ledger.wait_for(lambda ledger: ledger.concurrent == 0)
    stub.release_loads()
    assert await _running(stub) == []
    await _generate(stub, "llama3")
    assert _names(stub) == ["llama3:latest"] * 2


async def test_one_worker_model_evicts_the_other(stub: StubOllama) -> None:
    for model in ("llama3", "qwen3:8b", "qwen3:8b", "llama3"):
        await _generate(stub, model)
    assert _names(stub) == ["llama3:latest", "qwen3:8b", "llama3:latest"]
    assert stub.ledger.unloads == ["llama3:latest", "qwen3:8b"]
    assert await _running(stub) == ["llama3:latest"]


async def test_eviction_waits_for_the_running_request(stub: StubOllama) -> None:
    stub.script("llama3", Script(hold=0))
    first = asyncio.create_task(_generate(stub, "llama3"))
    await stub.ledger.held()
    second = asyncio.create_task(_generate(stub, "qwen3:8b"))
    await stub.ledger.wait_for(lambda ledger: ledger.concurrent == 2)
    assert _names(stub) == ["llama3:latest"]
    stub.release("llama3")
    await asyncio.gather(first, second)
    assert _names(stub) == ["llama3:latest", "qwen3:8b"]


async def test_embedding_models_come_on_top() -> None:
    async with StubOllama() as stub, aiohttp.ClientSession(stub.url) as http:
        await _generate(stub, "llama3")
        async with http.post("/api/embed", json={"model": "nomic-embed-text", "input": "x"}) as answer:
            assert answer.status == 200
        assert set(await _running(stub)) == {"llama3:latest", "nomic-embed-text:latest"}
        assert stub.ledger.unloads == []


async def test_max_loaded_worker_models_stay() -> None:
    async with StubOllama(["a", "b", "c"], max_loaded=2) as stub:
        await _generate(stub, "a", keep_alive=-1)
        for model in ("b", "c"):
            await _generate(stub, model)
        assert stub.ledger.unloads == ["b:latest"]
        assert await _running(stub) == ["a:latest", "c:latest"]


async def test_a_load_option_reloads_and_others_do_not(stub: StubOllama) -> None:
    for options in ({}, {"temperature": 0.1}, {"num_ctx": 8192}, {"num_ctx": 8192, "seed": 1}, {}):
        await _generate(stub, "llama3", options=options)
    assert stub.ledger.loads == [
        Load("llama3:latest", {}),
        Load("llama3:latest", {"num_ctx": 8192}),
        Load("llama3:latest", {}),
    ]


async def test_copies_share_the_runner_of_their_weights(stub: StubOllama) -> None:
    async with aiohttp.ClientSession(stub.url) as http:
        async with http.post("/api/copy", json={"source": "llama3", "destination": "twin"}) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        await _generate(stub, "llama3")
        await _generate(stub, "twin")
    assert _names(stub) == ["llama3:latest"]
    assert await _running(stub) == ["llama3:latest"]


async def test_requests_for_one_model_take_turns(stub: StubOllama) -> None:
    stub.script("llama3", Script(hold=0))
    asking = [asyncio.create_task(_generate(stub, "llama3")) for _ in range(2)]
    await stub.ledger.wait_for(lambda ledger: ledger.concurrent == 2 and sum(entry.held for entry in ledger.entries))
    assert sum(entry.held for entry in stub.ledger.entries) == 1
    for _ in asking:
        stub.release("llama3")
    await asyncio.gather(*asking)
    assert _names(stub) == ["llama3:latest"]


async def test_a_keep_alive_sticks_to_the_runner(stub: StubOllama) -> None:
    await _generate(stub, "llama3", keep_alive="-1m")
    await _generate(stub, "llama3")
    async with aiohttp.ClientSession(stub.url) as http, http.get("/api/ps") as answer:
        (running,) = (await answer.json())["models"]
    assert running["expires_at"] > "2300"


@pytest.mark.parametrize("keep_alive", [0, "0s", "10ms", 0.01])
async def test_a_short_keep_alive_unloads_when_idle(stub: StubOllama, keep_alive: Any) -> None:
    await _generate(stub, "llama3", keep_alive=keep_alive)
    await stub.ledger.wait_for(lambda ledger: ledger.unloads == ["llama3:latest"])
    assert await _running(stub) == []


async def test_an_unload_waits_for_the_running_request(stub: StubOllama) -> None:
    stub.script("llama3", Script(hold=0))
    asking = asyncio.create_task(_generate(stub, "llama3"))
    await stub.ledger.held()
    await _generate(stub, "llama3", prompt="", keep_alive=0)
    assert stub.ledger.unloads == []
    stub.release("llama3")
    await asking
    await stub.ledger.wait_for(lambda ledger: ledger.unloads == ["llama3:latest"])


async def test_loading_takes_its_seconds_per_model() -> None:
    loop = asyncio.get_running_loop()
    models = [StubModel(name="slow", load_seconds=0.2), StubModel(name="fast")]
    async with StubOllama(models) as stub:
        begun = loop.time()
        await _generate(stub, "slow")
        assert loop.time() - begun >= 0.19
        begun = loop.time()
        await _generate(stub, "slow")
        assert loop.time() - begun < 0.19
