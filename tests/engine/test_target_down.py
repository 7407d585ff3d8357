"""While the target is down: commands in both lanes and jobs for remote APIs go on, in turns, and all else waits."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foreman.core import slots
from foreman.core.job import JobState, LoadKey, Mode, Payload
from foreman.core.lanes import Lane
from foreman.core.slots import SlotRequest
from foreman.core.submission import Submission
from foreman.engine import machine
from foreman.engine.intake import Ticket
from foreman.engine.live import Live
from foreman.remotes import Remote
from foreman.testing import StubOllama, StubRemote
from tests.engine.fake_machine import GB, FakeMachine
from tests.engine.running import PATIENCE, Running, answer, asked, ended, running
from tests.engine.serving import until
from tests.mixing import CLOUD


@pytest.fixture
def fake() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
async def work(
    stub: StubOllama, tmp_path: Path, fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """An engine at rest whose target went down with llama3 loaded; one slot in each lane, and a gate."""
    monkeypatch.setattr(machine, "FRESH_SECONDS", 0.0)
    settings = {"probe_seconds": 0.05, "remote_slots": 1, "gate": "on", "reader": fake, "disk_reserve": 30 * GB}
    async with running(stub, tmp_path / "foreman.db", **settings) as work:
        await work.warm()
        await down(work)
        yield work


async def down(work: Running) -> None:
    work.stub.refuse()
    await work.engine.poller.refresh(anew=True)
    assert work.engine.poller.reachable is False


async def slot(work: Running, label: str, lane: Lane = Lane.LOCAL) -> Ticket:
    request = SlotRequest(lane, label)
    return await work.engine.submit(Submission(Payload(slots.PATH, (), request.body), request.key, "me", lane=lane))


async def granted(ticket: Ticket) -> None:
    assert ticket.reader is not None
    async with asyncio.timeout(PATIENCE):
        await ticket.reader.head()
    ticket.reader.leave()


async def detached(work: Running, prompt: str, model: str = "llama3", lane: Lane = Lane.LOCAL) -> Live:
    (live,) = await work.engine.submit_many([asked(prompt, model, mode=Mode.DETACHED, lane=lane)])
    return live


async def test_commands_run_in_turns_and_jobs_of_the_target_wait_until_it_is_back(work: Running) -> None:
    waits = [await detached(work, "here"), await detached(work, "far", CLOUD, Lane.REMOTE)]
    first, other, second = await slot(work, "a"), await slot(work, "b", Lane.REMOTE), await slot(work, "c")
    third = await slot(work, "d", Lane.REMOTE)
    for number, ticket in enumerate((first, other, second, third)):
        await granted(ticket)
        assert sum(work.jobs.lanes.taken.values()) == 1, number
        await work.engine.release(ticket.id, 0)
    await work.rests()
    assert [live.state for live in waits] == [JobState.QUEUED] * 2
    assert [(await work.engine.job(live.id)).attempts for live in waits] == [0, 0]
    await work.stub.accept()
    for live in waits:
        await ended(live)
    assert [live.state for live in waits] == [JobState.DONE] * 2
    await work.settled()


async def test_one_that_came_while_nothing_could_be_begun_wakes_its_lane(work: Running) -> None:
    await detached(work, "here")
    await detached(work, "far", CLOUD, Lane.REMOTE)
    await work.rests()
    for lane in Lane:
        ticket = await slot(work, "late", lane)
        await granted(ticket)
        await work.engine.release(ticket.id, 0)
        await work.rests()
    await work.stub.accept()


async def test_the_target_is_asked_nothing_for_them(work: Running, stub: StubOllama) -> None:
    await detached(work, "swap", "qwen3:8b")
    asked_before = len(stub.ledger.entries)
    ticket = await slot(work, "a")
    await granted(ticket)
    assert len(stub.ledger.entries) == asked_before
    await work.engine.release(ticket.id, 0)
    await work.stub.accept()


async def test_the_machine_is_looked_at_for_them_all_the_same(work: Running, fake: FakeMachine) -> None:
    fake.becomes(load=12.0)
    ticket, far = await slot(work, "a"), await slot(work, "b", Lane.REMOTE)
    await granted(far)  # nothing waits for what is held
    await work.engine.release(far.id, 0)
    async with asyncio.timeout(PATIENCE):
        await until(lambda: [key for key, _ in work.engine.gate.holds()] == ["slot a"])
    fake.becomes(load=0.0)
    work.jobs.local.wake.set()
    await granted(ticket)
    await work.engine.release(ticket.id, 0)


async def test_who_is_held_stays_so_while_the_target_is_away(
    stub: StubOllama, tmp_path: Path, fake: FakeMachine
) -> None:
    settings = {"probe_seconds": 0.05, "gate": "on", "reader": fake, "disk_reserve": 30 * GB}
    fake.becomes(load=12.0)
    async with running(stub, tmp_path / "foreman.db", **settings) as work:
        swap = await detached(work, "swap", "qwen3:8b")
        async with asyncio.timeout(PATIENCE):
            await until(lambda: len(work.engine.gate.holds()) == 1)
        since = work.engine.gate.holds()[0][1].since
        await down(work)
        ticket = await slot(work, "a")
        async with asyncio.timeout(PATIENCE):
            await until(lambda: {key for key, _ in work.engine.gate.holds()} == {"qwen3:8b", "slot a"})
        assert dict(work.engine.gate.holds())["qwen3:8b"].since == since
        await work.engine.cancel(swap.id)
        assert [key for key, _ in work.engine.gate.holds()] == ["slot a"]
        await work.engine.cancel(ticket.id)
        await stub.accept()


async def test_jobs_for_a_remote_api_go_on_and_mind_the_commands_that_are_older(
    stub: StubOllama, tmp_path: Path
) -> None:
    async with StubRemote() as remote:
        table = (Remote(name="far", base_url=remote.base_url),)
        async with running(stub, tmp_path / "foreman.db", remotes=table, probe_seconds=0.05) as work:
            await down(work)
            here = await detached(work, "here")
            await work.engine.pause(True)
            first, body = await slot(work, "a"), b'{"model":"far/m","messages":[{"role":"user","content":"hi"}]}'
            payload = Payload("/v1/chat/completions", (("content-type", "application/json"),), body)
            far = await work.engine.submit(Submission(payload, LoadKey("@far/m"), "me", lane=Lane.REMOTE))
            await work.engine.pause(False)
            await granted(first)
            async with asyncio.timeout(PATIENCE):
                await work.remote_resting.wait()
            assert remote.calls == []
            await work.engine.release(first.id, 0)
            assert await answer(far)
            assert here.state is JobState.QUEUED
            await stub.accept()
            await ended(here)
