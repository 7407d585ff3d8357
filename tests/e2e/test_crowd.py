"""Many who wait at once: nobody is lost, everybody hears something meanwhile, and nobody holds up a stop."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from foreman.testing import Script, StubOllama, expected_text
from tests.e2e import raw
from tests.e2e.client import chat, post
from tests.e2e.own import GENERATE, handed, prompt
from tests.e2e.process import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CROWD = 500


async def test_five_hundred_clients_wait_and_each_gets_its_own_answer(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db", hold_seconds=0.2, heartbeat_seconds=0.5) as foreman:
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        stub.script(GENERATE, [Script(hold=0)])
        before = asyncio.create_task(post(foreman.url, GENERATE, prompt("before")))
        entry = await stub.ledger.held()
        bodies = [prompt(f"number {number}") for number in range(CROWD)]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(raw.connected(foreman.url)) for _ in bodies]
            for client, body in zip(clients, bodies, strict=True):
                await client.request(f"POST {GENERATE}", body=orjson.dumps(body))
            await foreman.queued(CROWD)
            for client in clients:
                assert (await client.head()).status == 200
                assert await client.piece() == b" "
            assert (await foreman.health())["status"] == "ok"
            stub.release(entry.path)
            assert (await before).whole
            for client, body in zip(clients, bodies, strict=True):
                answer = b""
                while piece := await client.piece():
                    answer += piece
                assert orjson.loads(answer)["response"] == expected_text(body)
        await foreman.event("job_finished", CROWD + 2)
        assert (await foreman.health())["relay_bytes"] == 0
    assert stub.ledger.max_concurrent == 1


async def test_those_who_only_read_do_not_hold_up_a_stop(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db", drain_seconds=600) as foreman:
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        waits = await handed(foreman, prompt("later"), not_before=3600)
        async with raw.connected(foreman.url) as events, raw.connected(foreman.url) as reader:
            await events.request("GET /events")
            assert (await events.head()).status == 200
            assert b"snapshot" in await events.piece()
            await reader.request(f"GET /jobs/{waits}/response")
            await foreman.health()
            foreman.send(signal.SIGTERM)
            assert await foreman.ended() == 0
            assert (await events.closed()).endswith(b"0\r\n\r\n")
            told = await reader.answer()
        assert (told.status, orjson.loads(told.body)["code"]) == (503, "draining")
