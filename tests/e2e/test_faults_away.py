"""The target as a whole: away, asleep, slow."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from foreman.testing import Script, StubOllama
from tests.e2e.client import chat, post, submit
from tests.e2e.faulty import CHAT, QUICK
from tests.e2e.process import Foreman, serving
from tests.e2e.stored import job_of, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")
# The time a probe gets is also the pause between two, so it is a balance of patience here and of time.
IMPATIENT: dict[str, object] = {
    "first_byte_timeout_seconds": 0.25,
    "idle_timeout_seconds": 0.25,
    "probe_seconds": 0.25,
}
# For a target that refuses, which a probe hears at once: one that is slow to answer must not be taken for it.
AWAY: dict[str, object] = {"retry_base_seconds": 0.01, "retry_cap_seconds": 0.02, "probe_seconds": 2, "max_attempts": 3}
_numbers = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreman(stub: StubOllama, db: Path) -> AsyncIterator[Foreman]:
    async with serving(stub.url, db, **QUICK) as foreman:
        yield foreman


@pytest.fixture
def asked() -> str:
    """A question nobody asked before."""
    return f"question {next(_numbers)}!"


async def test_a_flapping_target_costs_attempts_but_no_job(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **{**AWAY, "max_attempts": 5}) as foreman:
        stub.script(CHAT, Script(hold=0))
        models = ("llama3", "qwen3:8b")
        clients = [asyncio.create_task(post(foreman.url, *chat(models[i % 2], f"job {i}"))) for i in range(10)]
        for count in range(1, 4):
            await stub.ledger.held()
            stub.refuse()
            await foreman.event("target_down", count)
            await stub.accept()
            await foreman.event("target_up", count + 1)
        stub.scripts.clear()
        answers = await asyncio.gather(*clients)
        assert all((got.status, got.whole) == (200, True) for got in answers)
        assert stub.ledger.max_concurrent == 1
        await foreman.settled(*(got.job for got in answers))
    jobs = stored(db)
    assert {job.state for job in jobs} == {"done"}
    assert sum(job.attempts for job in jobs) <= 10 + 3


async def test_an_outage_fails_nothing_and_burns_no_attempt(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **AWAY) as foreman:
        await foreman.event("target_up")
        stub.refuse()
        requests = [chat(model, f"job {i}") for i, model in enumerate(["qwen3:8b", "llama3", "qwen3:8b"])]
        waiting = await submit(foreman, *requests)
        probes: set[float] = set()
        while len(probes) < 4:  # more than there are attempts
            probes.add((await foreman.health())["target"]["last_poll"])
        report = await foreman.health()
        assert (report["status"], report["target"]["reachable"], report["queue"]["depth"]) == ("degraded", False, 3)
        assert {(job.state, job.attempts) for job in stored(db)} == {("queued", 0)}
        await stub.accept()
        answers = await asyncio.gather(*waiting)
        assert all((got.status, got.whole) == (200, True) for got in answers)
        asked = [orjson.loads(entry.body)["messages"][0]["content"] for entry in stub.ledger.on(CHAT)]
        assert asked == ["job 0", "job 2", "job 1"]
        await foreman.settled(*(got.job for got in answers))
    assert {(job.state, job.attempts) for job in stored(db)} == {("done", 1)}


async def test_a_model_nobody_has_does_not_push_out_the_one_that_is_loaded(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db, **AWAY) as foreman:
        assert (await post(foreman.url, *chat("llama3", "warm"))).whole
        stub.refuse()
        # While the target is away, what it has is not known for sure, so the job is taken.
        (waiting,) = await submit(foreman, chat("nobody", "who"))
        await foreman.event("target_down")
        await stub.accept()
        got = await waiting
        assert (got.status, orjson.loads(got.body)) == (404, {"error": "model 'nobody' not found"})
        assert stub.ledger.unloads == []
        await foreman.settled(got.job)
    assert job_of(db, "who").error_code == "status_404"


async def test_a_slow_target_that_answers_probes_is_waited_for(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    settings = {**QUICK, **IMPATIENT}
    async with StubOllama() as stub, serving(stub.url, db, **settings) as foreman:
        stub.script(CHAT, Script(hold=0))
        waiting = asyncio.create_task(post(foreman.url, *chat("llama3", "slow")))
        await stub.ledger.held()
        probed = len(stub.ledger.on("/api/version"))
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/version")) > probed + 3)
        stub.release(CHAT)
        got = await waiting
        assert got.whole
        assert len(stub.ledger.on(CHAT)) == 1
        await foreman.settled(got.job)
    assert job_of(db, "slow").attempts == 1


async def test_a_load_longer_than_every_timeout_is_waited_for(tmp_path: Path) -> None:
    settings = {**QUICK, **IMPATIENT}
    async with StubOllama() as stub, serving(stub.url, tmp_path / "foreman.db", **settings) as foreman:
        stub.hold_loads()
        waiting = asyncio.create_task(post(foreman.url, *chat("llama3", "slow")))
        await stub.ledger.wait_for(lambda ledger: ledger.loads)
        probed = len(stub.ledger.on("/api/version"))
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/version")) > probed + 3)
        stub.release_loads()
        assert (await waiting).whole
        assert len(stub.ledger.loads) == 1


async def test_a_frozen_target_is_given_up_and_the_job_tried_again(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with (
        StubOllama() as stub,
        serving(stub.url, db, **{**QUICK, "first_byte_timeout_seconds": 0.3}) as foreman,
    ):
        stub.script(CHAT, [Script(hold=0)])
        waiting = asyncio.create_task(post(foreman.url, *chat("llama3", "cold")))
        await stub.ledger.held()
        stub.freeze()
        handed_back = await foreman.event("job_handed_back")
        assert handed_back["fields"]["code"] == "target_silent"
        await foreman.event("target_down")
        stub.thaw()
        got = await waiting
        assert got.whole
        await foreman.settled(got.job)
    job = job_of(db, "cold")
    assert (job.state, job.attempts, job.tries) == ("done", 2, ("target_silent", None))
