"""foreman's own questions to the target, its loads and unloads."""

import asyncio
import json

import pytest

from foreman.core.errors import TargetSilent, TargetStatus
from foreman.core.job import LoadKey
from foreman.engine.target import Target
from foreman.testing import Script, StubOllama
from tests.engine.serving import PATIENCE, rest, target_at


async def test_an_answer_to_a_question(stub: StubOllama, target: Target) -> None:
    assert json.loads(await target.get("/api/version")) == {"version": "0.33.0"}


@pytest.mark.parametrize("status", [204, 400, 404, 500, 503])
async def test_any_status_but_200_is_no_answer_but_a_sign_of_life(
    stub: StubOllama, target: Target, status: int
) -> None:
    stub.script("/api/version", Script(status=status))
    with pytest.raises(TargetStatus, match=rf"/api/version with status {status}"):
        await target.get("/api/version")
    assert await target.alive()


async def test_a_target_that_hangs_is_silent_and_not_alive(stub: StubOllama) -> None:
    stub.freeze()
    async with target_at(stub.url, probe=0.02) as target:
        with pytest.raises(TargetSilent, match=r"no answer to /api/version within 0\.02 s"):
            await target.get("/api/version")
        with pytest.raises(TargetSilent):
            await target.unload("llama3", 0.02)
        assert not await target.alive()
        stub.thaw()
        assert await target.alive()


async def test_a_question_may_have_more_time(stub: StubOllama) -> None:
    for path in ("/api/tags", "/api/version"):
        stub.script(path, Script(hold=0))
    async with target_at(stub.url, probe=0.001) as target:
        asking = asyncio.create_task(target.get("/api/tags", timeout=PATIENCE))
        await stub.ledger.held()
        with pytest.raises(TargetSilent):
            await target.get("/api/version")
        stub.release("/api/tags")
        assert json.loads(await asking)["models"]


async def test_unload_asks_for_nothing_else(stub: StubOllama, target: Target) -> None:
    async with target_at(stub.url) as target:
        exchange = target.load(LoadKey("llama3:latest"), "-1m")
        await exchange.head()
        exchange.close()
        await target.unload("llama3:latest", PATIENCE)
        await stub.ledger.wait_for(lambda ledger: ledger.unloads == ["llama3:latest"])
        assert json.loads(stub.ledger.entries[-1].body) == {"model": "llama3:latest", "keep_alive": 0, "stream": False}
        with pytest.raises(TargetStatus):
            await target.unload("nope", PATIENCE)


async def test_a_load_carries_its_options_and_ends_when_the_model_is_there(stub: StubOllama, target: Target) -> None:
    stub.hold_loads()
    exchange = target.load(LoadKey("llama3:latest", (("num_ctx", 8192), ("use_mmap", False))), "-1m")
    await stub.ledger.wait_for(lambda ledger: ledger.loads)
    assert await exchange.head(0.0) is None
    stub.release_loads()
    head = await exchange.head()
    assert head is not None
    assert head.status == 200
    assert json.loads(await rest(exchange))["done_reason"] == "load"
    exchange.close()
    assert stub.ledger.loads == [("llama3:latest", {"num_ctx": 8192, "use_mmap": False})]
    assert ("Content-Type", "application/json") in [(n.title(), v) for n, v in stub.ledger.entries[0].headers]
