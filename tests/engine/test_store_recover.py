"""What a store makes of the jobs of an earlier process."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from foreman.core.job import JobState, Mode, Next
from foreman.core.lanes import Lane
from foreman.engine.store import Finished, Store
from tests.engine.stored import done, job_id, new_job
from tests.engine.storing import claimed, state, submit


async def test_recovery_settles_what_an_earlier_process_left(
    opener: Callable[[str], AbstractAsyncContextManager[Store]],
) -> None:
    async with opener("boot-1") as store:
        await submit(store, "a", "b")
        assert await claimed(store) == 1
    for boot in ("boot-2", "boot-3"):
        async with opener(boot) as store:
            store.note_working(1, 99)
            assert await store.finish(1, done()) == Finished(False, JobState.LOADING)
            await store.recover(100, drop_attached=False)
            await store.recover(101, drop_attached=False)
            job = await store.get(job_id(1))
            assert job is not None
            assert (job.state, job.error_code) == (JobState.QUEUED, "interrupted")
            assert await claimed(store) == 1
            await store.recover(102, drop_attached=False)
            assert await state(store, 1) is JobState.LOADING
    async with opener("boot-4") as store:
        await store.recover(103, drop_attached=False)
        job = await store.get(job_id(1))
        assert job is not None
        assert (job.state, job.attempts, job.error_code, job.finished_at) == (JobState.FAILED, 3, "interrupted", 103)
        assert [each.outcome for each in await store.attempts(job_id(1))] == ["crashed"] * 3
        assert await claimed(store) == 2


@pytest.mark.parametrize("drop", [False, True])
async def test_recovery_drops_attached_jobs_on_demand(
    opener: Callable[[str], AbstractAsyncContextManager[Store]], drop: bool
) -> None:
    async with opener("boot-1") as store:
        for number in (1, 2, 3):
            await store.submit(new_job(number, mode=Mode.DETACHED if number == 3 else Mode.ATTACHED, not_before=number))
        await claimed(store, now=1)
    async with opener("boot-2") as store:
        await store.recover(100, drop_attached=drop)
        expected = JobState.CANCELLED if drop else JobState.QUEUED
        assert [await state(store, number) for number in (1, 2, 3)] == [expected, expected, JobState.QUEUED]
        job = await store.get(job_id(2))
        assert job is not None
        assert job.error_code == ("restarted" if drop else None)


async def test_recovery_cancels_what_was_to_be_cancelled(
    opener: Callable[[str], AbstractAsyncContextManager[Store]],
) -> None:
    async with opener("boot-1") as store:
        await submit(store, "a")
        await claimed(store)
        await store.cancel(job_id(1), 7)
    async with opener("boot-2") as store:
        await store.recover(100, drop_attached=False)
        assert await state(store, 1) is JobState.CANCELLED


async def test_recovery_fails_what_may_have_been_billed(
    opener: Callable[[str], AbstractAsyncContextManager[Store]],
) -> None:
    keys = ("@one/m", "cloud:latest-cloud", "@one/n", "@one/o")
    async with opener("boot-1") as store:
        for number, key in enumerate(keys, 1):
            await store.submit(new_job(number, key, lane=Lane.REMOTE))
        for _ in range(3):
            assert await store.claim(Next(lane=Lane.REMOTE), 1) is not None
        await store.cancel(job_id(3), 7)
    async with opener("boot-2") as store:
        assert await store.recover(100, drop_attached=False) == 3
        jobs = [await store.get(job_id(number)) for number in range(1, 5)]
        assert [(job.state, job.error_code, job.finished_at) for job in jobs if job is not None] == [
            (JobState.FAILED, "maybe_billed", 100),
            (JobState.QUEUED, "interrupted", None),
            (JobState.CANCELLED, "cancelled", 100),
            (JobState.QUEUED, None, None),
        ]
