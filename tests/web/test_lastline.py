"""Clients that asked for no progress: what they get, when they are told something, and that they count as readers."""

import asyncio

import aiohttp
import orjson
import pytest

from foreman.testing import Die, Script, StubOllama
from tests.e2e.raw import connected
from tests.web.conftest import Front, Fronts

PULL = "/api/pull"
ASKED = {"model": "phi4:mini", "stream": False}


async def pulled(front: Front, **headers: str) -> tuple[int, str, bytes]:
    async with front.http.post(PULL, json=ASKED, headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.read()


async def settled(front: Front) -> None:
    """No job is left, and nothing is held for anybody."""
    async with asyncio.timeout(10):
        for live in list(front.engine.jobs):
            await live.ended.wait()
    await front.engine.settled()
    assert front.engine.jobs.held_bytes == 0


async def test_the_last_line_alone(front: Front) -> None:
    assert await pulled(front) == (200, "application/json", b'{"status":"success"}')
    await settled(front)


async def test_a_key_leads_back_to_what_is_kept(stub: StubOllama, front: Front) -> None:
    key = {"Idempotency-Key": "once"}
    first = await pulled(front, **key)
    await settled(front)
    assert await pulled(front, **key) == first
    async with front.http.post(PULL, json={"name": "library/phi4:mini"}, headers=key) as answer:
        assert (await answer.read()).splitlines()[-1] == b'{"status":"success"}'
    assert len(stub.ledger.on(PULL)) == 1


async def test_what_the_target_reports_is_a_500(stub: StubOllama, front: Front) -> None:
    stub.script(PULL, Script(error="no space left on device", error_after=2))
    assert await pulled(front) == (500, "application/json", b'{"error":"no space left on device"}')
    await settled(front)


async def test_a_refusal_is_passed_on_as_it_is(stub: StubOllama, front: Front) -> None:
    stub.script(PULL, Script(status=418, body=b"no tea", headers={"Content-Type": "text/plain"}))
    assert await pulled(front) == (418, "text/plain", b"no tea")
    await settled(front)


async def test_a_failure_of_foremans_own_is_told_in_ollamas_shape(stub: StubOllama, fronts: Fronts) -> None:
    stub.script(PULL, Script(die=Die.FIN, die_after_chunks=2))
    async with fronts(max_attempts=1) as front:
        status, _, body = await pulled(front)
        assert (status, "broke off" in orjson.loads(body)["error"]) == (502, True)
        await settled(front)


async def test_who_waits_long_gets_heartbeats_and_then_the_line(stub: StubOllama, fronts: Fronts) -> None:
    stub.script(PULL, Script(hold=2))
    async with fronts(hold_seconds=0.01, heartbeat_seconds=0.01) as front, connected(front.url) as connection:
        await connection.request(f"POST {PULL}", body=orjson.dumps(ASKED))
        assert (await connection.head()).status == 200
        body = await connection.piece() + await connection.piece()
        assert body.strip() == b""
        stub.release(PULL)
        while piece := await connection.piece():
            body += piece
        assert orjson.loads(body) == {"status": "success"}
        await settled(front)


@pytest.mark.parametrize("hold", [0, 2], ids=["before the first line", "in the middle"])
async def test_who_leaves_ends_the_pull_unless_somebody_else_reads(stub: StubOllama, front: Front, hold: int) -> None:
    stub.script(PULL, Script(hold=hold))
    alone = asyncio.create_task(pulled(front))
    entry = await stub.ledger.held()
    (live,) = front.engine.jobs
    other = asyncio.create_task(pulled(front))
    async with asyncio.timeout(10):
        while live.relay.readers < 2:
            await front.engine.poller.look()
        alone.cancel()
        while live.relay.readers > 1:
            await front.engine.poller.look()
        assert not live.cancelled
        other.cancel()
        await live.ended.wait()
    assert (live.state, entry.ending) == ("cancelled", "client_gone")
    await settled(front)


async def test_one_that_would_not_wait_is_told_where_to_look(stub: StubOllama, front: Front) -> None:
    stub.script(PULL, Script(hold=2))
    async with front.http.post(PULL, json=ASKED, headers={"Prefer": "respond-async"}) as answer:
        assert answer.status == 202
        job = (await answer.json())["id"]
    await stub.ledger.held()
    stub.release(PULL)
    await settled(front)
    async with aiohttp.ClientSession(front.url) as http, http.get(f"/jobs/{job}") as answer:
        assert (await answer.json())["state"] == "done"
