"""What foreman says of the target and of itself while the target sleeps, wakes, or foreman goes."""

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

import foreman as package
from foreman.testing import Script, StubOllama
from tests.e2e.process import Foreman, serving
from tests.e2e.raw import Answer, ask, connected

CHAT = b'{"model":"llama3","messages":[{"role":"user","content":"hi"}]}'
CACHED = ["/api/tags", "/api/version", "/api/ps", "/v1/models", "/v1/models/llama3"]
# Home Assistant gives these answers five seconds; foreman needs none of them.
AT_ONCE = 0.5


async def all_cached(foreman: Foreman) -> dict[str, Answer]:
    return {path: await ask(foreman.url, f"GET {path}") for path in CACHED}


async def health(foreman: Foreman) -> tuple[int, dict[str, Any]]:
    answer = await ask(foreman.url, "GET /health")
    assert answer.headers["content-type"] == "application/json"
    return answer.status, orjson.loads(answer.body)


async def test_lists_are_answered_at_once_also_while_the_target_is_down(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", probe_seconds=0.1) as foreman:
        awake = await all_cached(foreman)
        for path in CACHED:
            direct = await ask(stub.url, f"GET {path}")
            assert (awake[path].status, awake[path].body) == (200, direct.body)
            assert awake[path].headers["content-type"] == direct.headers["content-type"]
            assert "x-foreman-stale" not in awake[path].headers
        asked = len(stub.ledger.entries)
        await all_cached(foreman)
        assert len(stub.ledger.entries) == asked
        head = await ask(foreman.url, "HEAD /api/tags")
        assert int(head.headers["content-length"]) == len(awake["/api/tags"].body)

        stub.refuse()
        # Something must notice, and it is not the poller, whose turn comes in half a minute.
        lost = await ask(foreman.url, "POST /api/show", body=b'{"model":"llama3"}')
        assert (lost.status, lost.headers["x-foreman-error"]) == (502, "target_unreachable")
        await foreman.event("target_down")
        began = monotonic()
        asleep = await all_cached(foreman)
        assert monotonic() - began < AT_ONCE
        for path in CACHED:
            assert (asleep[path].status, asleep[path].body) == (200, awake[path].body)
            assert int(asleep[path].headers["x-foreman-stale"]) >= 0
        # It may have come since; who knows.
        assert (await ask(foreman.url, "GET /v1/models/nope")).status == 502

        await stub.accept()
        await foreman.event("target_up", count=2)
        assert "x-foreman-stale" not in (await ask(foreman.url, "GET /api/tags")).headers


async def test_nothing_is_made_up_before_the_target_has_ever_answered(tmp_path: Path) -> None:
    async with StubOllama() as stub:
        stub.refuse()
        async with serving(stub.url, tmp_path / "foreman.db", probe_seconds=0.1) as foreman:
            for path, answer in (await all_cached(foreman)).items():
                assert (path, answer.status, answer.headers["x-foreman-error"]) == (path, 502, "target_unreachable")
            assert (await ask(foreman.url, "GET /")).body == b"Ollama is running"
            status, report = await health(foreman)
            assert (status, report["status"], report["target"]["reachable"]) == (200, "degraded", False)
            assert (report["target"]["last_success"], report["target"]["models"]) == (None, 0)
            async with connected(foreman.url) as connection:
                # Nobody knows yet which models there are, so a job waits for the target to tell.
                await connection.request("POST /api/chat", body=CHAT)
                await foreman.healthy(lambda report: report["queue"]["depth"] == 1)
                assert await connection.quiet()
                await stub.accept()
                answer = await connection.answer()
            assert (answer.status, answer.whole) == (200, True)


async def test_health_tells_what_people_ask(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", probe_seconds=0.1) as foreman:
        await ask(foreman.url, "POST /api/chat", body=CHAT)
        stub.script("llama3", Script(hold=0))
        tasks = [asyncio.create_task(ask(foreman.url, "POST /api/chat", body=CHAT))]
        await stub.ledger.held()
        tasks.append(asyncio.create_task(ask(foreman.url, "POST /api/chat", body=CHAT)))
        report = await foreman.healthy(lambda report: report["queue"]["depth"] == 1)
        assert report["status"] == "ok"
        assert report["version"] == package.__version__
        assert report["uptime_seconds"] >= 0
        target = report["target"]
        assert (target["url"], target["reachable"], target["error"], target["models"]) == (stub.url, True, None, 3)
        assert 0 < target["last_success"] <= target["last_poll"] + 60
        (resident,) = target["resident"]
        assert (resident["model"], resident["size"]) == ("llama3:latest", 4_700_000_000)
        assert resident["unloads_at"]
        assert report["queue"]["by_model"] == {"llama3:latest": 1}
        assert report["queue"]["oldest_wait_seconds"] >= 0
        assert (report["running"]["model"], report["running"]["state"]) == ("llama3:latest", "working")
        assert len(report["running"]["id"]) == 26
        assert report["storage"]["error"] is None
        assert report["storage"]["db_bytes"] > 0
        assert report["storage"]["sqlite"].startswith("3.")

        foreman.send(signal.SIGTERM)
        await foreman.event("draining")
        status, report = await health(foreman)
        assert (status, report["status"]) == (503, "draining")
        for line in ("POST /api/chat", "POST /v1/chat/completions", "POST /api/show"):
            refused = await ask(foreman.url, line, body=CHAT)
            assert (refused.status, refused.headers["x-foreman-error"]) == (503, "draining")
            assert 0 < int(refused.headers["retry-after"]) <= 60
        stub.release("llama3")
        running, waiting = await asyncio.gather(*tasks)
        assert (running.status, running.whole) == (200, True)
        # Accepted, so it has an id to ask for after the restart.
        assert (waiting.status, waiting.headers["x-foreman-error"]) == (503, "draining")
        assert len(waiting.headers["x-foreman-job"]) == 26
        assert await foreman.ended() == 0


async def test_a_database_that_takes_no_writes_is_told_and_got_over(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db) as foreman:
        await ask(foreman.url, "POST /api/chat", body=CHAT)
        await foreman.event("job_finished")
        with closing(sqlite3.connect(db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = await ask(foreman.url, "POST /v1/chat/completions", body=CHAT)
            status, report = await health(foreman)
            other.execute("ROLLBACK")
        assert (refused.status, refused.headers["x-foreman-error"]) == (503, "storage_failed")
        assert orjson.loads(refused.body)["error"]["type"] == "api_error"
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert (status, report["status"]) == (503, "storage")
        assert "locked" in report["storage"]["error"]
        await foreman.event("store_recovered")
        assert (await ask(foreman.url, "POST /api/chat", body=CHAT)).whole
        status, report = await health(foreman)
        assert (status, report["status"], report["storage"]["error"]) == (200, "ok", None)
