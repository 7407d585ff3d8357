"""What is told of the lanes, in the states in which nothing runs."""

from typing import Any

import pytest

from foreman.testing import StubOllama
from tests.web.conftest import Front

IDLE = {"running": [], "queued": 0, "waits_for": None}


async def lanes(front: Front, path: str) -> Any:
    async with front.http.get(path) as answer:
        return (await answer.json())["lanes"]


@pytest.mark.parametrize("path", ["/queue", "/health"])
async def test_lanes_at_rest(front: Front, path: str) -> None:
    assert await lanes(front, path) == {"local": {"slots": 1, **IDLE}, "remote": {"slots": 5, **IDLE}}


async def hand_over(front: Front, model: str, **fields: Any) -> None:
    body = {"path": "/api/generate", "body": {"model": model, "prompt": "hi"}, **fields}
    async with front.http.post("/jobs", json=body) as answer:
        assert answer.status == 202


@pytest.mark.parametrize("path", ["/queue", "/health"])
@pytest.mark.parametrize("why", ["paused", "target_down"])
async def test_why_nothing_begins_at_all(stub: StubOllama, front: Front, path: str, why: str) -> None:
    if why == "paused":
        await front.engine.pause(True)
    else:
        stub.refuse()
        await front.engine.poller.refresh()
    for model in ("llama3", "gpt-oss:cloud", "gpt-oss:cloud"):
        await hand_over(front, model)
    found = await lanes(front, path)
    assert [(lane["queued"], lane["waits_for"]) for lane in found.values()] == [(1, why), (2, why)]
    async with front.http.get("/queue") as answer:
        jobs = (await answer.json())["waiting"]
    assert [(job["reason"], job["expected_start"]) for job in jobs] == [(why, None)] * 3


async def test_what_waits_for_its_time_is_no_next_one(front: Front) -> None:
    await hand_over(front, "gpt-oss:cloud", not_before=3600)
    found = await lanes(front, "/queue")
    assert (found["remote"]["queued"], found["remote"]["waits_for"]) == (1, None)
    async with front.http.get("/queue") as answer:
        assert [job["lane"] for job in (await answer.json())["delayed"]] == ["remote"]
