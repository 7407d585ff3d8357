"""Standing in line, before a server that answers what it is told to: what is asked, shown and raised."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from foreman.cli import standing
from foreman.cli.api import Api
from foreman.cli.standing import Cancelled, Standing
from foreman.core.errors import NotReached, Refused

PATIENCE = 30.0
WANTED = {"lane": "local"}
JOB = {
    "id": "one", "state": "queued", "path": "/slots", "model": "slot a", "label": "a", "position": 2,
    "reason": "command", "not_before": None, "expected_start": None, "stats": None, "error": None, "attempts": 0,
}  # fmt: skip
FAILED = JOB | {"state": "failed", "error": {"code": "slot_lost", "message": "no heartbeat came"}}
GRANT, CUT, HOLD, REFUSE = "grant", "cut", "hold", "refuse"


class House:
    """`slots` is what becomes of each request for a slot, `jobs` what each look at the job shows, None for nothing.

    The last of either stays. What is held is granted when `open` is set.
    """

    def __init__(self) -> None:
        self.slots: list[str] = [GRANT]
        self.jobs: list[dict[str, Any] | None] = [JOB]
        self.open = asyncio.Event()
        self.keys: list[str] = []
        self.looks = 0
        self.left: list[str] = []
        self.news = asyncio.Condition()

    async def slot(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers["Idempotency-Key"])
        fate = self.slots.pop(0) if len(self.slots) > 1 else self.slots[0]
        if fate == REFUSE:
            return web.json_response({"detail": "the queue is full"}, status=503)
        response = web.StreamResponse(headers={"X-Foreman-Job": "one"})
        await response.prepare(request)
        await response.write(b" ")
        if fate == HOLD:
            await self.open.wait()
        if fate == CUT:
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(b'{"id":"one"}')
        return response

    async def job(self, request: web.Request) -> web.StreamResponse:
        shown = self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]
        async with self.news:
            self.looks += 1
            self.news.notify_all()
        if shown is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.json_response(shown)

    async def leave(self, request: web.Request) -> web.Response:
        self.left.append(request.match_info["id"])
        return web.json_response({})

    async def seen(self, what: Callable[[], bool]) -> None:
        """Wait until it is true, asked again after every look at the job."""
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(what)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def talk() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "LOOK_SECONDS", 0.001)


@asynccontextmanager
async def line(house: House, talk: io.StringIO) -> AsyncIterator[Standing]:
    app = web.Application()
    app.router.add_post("/slots", house.slot)
    app.router.add_get("/jobs/{id}", house.job)
    app.router.add_delete("/slots/{id}", house.leave)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Api(f"http://127.0.0.1:{runner.addresses[0][1]}", None) as api, asyncio.timeout(PATIENCE):
            yield Standing(api, WANTED, talk, {})
    finally:
        await runner.cleanup()


async def test_what_is_free_at_once_is_granted_without_a_word(house: House, talk: io.StringIO) -> None:
    async with line(house, talk) as stands:
        assert await stands.granted() == {"id": "one"}
    assert (talk.getvalue(), house.left) == ("", [])


async def test_who_waits_is_told_of_every_change_once(house: House, talk: io.StringIO) -> None:
    house.slots, house.jobs = [HOLD], [JOB, JOB, None, JOB, JOB | {"position": 1}]
    async with line(house, talk) as stands:
        granted = asyncio.create_task(stands.granted())
        await house.seen(lambda: house.looks >= 8)
        house.open.set()
        assert await granted == {"id": "one"}
    told = talk.getvalue().splitlines()
    assert [text.split("position ")[1][0] for text in told] == ["2", "1"]


async def test_after_a_restart_the_same_place_is_asked_for(house: House, talk: io.StringIO) -> None:
    house.slots, house.jobs = [CUT, CUT, GRANT], [None, None, JOB]
    async with line(house, talk) as stands:
        assert await stands.granted() == {"id": "one"}
    assert (len(house.keys), len(set(house.keys))) == (3, 1)
    assert talk.getvalue().count("the place in its queue is kept") == 1


async def test_a_slot_that_was_lost_while_foreman_was_away_is_asked_for_anew(house: House, talk: io.StringIO) -> None:
    house.slots, house.jobs = [CUT, GRANT], [FAILED]
    async with line(house, talk) as stands:
        assert await stands.granted() == {"id": "one"}
    assert len(set(house.keys)) == 2


@pytest.mark.parametrize("error", [None, {"code": "cancelled", "message": "by somebody"}])
async def test_who_was_cancelled_is_told_so(house: House, talk: io.StringIO, error: dict[str, str] | None) -> None:
    house.slots, house.jobs = [CUT], [JOB | {"state": "cancelled", "error": error}]
    async with line(house, talk) as stands:
        with pytest.raises(Cancelled, match="by somebody" if error else "cancelled while it waited"):
            await stands.granted()
    assert len(house.keys) == 1


async def test_who_is_refused_at_the_door_does_not_wait(house: House, talk: io.StringIO) -> None:
    house.slots = [REFUSE]
    async with line(house, talk) as stands:
        with pytest.raises(Refused, match="queue is full"):
            await stands.granted()
    assert (len(house.keys), house.looks) == (1, 0)


async def test_a_foreman_that_is_away_for_too_long_is_not_waited_for(
    house: House, talk: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "AWAY_SECONDS", 0.0)
    house.slots, house.jobs = [CUT], [None]
    async with line(house, talk) as stands:
        with pytest.raises(NotReached):
            await stands.granted()
    assert house.left == []


async def test_who_gives_up_waiting_leaves_the_queue(house: House, talk: io.StringIO) -> None:
    house.slots = [HOLD]
    async with line(house, talk) as stands:
        granted = asyncio.create_task(stands.granted())
        await house.seen(lambda: house.looks >= 1)
        granted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await granted
        house.open.set()
    assert house.left == ["one"]
