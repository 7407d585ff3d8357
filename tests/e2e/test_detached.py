"""Jobs that nobody waits for on a connection: tried again from the start, in their time, within a limit."""

from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import orjson
import pytest

from foreman.testing import Die, Script, StubOllama, expected_text
from tests.e2e.client import chat, post
from tests.e2e.own import GENERATE, call, handed, prompt
from tests.e2e.process import serving
from tests.e2e.stored import job_of, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/api/chat"
SECOND = timedelta(milliseconds=999)  # times are cut to the millisecond
QUICK = {"retry_base_seconds": 0.01, "retry_cap_seconds": 0.02}


async def test_an_answer_that_broke_off_is_had_again_from_its_start(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with serving(stub.url, db, **QUICK) as foreman:
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        stub.script(CHAT, [Script(die=Die.FIN, die_after_chunks=2), Script(die=Die.RST, die_after_chunks=3)])
        body = chat("llama3", "thrice")[1]
        job = await handed(foreman, body, CHAT)
        await foreman.event("job_finished", job=job, outcome="done")
        _, told, _ = await call(foreman, "GET", f"/jobs/{job}")
    kept = job_of(db, "thrice")
    lines = [orjson.loads(line) for line in (kept.answer or b"").splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == expected_text(body)
    assert [attempt["outcome"] for attempt in told["history"]] == ["requeued", "requeued", "done"]
    assert kept.tries[:2] == ("truncated", "truncated")


async def test_attempts_are_bounded_and_the_last_error_is_kept(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db", max_attempts=3, **QUICK) as foreman:
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        stub.script(CHAT, [Script(die=Die.FIN, die_after_chunks=2)] * 3)
        job = await handed(foreman, chat("llama3", "never")[1], CHAT)
        await foreman.event("job_finished", job=job, outcome="failed")
        _, told, _ = await call(foreman, "GET", f"/jobs/{job}")
        assert (told["state"], told["attempts"], told["error"]["code"]) == ("failed", 3, "truncated")
        assert len(told["history"]) == 3
        assert (await post(foreman.url, *chat("llama3", "next"))).whole


async def test_a_job_waits_for_its_time_and_others_pass(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        soon = await handed(foreman, prompt("soon"), not_before=1)
        never = await handed(foreman, prompt("tonight"), not_before=3600)
        past = await handed(foreman, prompt("past"), not_before="2020-01-01T00:00:00Z")
        at_once = await handed(foreman, prompt("at once"))
        await foreman.settled(past, at_once, soon)
        _, told, _ = await call(foreman, "GET", f"/jobs/{soon}")
        assert datetime.fromisoformat(told["claimed_at"]) - datetime.fromisoformat(told["created_at"]) >= SECOND
        _, told, _ = await call(foreman, "GET", f"/jobs/{never}")
        assert (told["state"], told["reason"], told["position"]) == ("queued", "delayed", None)
        _, queue, _ = await call(foreman, "GET", "/queue")
        assert [job["id"] for job in queue["delayed"]] == [never]


async def test_a_full_queue_takes_nothing_more_and_says_when(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with serving(stub.url, db, max_queued=3) as foreman:
        await call(foreman, "POST", "/queue/pause")
        one = {"path": GENERATE, "body": prompt("x")}
        status, problem, headers = await call(foreman, "POST", "/jobs", [one] * 4)
        assert (status, problem["code"], 0 < int(headers["Retry-After"]) <= 60) == (503, "queue_full", True)
        assert stored(db) == []
        assert (await call(foreman, "POST", "/jobs", [one] * 3))[0] == 202
        assert (await call(foreman, "POST", "/jobs", one))[0] == 503
        status, problem, headers = await call(foreman, "POST", GENERATE, prompt("x"), Prefer="respond-async")
        assert (status, "Retry-After" in headers) == (503, True)
    assert len(stored(db)) == 3


async def test_a_thousand_jobs_survive_a_kill_and_run_once_each_in_order(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    models = ("llama3", "qwen3:8b")
    entries = [{"path": GENERATE, "body": prompt(f"n{n}", models[n % 2])} for n in range(1000)]
    async with StubOllama() as stub, serving(stub.url, db) as foreman:
        await call(foreman, "POST", "/queue/pause")
        status, accepted, _ = await call(foreman, "POST", "/jobs", entries)
        assert (status, len(accepted["jobs"])) == (202, 1000)
        await foreman.kill()
    async with StubOllama() as stub, serving(stub.url, db) as foreman:
        _, queue, _ = await call(foreman, "GET", "/queue")
        told = [job["id"] for job in queue["waiting"]]
        await call(foreman, "POST", "/queue/resume")
        await foreman.event("job_finished", 1000)
    jobs = stored(db)
    assert {(job.state, job.attempts, job.complete) for job in jobs} == {("done", 1, True)}
    asked = [orjson.loads(entry.body) for entry in stub.ledger.on(GENERATE)]
    run = [body["prompt"] for body in asked if body.get("prompt")]
    by_id = {job.id: orjson.loads(job.request)["prompt"] for job in jobs}
    assert run == [by_id[job] for job in told]
    assert [model for model, _ in groupby(body["model"] for body in asked if body.get("prompt"))] == [*models]
