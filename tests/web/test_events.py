"""The stream of events: what is told beside the jobs, and how far the running ones are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import ClientConnectionResetError, ClientError, web

from foreman.testing import Script, StubOllama
from foreman.web import events as events_module
from tests.web.conftest import Front

PATIENCE = 30.0
CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "why"}]}


class Stream:
    """The frames of a stream, one after another; comments are counted."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self.comments = 0

    async def frame(self, event: str) -> Any:
        """The data of the next frame of this kind, the others left out."""
        async with asyncio.timeout(PATIENCE):
            while True:
                text = (await self._content.readuntil(b"\n\n")).decode()
                if text.startswith(":"):
                    self.comments += 1
                    return None if event == ":" else await self.frame(event)
                lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
                if lines["event"] == event:
                    assert ("id" in lines) is (event != "live")
                    return orjson.loads(lines["data"])


@asynccontextmanager
async def following(front: Front, query: str = "") -> AsyncIterator[Stream]:
    async with front.http.get(f"/events{query}") as answer:
        stream = Stream(answer.content)
        await stream.frame("snapshot")
        yield stream


async def test_pausing_is_told(front: Front) -> None:
    async with following(front) as stream:
        for act, paused in (("pause", True), ("resume", False)):
            async with front.http.post(f"/queue/{act}"):
                assert (await stream.frame("state"))["paused"] is paused


async def test_the_target_is_told_when_it_goes_and_comes_back(front: Front, stub: StubOllama) -> None:
    async with following(front) as stream:
        stub.refuse()
        await front.engine.poller.refresh()
        told = await stream.frame("state")
        assert (told["status"], told["target"]["reachable"]) == ("degraded", False)
        await stub.accept()
        await front.engine.poller.refresh()
        while (told := await stream.frame("state"))["status"] != "ok":
            pass
        assert told["target"]["reachable"] is True


async def test_a_model_that_is_loaded_is_told(front: Front) -> None:
    async with following(front) as stream, front.http.post("/api/chat", json=CHAT):
        while not (resident := (await stream.frame("state"))["target"]["resident"]):
            pass
        assert [one["model"] for one in resident] == ["llama3:latest"]


async def test_who_asks_hears_how_far_a_job_is_and_only_they(front: Front, stub: StubOllama) -> None:
    async with front.http.post("/api/chat", json=CHAT) as answer:
        await answer.read()
    stub.script("llama3", Script(hold=3))
    async with following(front, "?live=true") as live, following(front) as other:
        asking = asyncio.create_task(front.http.post("/api/chat", json=CHAT))
        while not (told := (await live.frame("live"))["running"]) or told[0]["tokens"] != 3:
            pass
        assert set(told[0]) == {"id", "tokens", "output_bytes"}
        async with front.http.get(f"/jobs/{told[0]['id']}") as answer:
            assert (await answer.json())["tokens"] == 3
        stub.release("llama3")
        async with await asking as answer:
            await answer.read()
        while (await other.frame("job"))["state"] != "done":  # frame() insists on ids, which no live event has
            pass


async def test_a_quiet_stream_shows_that_it_lives(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_SECONDS", 0.01)
    for query in ("", "?live=true"):
        async with following(front, query) as stream:
            await stream.frame(":")
            assert stream.comments == 1


async def test_a_question_that_makes_no_sense_is_named(front: Front) -> None:
    for query, headers in (("?live=1", {}), ("", {"Last-Event-ID": "x"})):
        async with front.http.get(f"/events{query}", headers=headers) as answer:
            assert answer.status == 400


async def test_who_goes_before_the_first_byte_is_no_error(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone(*_: object) -> None:
        raise ClientConnectionResetError("Cannot write to closing transport")

    with monkeypatch.context() as patched:
        patched.setattr(web.StreamResponse, "prepare", gone)
        with pytest.raises(ClientError):
            await front.http.get("/events")
    async with following(front):
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
