"""`/metrics` of the real foreman: read by Prometheus' own parser, after jobs that ended in every way there is."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import aiohttp
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from foreman.testing import Script, StubOllama, StubRemote
from foreman.web.openapi_schemas import ARRAY_LIMIT
from tests.e2e.client import chat, chat_v1, post
from tests.e2e.own import call, handed, prompt
from tests.e2e.process import PATIENCE, Foreman, serving
from tests.e2e.test_remotes import KEY, far
from tests.test_docs import DOCS, rows

CANARY = "canary-5f1c0d"
# So many of the unknown models are run; the others wait.
RUN = 100
LABELS = {"lane", "model", "outcome", "cause", "reason", "verdict", "le", "remote", "version"}


async def text(foreman: Foreman) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{foreman.url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return await answer.text()


async def scrape(foreman: Foreman) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(await text(foreman))}


def values(families: dict[str, Metric], sample: str, *names: str) -> dict[tuple[str, ...], float]:
    """The samples of this name, by these labels."""
    found = (each for family in families.values() for each in family.samples if each.name == sample)
    return {tuple(each.labels[name] for name in names): each.value for each in found}


async def test_each_outcome_is_counted_once_with_what_it_took(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote, retry_base_seconds=0.01) as (stub, foreman):
        first = await post(foreman.url, *chat("a", "hi"))
        far_one = await post(foreman.url, *chat_v1("one", "hi"))
        stub.script("/api/chat", [Script(status=400, error="no")])
        refused = await post(foreman.url, *chat("a", "hi"))
        assert refused.status == 400
        stub.script("/api/chat", [Script(status=503, error="busy")])
        again = await post(foreman.url, *chat("a", "hi"))
        assert again.status == 200
        stub.script("/api/generate", [Script(hold=0)])
        running = await handed(foreman, prompt("runs", "a"))
        await stub.ledger.held()
        waiting = await handed(foreman, prompt("waits", "a"))
        assert (await call(foreman, "DELETE", f"/jobs/{waiting}"))[0] == 200
        now = await scrape(foreman)
        assert values(now, "foreman_jobs_running", "lane") == {("local",): 1, ("remote",): 0}
        assert (await call(foreman, "DELETE", f"/jobs/{running}"))[0] == 202
        await foreman.settled(first.job, far_one.job, refused.job, again.job, running, waiting)
        seen = await scrape(foreman)
        assert values(seen, "foreman_jobs_total", "lane", "model", "outcome") == {
            ("local", "a:latest", "done"): 2,
            ("local", "a:latest", "failed"): 1,
            ("local", "a:latest", "cancelled"): 2,
            ("remote", "far/one", "done"): 1,
        }
        assert values(seen, "foreman_job_failures_total", "lane", "cause") == {("local", "status_400"): 1}
        assert values(seen, "foreman_job_retries_total", "lane", "cause") == {("local", "status_503"): 1}
        # The one that was cancelled in the queue never began.
        assert values(seen, "foreman_job_wait_seconds_count", "lane") == {("local",): 4, ("remote",): 1}
        assert values(seen, "foreman_job_duration_seconds_count", "lane") == {("local",): 4, ("remote",): 1}
        assert values(seen, "foreman_job_load_seconds_count", "lane") == {("local",): 1, ("remote",): 0}
        assert values(seen, "foreman_job_first_token_seconds_count", "lane") == {("local",): 2, ("remote",): 1}
        assert values(seen, "foreman_generated_tokens_total", "model")[("a:latest",)] == 2 * 8
        assert values(seen, "foreman_reloads_paid_total", "model", "reason") == {("a:latest", "first"): 1}
        assert values(seen, "foreman_remote_slots", "remote") == {("far",): 5}
        assert values(seen, "foreman_remote_slots_in_use", "remote") == {("far",): 0}
        assert values(seen, "foreman_target_up") == values(seen, "foreman_store_up") == {(): 1}
        assert values(seen, "foreman_store_commit_seconds_count")[()] > 0
        assert values(seen, "foreman_store_wal_bytes")[()] > 0


async def test_what_waits_is_told_by_lane_and_model(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db") as foreman:
        await call(foreman, "POST", "/queue/pause")
        await handed(foreman, prompt("one"))
        await handed(foreman, prompt("two"))
        await handed(foreman, prompt("three", "qwen3:8b"), not_before=1000)
        seen = await scrape(foreman)
        assert values(seen, "foreman_queue_jobs", "lane", "model") == {
            ("local", "llama3:latest"): 2,
            ("local", "qwen3:8b"): 1,
        }
        # What is not to begin before its time does not wait yet.
        waits = values(seen, "foreman_queue_oldest_wait_seconds", "lane", "model")
        assert waits.keys() == {("local", "llama3:latest")}
        assert waits["local", "llama3:latest"] > 0
        assert values(seen, "foreman_queue_paused") == {(): 1}


async def lag_measured(foreman: Foreman) -> None:
    async with asyncio.timeout(PATIENCE):
        while not values(await scrape(foreman), "foreman_event_loop_lag_seconds_count")[()]:
            pass


async def test_the_loop_is_measured_and_a_target_that_is_gone_shows(tmp_path: Path) -> None:
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", poll_seconds=0.1) as foreman:
        await lag_measured(foreman)
        await stub.stop()
        await foreman.event("target_down")
        assert values(await scrape(foreman), "foreman_target_up") == {(): 0}


async def handed_over(foreman: Foreman, jobs: list[dict[str, object]]) -> None:
    for start in range(0, len(jobs), ARRAY_LIMIT):
        status, _, _ = await call(foreman, "POST", "/jobs", jobs[start : start + ARRAY_LIMIT], User_Agent=CANARY)
        assert status == 202


async def test_a_thousand_models_that_nobody_knows_are_one(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote, remote_slots=20) as (_, foreman):
        jobs: list[dict[str, object]] = [
            {"path": path, "body": body}
            for path, body in (chat_v1(f"far/{CANARY}-{number}", CANARY) for number in range(1_000))
        ]
        await handed_over(foreman, jobs[:RUN])
        await foreman.event("job_finished", count=RUN)
        await call(foreman, "POST", "/queue/pause")
        await handed_over(foreman, jobs[RUN:])
        for number in range(2):
            assert (await post(foreman.url, *chat(f"{CANARY}-{number}", CANARY))).status == 404
        seen = await scrape(foreman)
        assert values(seen, "foreman_queue_jobs", "lane", "model") == {("remote", "far/other"): 1_000 - RUN}
        assert values(seen, "foreman_jobs_total", "model", "outcome") == {("far/other", "done"): RUN}
        assert {name for family in seen.values() for each in family.samples for name in each.labels} <= LABELS
        told = await text(foreman)
        assert len(told.splitlines()) < 400
        assert CANARY not in told
        assert KEY not in told


async def test_the_names_keep_to_the_conventions(tmp_path: Path) -> None:
    async with StubRemote(KEY) as remote, far(tmp_path, remote) as (_, foreman):
        await foreman.settled((await post(foreman.url, *chat("a", "hi"))).job)
        told = await text(foreman)
        named = {row[0].strip("`").removesuffix("_total") for row in rows(DOCS / "metrics.md", "What is told")}
        assert {family.name for family in text_string_to_metric_families(told)} == named
        for family in text_string_to_metric_families(told):
            assert family.name.startswith("foreman_")
            assert family.documentation.endswith(".")
            assert f"# TYPE {family.name}{'_total' * (family.type == 'counter')} {family.type}" in told
            assert not family.name.endswith(("_ms", "_milliseconds", "_kb", "_count", "_total"))
            if family.type == "histogram":
                assert family.name.endswith("_seconds")
                rising(each.value for each in family.samples if each.name.endswith("_bucket"))


def rising(counts: Iterable[float]) -> None:
    found = list(counts)
    assert found == sorted(found)
