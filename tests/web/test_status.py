"""What foreman says of itself, in every state it can be in."""

import pytest

from foreman.core.errors import StorageFull
from foreman.engine.trouble import StoreTrouble
from foreman.testing import StubOllama
from foreman.web.status import status_word
from tests.web.conftest import Front


async def health(front: Front) -> tuple[int, str]:
    async with front.http.get("/health") as answer:
        return answer.status, (await answer.json())["status"]


def trouble_of(front: Front) -> StoreTrouble:
    return front.engine._settlement.trouble


async def test_health_in_every_state(stub: StubOllama, front: Front) -> None:
    assert await health(front) == (200, "ok")
    stub.refuse()
    await front.engine.poller.refresh()
    assert await health(front) == (200, "degraded")
    front.engine.draining = True
    assert await health(front) == (503, "draining")
    trouble_of(front).begin(StorageFull("the disk is full"))
    assert await health(front) == (503, "storage")
    async with front.http.get("/health") as answer:
        assert (await answer.json())["storage"]["error"] == "the disk is full"
    trouble_of(front).error = None
    front.engine.draining = False
    await stub.accept()
    await front.engine.poller.refresh()
    assert await health(front) == (200, "ok")


async def test_a_target_that_was_not_asked_yet_is_no_news(front: Front) -> None:
    front.engine.poller.reachable = None
    assert status_word(front.engine) == "ok"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_sign_of_life(front: Front, method: str) -> None:
    async with front.http.request(method, "/") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "17")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert await answer.read() == (b"Ollama is running" if method == "GET" else b"")


async def test_an_idle_foreman_has_nothing_to_show(front: Front) -> None:
    async with front.http.get("/health") as answer:
        report = await answer.json()
    assert report["queue"] == {"paused": False, "depth": 0, "by_model": {}, "oldest_wait_seconds": None}
    assert (report["running"], report["relay_bytes"]) == (None, 0)
    assert report["target"]["resident"] == []
