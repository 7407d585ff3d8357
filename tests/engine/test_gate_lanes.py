"""The gate and the lanes: what is held keeps no remote job waiting nor is starved by them; upkeep asks the gate."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from foreman.core.gate import Cause, Hold
from foreman.core.job import JobState, Mode
from foreman.core.lanes import Lane
from foreman.core.submission import Submission
from foreman.core.upkeep import PULL
from foreman.engine import machine
from foreman.engine.live import Live
from foreman.testing import Script, StubOllama
from tests.engine.fake_machine import GB, FakeMachine
from tests.engine.running import GENERATE, PATIENCE, Running, answer, asked, ended, running
from tests.engine.serving import until
from tests.engine.test_upkeep import create, pull
from tests.mixing import CLOUD, mixed

BUSY = {"load": 12.0}


@pytest.fixture
def fake() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
async def work(
    stub: StubOllama, tmp_path: Path, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """An engine at rest with llama3 loaded and two remote slots; each look at its machine is a new one."""
    monkeypatch.setattr(machine, "FRESH_SECONDS", 0.0)
    settings: dict[str, Any] = {"reader": fake, "gate": "on", "disk_reserve": 30 * GB, "remote_slots": 2}
    async with running(stub, tmp_path / "foreman.db", **settings) as work:
        await work.warm()
        yield work


async def sent(work: Running, prompt: str, model: str = "llama3", **values: Any) -> Live:
    (live,) = await work.engine.submit_many([asked(prompt, model, mode=Mode.DETACHED, **values)])
    return live


async def far(work: Running, prompt: str) -> Live:
    return await sent(work, prompt, CLOUD, lane=Lane.REMOTE)


async def held(work: Running, *causes: Cause) -> list[Hold]:
    """The holds there are, as soon as these are their causes."""
    async with asyncio.timeout(PATIENCE):
        await until(lambda: tuple(hold.cause for _, hold in work.engine.gate.holds()) == causes)
    return [hold for _, hold in work.engine.gate.holds()]


async def at_once(work: Running, count: int) -> None:
    """Wait until the target holds back so many requests."""
    ledger = work.stub.ledger
    await ledger.wait_for(lambda _: sum(entry.held for entry in ledger.entries) == count, PATIENCE)


def look_again(work: Running) -> None:
    """What the worker does by itself some seconds later."""
    work.jobs.local.wake.set()


def order(work: Running) -> list[str]:
    """What the target was asked, in order, without the loads."""
    return [prompt for entry in work.stub.ledger.on(GENERATE) if (prompt := work.prompt(entry)) not in (None, "warm")]


async def test_a_held_job_keeps_no_remote_job_waiting(work: Running, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    swap = await sent(work, "swap", "qwen3:8b")
    await held(work, Cause.LOAD)
    for prompt in ("r1", "r2"):
        await ended(await far(work, prompt))
    # Nor does it make local jobs overtake remote ones, or the other way round.
    work.stub.script(CLOUD, [Script(hold=0)])
    third, loaded, fourth = await far(work, "r3"), await sent(work, "l1"), await far(work, "r4")
    await work.stub.ledger.held()
    await work.here_by_now()
    assert (loaded.state, fourth.state) == (JobState.QUEUED, JobState.QUEUED)
    work.stub.release(CLOUD)
    for live in (third, loaded, fourth):
        await ended(live)
    assert order(work) == ["r1", "r2", "r3", "l1", "r4"]
    assert swap.state is JobState.QUEUED
    fake.becomes(load=0.0)
    look_again(work)
    await ended(swap)
    assert mixed(work.stub) == []


async def test_remote_jobs_that_waited_begin_as_soon_as_the_one_before_them_is_held(
    work: Running, fake: FakeMachine
) -> None:
    fake.becomes(**BUSY)
    await work.engine.pause(True)
    swap, others = await sent(work, "swap", "qwen3:8b"), [await far(work, "r1"), await far(work, "r2")]
    await work.engine.pause(False)
    for live in others:
        await ended(live)
    assert (swap.state, len(work.engine.gate.holds())) == (JobState.QUEUED, 1)


async def test_a_hold_wakes_who_gave_way_to_the_held_job(work: Running, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    await work.engine.pause(True)
    swap, other = await sent(work, "swap", "qwen3:8b"), await far(work, "r1")
    await work.rests()
    await work.engine.gate.admits(work.engine._worker.hot())
    assert work.jobs.remote.wake.is_set()
    await work.engine.pause(False)
    await ended(other)
    assert swap.state is JobState.QUEUED


async def test_a_job_that_is_let_pass_while_remote_ones_run_goes_before_all_that_are_younger(
    work: Running, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foreman.engine.gate.LOOK_SECONDS", 0.01)
    fake.becomes(**BUSY)
    swap = await sent(work, "swap", "qwen3:8b")
    await held(work, Cause.LOAD)
    work.stub.script(CLOUD, Script(hold=0))
    first = [await far(work, "r1"), await far(work, "r2")]
    await at_once(work, 2)
    later = await far(work, "r3")
    # The one slot that is free at a time would be taken by the next remote job for ever.
    fake.becomes(load=0.0)
    await held(work)
    work.stub.script(CLOUD, None)
    for _ in first:
        work.stub.release(CLOUD)
    for live in (*first, swap, later):
        await ended(live)
    assert order(work)[-2:] == ["swap", "r3"]
    assert mixed(work.stub) == []


async def test_what_overrides_the_gate_gets_its_turn_though_others_of_its_load_key_are_held(
    work: Running, fake: FakeMachine
) -> None:
    fake.becomes(**BUSY)
    await sent(work, "swap", "qwen3:8b")
    await held(work, Cause.LOAD)
    work.stub.script(CLOUD, [Script(hold=0)])
    first = await far(work, "r1")
    await work.stub.ledger.held()
    forced, later = await sent(work, "forced", "qwen3:8b", override="gate"), await far(work, "r2")
    work.stub.release(CLOUD)
    for live in (first, forced, later):
        await ended(live)
    assert [prompt for prompt in order(work) if prompt != "swap"] == ["r1", "forced", "r2"]


async def test_the_queue_says_so(work: Running, fake: FakeMachine) -> None:
    fake.becomes(**BUSY)
    swap = await sent(work, "swap", "qwen3:8b")
    await held(work, Cause.LOAD)
    work.stub.script(CLOUD, Script(hold=0))
    for prompt in ("r1", "r2"):
        await far(work, prompt)
    await at_once(work, 2)
    waits = await far(work, "r3")
    places = await work.engine.forecast.places(waits.seq)
    assert (places[swap.seq].held, places[waits.seq].reason) == (True, "slot")
    fake.becomes(load=0.0)
    look_again(work)
    await held(work)
    places = await work.engine.forecast.places(waits.seq)
    assert (places[swap.seq].held, places[waits.seq].reason) == (False, "local_lane")
    work.stub.script(CLOUD, None)
    work.stub.release(CLOUD)
    work.stub.release(CLOUD)
    await ended(waits)


UPKEEP = pytest.mark.parametrize("wanted", [pull(), create()], ids=lambda wanted: str(wanted.key))


@UPKEEP
async def test_upkeep_waits_for_the_machine_too(work: Running, fake: FakeMachine, wanted: Submission) -> None:
    fake.becomes(**BUSY)
    ticket = await work.engine.submit(wanted)
    (hold,) = await held(work, Cause.LOAD)
    assert hold.text.startswith(f"{wanted.key} waits for the load to fall")
    await ended(await far(work, "r1"))
    await ended(await sent(work, "loaded"))
    fake.becomes(load=0.0)
    look_again(work)
    assert await answer(ticket)
    assert work.engine.gate.holds() == []


@UPKEEP
async def test_upkeep_does_not_wait_for_clients_that_wait_for_it_nor_for_a_disk_it_does_not_write(
    work: Running, fake: FakeMachine, wanted: Submission
) -> None:
    # Whichever comes first, it would wait for the client of the other, and that for it.
    clients = ("ollama pull phi4:14b", "ollama create mine")
    fake.becomes(foreign=clients, disk_free=1 * GB)
    assert await answer(await work.engine.submit(wanted))
    fake.becomes(foreign=(*clients, "lms get phi4"))
    ticket = await work.engine.submit(wanted)
    (hold,) = await held(work, Cause.FOREIGN)
    assert hold.text == f"{wanted.key} waits for other programs: lms get phi4"
    fake.becomes(foreign=())
    look_again(work)
    assert await answer(ticket)


async def test_a_reading_that_is_missing_holds_a_pull_and_lets_inference_and_commands_pass(
    work: Running, fake: FakeMachine
) -> None:
    fake.becomes(foreign=None)
    ticket = await work.engine.submit(pull())
    (hold,) = await held(work, Cause.READING)
    assert hold.text == "pull phi4:14b waits: what other programs do is not known"
    await ended(await sent(work, "swap", "qwen3:8b"))
    assert list(work.engine.gate.unknown) == ["what other programs do is not known"]
    fake.becomes(foreign=())
    look_again(work)
    assert await answer(ticket)


async def test_a_load_is_not_held_by_a_client_who_waits_for_a_pull_of_foreman(work: Running, fake: FakeMachine) -> None:
    """The client's command runs from before the load until after its pull, which stands behind the load."""
    (first,) = await work.lined_up("first")
    swap = await sent(work, "swap", "qwen3:8b")
    ticket = await work.engine.submit(pull())
    fake.becomes(foreign=("ollama pull phi4:14b",))
    assert (await work.engine.gate.machine.readings()).foreign == ()
    work.stub.script(PULL, Script(hold=1))
    work.stub.release(GENERATE)
    await ended(swap)
    assert ticket.live is not None
    await work.stub.ledger.held()
    assert [load.name for load in work.stub.ledger.loads] == ["llama3:latest", "qwen3:8b"]
    assert (await work.engine.gate.machine.readings()).foreign == ()
    work.stub.release(PULL)
    assert await answer(ticket)
    await ended(ticket.live)
    assert await answer(first)
    # A command that goes on is somebody else's.
    assert (await work.engine.gate.machine.readings()).foreign == ("ollama pull phi4:14b",)
    await work.settled()
