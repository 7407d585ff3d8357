"""Jobs that wait already are let past a gate that holds them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foreman.core.errors import JobFinished, JobNotFound
from foreman.core.job import JobState, LoadKey, Mode
from foreman.core.upkeep import PULL
from foreman.engine import machine
from foreman.engine.live import Live
from foreman.testing import Script, StubOllama
from tests.engine.fake_machine import FakeMachine
from tests.engine.running import PATIENCE, Running, asked, ended, running
from tests.engine.serving import until
from tests.engine.test_upkeep import pull

NOBODY = "0" * 26


@pytest.fixture
def busy() -> FakeMachine:
    """A machine that has other things to do, for ever."""
    return FakeMachine()


@pytest.fixture
async def work(
    stub: StubOllama, tmp_path: Path, busy: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """An engine that holds all that is not loaded; llama3 is."""
    monkeypatch.setattr(machine, "FRESH_SECONDS", 0.0)
    async with running(stub, tmp_path / "foreman.db", gate="on", reader=busy) as work:
        await work.warm()
        busy.becomes(load=12.0)
        yield work


async def waiting(work: Running, prompt: str, key: LoadKey = LoadKey("qwen3:8b")) -> Live:  # noqa: B008
    """A job that is held."""
    (live,) = await work.engine.submit_many([asked(prompt, key.model, mode=Mode.DETACHED, key=key)])
    await held(work, live)
    return live


async def held(work: Running, live: Live) -> None:
    async with asyncio.timeout(PATIENCE):
        await until(lambda: work.engine.gate.hold(live.key, live.override, live.lane) is not None)
    await work.rests()


async def test_one_that_is_held_runs_at_once_and_is_remembered(work: Running) -> None:
    live = await waiting(work, "held")
    await work.engine.override(live.id, "gate")
    await ended(live)
    (job,) = await work.stored()
    assert (job.state, job.override) == (JobState.DONE, "gate")
    await work.settled()


async def test_the_other_jobs_of_its_model_and_those_before_it_stay_held(work: Running) -> None:
    first = await waiting(work, "first", LoadKey("llama3:latest", (("num_ctx", 9),)))
    second = await waiting(work, "second")
    await work.engine.override(second.id, "gate")
    await ended(second)
    await work.rests()
    assert first.state is JobState.QUEUED
    assert work.engine.gate.hold(first.key, None, first.lane) is not None
    assert [load.name for load in work.stub.ledger.loads] == ["llama3:latest", "qwen3:8b"]
    await work.engine.cancel(first.id)


async def test_it_may_be_said_twice(work: Running) -> None:
    await work.engine.pause(True)
    (live,) = await work.engine.submit_many([asked("paused", "qwen3:8b", mode=Mode.DETACHED)])
    for _ in range(2):
        await work.engine.override(live.id, "gate")
        assert live.override == "gate"
        assert live.state is JobState.QUEUED
    await work.engine.pause(False)
    await ended(live)
    await work.settled()


async def test_a_job_of_an_earlier_process(stub: StubOllama, tmp_path: Path, busy: FakeMachine) -> None:
    busy.becomes(load=12.0)
    async with running(stub, tmp_path / "foreman.db", gate="on", reader=busy) as work:
        held_back = await waiting(work, "held")
        earlier = held_back.id
    async with running(stub, tmp_path / "foreman.db", gate="on", reader=busy) as work:
        await held(work, await work.living(earlier))
        live = await work.living(earlier)
        await work.engine.override(earlier, "gate")
        await ended(live)
        job = await work.store.get(earlier)
        assert job is not None
        assert (job.state, job.override) == (JobState.DONE, "gate")


async def test_one_that_runs_or_is_finished_or_never_was(work: Running) -> None:
    (running_one,) = await work.lined_up("running")
    with pytest.raises(JobFinished, match=r"is (loading|working): only a job that waits can override the gate"):
        await work.engine.override(running_one.id, "gate")
    work.stub.release("/api/generate")
    assert running_one.live is not None
    await ended(running_one.live)
    with pytest.raises(JobFinished, match="is done: "):
        await work.engine.override(running_one.id, "gate")
    with pytest.raises(JobNotFound):
        await work.engine.override(NOBODY, "gate")
    (job,) = await work.stored()
    assert job.override is None


async def test_who_joins_a_pull_that_is_held_and_forces_it_forces_it_for_all(work: Running) -> None:
    work.stub.script(PULL, [Script()])
    first = await work.engine.submit(pull())
    assert first.live is not None
    await held(work, first.live)
    joined = await work.engine.submit(pull(client="you", override="gate"))
    assert joined.id == first.id
    await ended(first.live)
    assert len(work.stub.ledger.on(PULL)) == 1
    (job,) = await work.stored()
    assert (job.state, job.override) == (JobState.DONE, "gate")


async def test_who_joins_one_that_runs_changes_nothing(work: Running, busy: FakeMachine) -> None:
    busy.becomes(load=0.0)
    work.stub.script(PULL, [Script(hold=1)])
    first = await work.engine.submit(pull())
    await work.stub.ledger.held()
    joined = await work.engine.submit(pull(client="you", override="gate"))
    assert joined.id == first.id
    work.stub.release(PULL)
    assert first.live is not None
    await ended(first.live)
    (job,) = await work.stored()
    assert job.override is None
