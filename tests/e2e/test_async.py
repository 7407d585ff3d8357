"""Work handed over and fetched later, on the real process."""

from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from foreman.core.ollama import QUEUED_PATHS
from foreman.testing import Script, StubOllama, expected_text
from tests.e2e.own import GENERATE, call, prompt
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import job_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = GENERATE


async def test_an_accepted_job_outlives_a_kill_right_after_the_202(stub: StubOllama, tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    stub.script(PATH, Script(hold=0))
    async with serving(stub.url, db) as foreman:
        status, job, headers = await call(foreman, "POST", PATH, prompt("sky"), Prefer="respond-async")
        await foreman.kill()
    assert (status, headers["Preference-Applied"], headers["Location"]) == (202, "respond-async", f"/jobs/{job['id']}")
    stub.script(PATH, None)
    async with serving(stub.url, db) as foreman:
        await foreman.event("job_finished", job=job["id"], outcome="done")
        _, answer, _ = await call(foreman, "GET", f"/jobs/{job['id']}/response")
    assert answer["response"] == expected_text(prompt("sky"))
    assert job_of(db, "sky").state == "done"


async def test_many_jobs_are_accepted_in_one_step_and_run_in_the_order_told(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        await call(foreman, "POST", "/queue/pause")
        entries = [{"path": PATH, "body": prompt(f"n{n}", ("llama3", "qwen3:8b")[n % 2])} for n in range(6)]
        status, accepted, _ = await call(foreman, "POST", "/jobs", entries)
        assert status == 202
        _, queue, _ = await call(foreman, "GET", "/queue")
        told = [job["id"] for job in queue["waiting"]]
        assert (queue["paused"], set(told)) == (True, {job["id"] for job in accepted["jobs"]})
        assert [job["position"] for job in queue["waiting"]] == list(range(1, 7))
        await foreman.kill()
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        assert (await foreman.health())["queue"]["paused"] is True
        await call(foreman, "POST", "/queue/resume")
        await foreman.event("job_finished", 6, outcome="done")
        done = [event["fields"]["job"] for event in foreman.events if event["event"] == "job_finished"]
    assert done == told
    assert stub.ledger.max_concurrent == 1


async def test_a_bad_entry_refuses_all_and_is_named(foreman: Foreman) -> None:
    good = {"path": PATH, "body": prompt("never")}
    bad: list[tuple[Any, int, str]] = [
        ([good, {"path": "/api/push", "body": {}}], 400, "[1].path"),
        ([good, {"path": "/api/pull", "body": {}}], 400, "[1].body.model"),
        ([good, {"path": PATH, "body": {"prompt": "x"}}], 400, "[1].body.model"),
        ([good, {"path": PATH, "body": prompt("x"), "when": 1}], 400, "[1].when"),
        ([good] * 1001, 413, "1000"),
        ({"path": PATH, "body": prompt("x"), "not_before": "soon"}, 400, "not_before"),
    ]
    for body, status, named in bad:
        got, problem, headers = await call(foreman, "POST", "/jobs", body)
        assert (got, headers["Content-Type"]) == (status, "application/problem+json")
        assert named in problem["detail"]
    _, jobs, _ = await call(foreman, "GET", "/jobs?limit=500")
    assert jobs["jobs"] == []
    _, problem, _ = await call(foreman, "POST", "/jobs", {"path": "/nope", "body": {}})
    assert all(path in problem["detail"] for path in QUEUED_PATHS if "audio" not in path)


async def test_a_job_is_cancelled_in_every_state_and_once(stub: StubOllama, tmp_path: Path) -> None:
    async with serving(stub.url, tmp_path / "foreman.db") as foreman:
        await call(foreman, "POST", PATH, prompt("warm"))
        stub.script(PATH, [Script(hold=1)])
        _, running, _ = await call(foreman, "POST", "/jobs", {"path": PATH, "body": prompt("runs") | {"stream": True}})
        await stub.ledger.held()
        _, queued, _ = await call(foreman, "POST", "/jobs", {"path": PATH, "body": prompt("waits")})
        assert (await call(foreman, "DELETE", f"/jobs/{queued['id']}"))[0] == 200
        assert (await call(foreman, "DELETE", f"/jobs/{running['id']}"))[0] == 202
        await foreman.event("job_finished", job=running["id"], outcome="cancelled")
        for job in (running, queued):
            assert (await call(foreman, "DELETE", f"/jobs/{job['id']}"))[0] == 409
            assert (await call(foreman, "GET", f"/jobs/{job['id']}"))[1]["state"] == "cancelled"
        _, again, _ = await call(foreman, "POST", f"/jobs/{queued['id']}/retry")
        assert again["retry_of"] == queued["id"]
        await foreman.event("job_finished", job=again["id"], outcome="done")
    assert not any(b'"waits"' in entry.body for entry in stub.ledger.on(PATH)[:-1])


@pytest.mark.parametrize(
    ("query", "named"),
    [("state=x", "state"), ("limit=0", "limit"), ("after=x", "after"), ("since=x", "since"), ("a=1", "a")],
)
async def test_a_bad_filter_is_named(foreman: Foreman, query: str, named: str) -> None:
    status, problem, _ = await call(foreman, "GET", f"/jobs?{query}")
    assert (status, problem["status"]) == (400, 400)
    assert named in problem["detail"]


async def test_events_begin_with_a_snapshot_and_go_on_where_they_broke(foreman: Foreman) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{foreman.url}/events") as stream:
            assert (await frame(stream))["event"] == "snapshot"
            _, job, _ = await call(foreman, "POST", "/jobs", {"path": PATH, "body": prompt("watched")})
            while (first := await frame(stream))["event"] == "state":
                pass
            assert (first["event"], orjson.loads(first["data"])["id"]) == ("job", job["id"])
        await foreman.event("job_finished", job=job["id"])
        async with session.get(f"{foreman.url}/events", headers={"Last-Event-ID": first["id"]}) as stream:
            states: list[str] = []
            told = 0
            while not states or states[-1] != "done":
                following = await frame(stream)
                told += 1
                assert int(following["id"]) == int(first["id"]) + told
                if following["event"] == "job":
                    states.append(orjson.loads(following["data"])["state"])
        async with session.get(f"{foreman.url}/events", headers={"Last-Event-ID": "1"}) as stream:
            assert (await frame(stream))["event"] == "snapshot"


async def frame(stream: aiohttp.ClientResponse) -> dict[str, str]:
    lines: list[tuple[str, str]] = []
    while line := (await stream.content.readline()).decode().rstrip("\n"):
        name, _, value = line.partition(": ")
        lines.append((name, value))
    return dict(lines)
