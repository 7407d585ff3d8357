"""Jobs that were begun before their row was on disk, where that goes wrong or somebody leaves."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from foreman.core.errors import Draining, JobCancelled, StorageFailed, StorageFull
from foreman.core.job import JobState
from foreman.engine import steps
from foreman.testing import Ending, StubOllama
from tests.engine.running import (
    GENERATE,
    Running,
    after_a_crash,
    answer,
    asked,
    ended,
    held,
    no_room,
    room,
    running,
)
from tests.engine.starting import HELD, made

SUBMIT_CLAIMED = steps.submit_claimed


@pytest.fixture(params=["no room", "odd"])
async def broken(request: pytest.FixtureRequest, work: Running, monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    """The next job that is begun cannot be written; what its client is told then."""
    work.stub.script(GENERATE, [HELD])
    if request.param == "no room":
        await no_room(work.store)
        return StorageFull

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(steps, "submit_claimed", fail)
    return RuntimeError


async def goes_on(work: Running) -> None:
    """The next job is begun in the same way, and nothing is left of the others."""
    await room(work.store)
    work.engine._settlement.trouble.error = None
    with pytest.MonkeyPatch.context() as undone:
        undone.setattr(steps, "submit_claimed", SUBMIT_CLAIMED)
        work.stub.script(GENERATE, None)
        assert await answer(await work.engine.submit(asked("after")))
        await work.settled()


async def test_where_the_write_fails_the_client_is_told_and_the_target_let_go(
    work: Running, broken: type[Exception]
) -> None:
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("big", pad=400_000)))
        entry = await work.at_target("big")
        live = work.only()
    with pytest.raises(broken):
        await asking
    assert (len(work.jobs), work.jobs.running, work.jobs.waiting) == (0, [], 0)
    # It had not said a word yet, and might not have for half an hour.
    await work.left(entry)
    await work.rests()
    assert (live.relay.head, live.relay.readers) == (None, 0)
    assert await work.stored() == []
    assert isinstance(work.engine._settlement.trouble.error, StorageFull) is (broken is StorageFull)
    await goes_on(work)


async def test_where_the_write_fails_who_joined_meanwhile_is_told_too(work: Running, broken: type[Exception]) -> None:
    first = asked("big", pad=400_000, hash=b"h")
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(first))
        await work.at_target("big")
        joined = await work.engine.submit(dataclasses.replace(first, again=True))
    with pytest.raises(StorageFull if broken is StorageFull else StorageFailed):
        await answer(joined)
    with pytest.raises(broken):
        await asking
    await goes_on(work)


async def test_where_the_write_fails_after_the_client_has_left(work: Running, broken: type[Exception]) -> None:
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("big", pad=400_000)))
        entry = await work.at_target("big")
        asking.cancel()
        await asyncio.wait((asking,))
    await work.left(entry)
    await work.rests()
    assert await work.stored() == []
    if broken is StorageFull:
        await goes_on(work)


async def test_a_client_that_leaves_before_the_commit_leaves_a_cancelled_job(work: Running) -> None:
    work.stub.script(GENERATE, [HELD])
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("sky")))
        entry = await work.at_target("sky")
        live = work.only()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await work.left(entry)
    await ended(live)
    (job,) = await work.stored()
    assert (job.state, job.attempts, job.error_code) == (JobState.CANCELLED, 1, "cancelled")
    await work.settled()


async def test_a_cancel_before_the_commit(work: Running) -> None:
    work.stub.script(GENERATE, [HELD])
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("sky")))
        entry = await work.at_target("sky")
        live = work.only()
        cancelling = asyncio.create_task(work.engine.cancel(live.id))
        await work.left(entry)
        assert not asking.done()
    ticket = await asking
    assert await cancelling is JobState.LOADING
    with pytest.raises(JobCancelled):
        await answer(ticket)
    await ended(live)
    (job,) = await work.stored()
    assert (job.state, job.attempts) == (JobState.CANCELLED, 1)
    await work.settled()


async def test_a_cancel_before_the_worker_has_taken_it_up(work: Running) -> None:
    work.stub.script(GENERATE, [HELD])
    asking = asyncio.create_task(work.engine.submit(asked("sky")))
    await asyncio.sleep(0)
    cancelling = asyncio.create_task(work.engine.cancel(work.only().id))
    with pytest.raises(JobCancelled):
        await answer(await asking)
    assert await cancelling in {JobState.LOADING, JobState.CANCELLED}
    await work.left(await work.at_target("sky"))  # it was sent ahead, and is given up again
    await work.settled()
    assert [job.state for job in await work.stored()] == [JobState.CANCELLED]


@pytest.mark.parametrize("taken_up", [False, True])
async def test_a_stop_before_the_commit_keeps_the_job_for_the_next_process(
    stub: StubOllama, tmp_path: Path, *, taken_up: bool
) -> None:
    async with running(stub, tmp_path / "foreman.db") as work:
        await work.warm()
        stub.script(GENERATE, [HELD])
        hurry = asyncio.Event()
        hurry.set()
        async with held(work.store):
            asking = asyncio.create_task(work.engine.submit(asked("sky")))
            if taken_up:
                entry = await work.at_target("sky")
            draining = asyncio.create_task(work.engine.drain(hurry))
            if taken_up:
                await work.left(entry)
            else:
                await asyncio.sleep(0)
        with pytest.raises(Draining):
            await answer(await asking)
        await draining
        (job,) = await work.stored()
        assert (job.state, job.attempts, len(work.seen("sky"))) == (JobState.QUEUED, 0, 1)
    stub.script(GENERATE, None)
    async with running(stub, tmp_path / "foreman.db") as work:
        await ended(await work.living(job.id))
        (job,) = await work.stored()
        assert (job.state, job.attempts) == (JobState.DONE, 1)
        await work.settled()


async def turns() -> None:
    """Let everybody do what can be done without waiting."""
    for _ in range(10):
        await asyncio.sleep(0)


class Slow:
    """An attempt that takes its time to let go of the target."""

    def __init__(self) -> None:
        self.letting_go, self.let_go = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.letting_go.set()
            await self.let_go.wait()

    def cancelled(self) -> str:
        return "cancelled"


async def test_what_is_let_go_of_already_is_not_hurried_by_a_write_that_fails(work: Running) -> None:
    start, slow = made(), Slow()
    start.written = asyncio.get_running_loop().create_future()
    running_ = asyncio.create_task(work.engine._executor._supervised(start, slow))  # type: ignore[arg-type]
    await turns()
    assert start.live.attempt is not None
    start.live.attempt.cancel()
    await slow.letting_go.wait()
    start.written.set_result(False)
    await turns()
    assert not running_.done()
    slow.let_go.set()
    assert await running_ == "cancelled"  # type: ignore[comparison-overlap]


async def test_a_crash_before_the_commit_leaves_nothing_to_be_run_again(work: Running, tmp_path: Path) -> None:
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("sky")))
        entry = await work.at_target("sky")
        await work.stub.ledger.wait_for(lambda _: entry.ending is Ending.COMPLETE)
        live = work.only()
        async with after_a_crash(work.db, tmp_path / "crashed") as store:
            assert await store.recover(1, drop_attached=False) == 0
            assert (await store.get(live.id), await store.depth()) == (None, {})
    await answer(await asking)
    await work.settled()
