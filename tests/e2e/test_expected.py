"""When a job will start: told from what its model's jobs took, once there are three of them, also after a restart."""

from pathlib import Path

import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e import raw
from tests.e2e.client import chat_v1, post
from tests.e2e.own import call, handed, prompt
from tests.e2e.process import Foreman, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def told(foreman: Foreman, stub: StubOllama) -> dict[str, object]:
    """What is said of a job that waits behind a running one, wherever it is said: all of it must agree."""
    stub.script("/api/generate", [Script(hold=0)])
    running = await handed(foreman, prompt("runs"))
    entry = await stub.ledger.held()
    path, body = chat_v1("llama3", "waits", stream=True)
    async with raw.connected(foreman.url) as client:
        await client.request(f"POST {path}", body=orjson.dumps(body))
        head = await client.head()
        comment = (await client.piece()).decode()
        job = (await call(foreman, "GET", f"/jobs/{head.headers['x-foreman-job']}"))[1]
        (queued,) = (await call(foreman, "GET", "/queue"))[1]["waiting"]
        assert (queued["position"], queued["reason"]) == (job["position"], job["reason"]) == (1, "loaded")
        assert (queued["expected_start"] is None) is (job["expected_start"] is None)
        words = f": foreman job={job['id']} state=queued model=llama3:latest position=1 reason=loaded"
        assert comment.startswith(words)
        assert ("expected_start=" in comment) is (job["expected_start"] is not None)
        stub.release(entry.path)
        while (await client.piece()) != b"":
            pass
    await foreman.settled(running, job["id"])
    return dict(job)


async def test_an_expected_start_needs_three_samples_and_outlives_a_restart(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    padded = {"hold_seconds": 0.05, "heartbeat_seconds": 5}
    async with serving(stub.url, db, **padded) as foreman:
        assert (await told(foreman, stub))["expected_start"] is None
        assert (await post(foreman.url, *chat_v1("llama3", "third"))).whole
        known = (await told(foreman, stub))["expected_start"]
        assert isinstance(known, float)
        assert known >= 0
        await foreman.kill()
    async with serving(stub.url, db, **padded) as foreman:
        assert isinstance((await told(foreman, stub))["expected_start"], float)


async def test_a_paused_queue_is_told_everywhere(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db", hold_seconds=0.05) as foreman:
        await call(foreman, "POST", "/queue/pause")
        assert (await foreman.health())["queue"]["paused"] is True
        path, body = chat_v1("llama3", "waits", stream=True)
        async with raw.connected(foreman.url) as client:
            await client.request(f"POST {path}", body=orjson.dumps(body))
            head = await client.head()
            assert b"reason=paused" in await client.piece()
            job = (await call(foreman, "GET", f"/jobs/{head.headers['x-foreman-job']}"))[1]
            assert (job["reason"], job["expected_start"]) == ("paused", None)
            assert (await call(foreman, "GET", "/queue"))[1]["paused"] is True
            await call(foreman, "POST", "/queue/resume")
            while (await client.piece()) != b"":
                pass
        assert (await foreman.health())["queue"]["paused"] is False
