"""Slots over HTTP, from inside: what a client that waits hears, and what becomes of the slot when it is not there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from foreman.web import slots
from tests.e2e import raw
from tests.engine.running import PATIENCE, ended
from tests.web.conftest import Front, Fronts

LOCAL = {"lane": "local"}


@asynccontextmanager
async def asking(front: Front, key: str = "", **fields: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Idempotency-Key": key} if key else {}
    async with asyncio.timeout(PATIENCE), front.http.post("/slots", json=LOCAL | fields, headers=headers) as answer:
        yield answer


async def held(front: Front, key: str = "", **fields: Any) -> str:
    async with asking(front, key, **fields) as answer:
        assert answer.status == 200
        return str(orjson.loads(await answer.read())["id"])


async def said(front: Front, method: str, path: str, data: bytes | None = None) -> tuple[int, Any]:
    async with front.http.request(method, path, data=data) as answer:
        return answer.status, orjson.loads(await answer.read())


async def state(front: Front, slot: str) -> str:
    return str((await said(front, "GET", f"/jobs/{slot}"))[1]["state"])


async def queued(front: Front) -> str:
    """The id of the one job that waits, as soon as one does."""
    async with asyncio.timeout(PATIENCE):
        while not (waiting := (await said(front, "GET", "/queue"))[1]["waiting"]):
            pass
    return str(waiting[0]["id"])


@pytest.mark.parametrize("heartbeat", [0, 0.01])
async def test_who_waits_hears_of_it_also_where_heartbeats_are_off(
    fronts: Fronts, heartbeat: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For it has to notice a foreman that is gone."""
    if not heartbeat:
        monkeypatch.setattr(slots, "HEARTBEAT_SECONDS", 0.01)
    async with fronts(heartbeat_seconds=heartbeat) as front:
        first = await held(front)
        async with asking(front) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert await answer.content.readexactly(3) == b"   "
            assert (await said(front, "DELETE", f"/slots/{first}"))[0] == 200
            slot = orjson.loads(await answer.read())
        assert slot["id"] == answer.headers["X-Foreman-Job"]
        await said(front, "DELETE", f"/slots/{slot['id']}")


async def test_who_hangs_up_before_it_is_granted_has_left_the_queue(front: Front) -> None:
    first = await held(front)
    async with asking(front) as answer:
        waiting = answer.headers["X-Foreman-Job"]
        live = front.engine.jobs.get(waiting)
        assert live is not None
        answer.close()
        await ended(live)
    assert await state(front, waiting) == "cancelled"
    # After the grant only heartbeats matter.
    assert await said(front, "POST", f"/slots/{first}/heartbeat") == (
        200,
        {"id": first, "expiry_seconds": 30.0, "cancel_requested": False},
    )
    await said(front, "DELETE", f"/slots/{first}")


async def test_one_of_two_that_wait_for_the_same_slot_may_leave(front: Front) -> None:
    first = await held(front)
    async with asking(front, "key") as answer:
        slot = answer.headers["X-Foreman-Job"]
        async with asking(front, "key") as other:
            assert other.headers["X-Foreman-Job"] == slot
            other.close()
        await said(front, "DELETE", f"/slots/{first}")
        assert orjson.loads(await answer.read())["id"] == slot
    assert await state(front, slot) == "working"
    await said(front, "DELETE", f"/slots/{slot}")


async def test_a_slot_that_was_given_back_is_not_granted_again(front: Front) -> None:
    slot = await held(front, "key")
    assert await held(front, "key") == slot  # its answer was lost on the way
    status, job = await said(front, "DELETE", f"/slots/{slot}", b'{"exit_status":7}')
    assert (status, job["state"]) == (200, "done")
    async with asking(front, "key") as answer:
        problem = orjson.loads(await answer.read())
        assert (answer.status, answer.content_type) == (409, "application/problem+json")
    assert problem["detail"] == f"slot {slot} is not held any more"
    for method, path in (("POST", f"/slots/{slot}/heartbeat"), ("DELETE", f"/slots/{slot}")):
        assert (await said(front, method, path))[0] == 409


async def test_a_cancel_is_told_with_the_next_heartbeat_and_frees_nothing(front: Front) -> None:
    slot = await held(front)
    assert (await said(front, "DELETE", f"/jobs/{slot}"))[0] == 202
    status, told = await said(front, "POST", f"/slots/{slot}/heartbeat")
    assert (status, told["cancel_requested"], await state(front, slot)) == (200, True, "working")
    status, job = await said(front, "DELETE", f"/slots/{slot}")
    assert (status, job["state"]) == (200, "cancelled")


async def test_a_cancel_while_it_waits_breaks_the_answer_off_with_a_reason(front: Front) -> None:
    first = await held(front)
    asked = asyncio.create_task(raw.ask(front.url, "POST /slots", body=orjson.dumps(LOCAL)))
    waiting = await queued(front)
    assert (await said(front, "DELETE", f"/jobs/{waiting}"))[0] == 200
    got = await asked
    assert (got.whole, orjson.loads(got.body)) == (False, {"error": "the job was cancelled"})
    await said(front, "DELETE", f"/slots/{first}")


async def test_what_is_no_slot_is_told(front: Front) -> None:
    nobody = "01M7Y85ES1M7RYVESTD1QG1G0Z"
    assert (await said(front, "POST", f"/slots/{nobody}/heartbeat"))[0] == 404
    assert (await said(front, "DELETE", f"/slots/{nobody}"))[0] == 404
    slot = await held(front)
    for body in (b'{"exit_status":-1}', b'{"status":1}', b"[]", b"{"):
        status, problem = await said(front, "DELETE", f"/slots/{slot}", body)
        assert (status, problem["code"]) == (400, "bad_request")
    assert await state(front, slot) == "working"
    assert (await said(front, "DELETE", f"/slots/{slot}", b" " * (slots.BODY_BYTES + 1)))[0] == 413
    assert (await said(front, "POST", "/slots", b" " * (slots.BODY_BYTES + 1)))[0] == 413
    assert (await said(front, "DELETE", f"/slots/{slot}"))[0] == 200
