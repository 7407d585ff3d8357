"""Which jobs a store forgets, and when."""

import os

from foreman.core.job import JobState
from foreman.engine.store import Store
from tests.engine.stored import done, job_id, new_job
from tests.engine.storing import claimed, state, submit


async def finish_all(store: Store, count: int) -> None:
    for number in range(1, count + 1):
        await store.submit(new_job(number, body=b"x" * 1_000))
        await claimed(store)
        await store.finish(number, done(at=number, body=os.urandom(1_000)))


async def test_prune_forgets_by_age(store: Store) -> None:
    await finish_all(store, 5)
    await store.submit(new_job(6))
    assert [await store.prune(4, 1 << 30, limit=2) for _ in range(3)] == [2, 1, 0]
    assert await store.get(job_id(3)) is None
    assert await store.answer(job_id(3)) is None
    assert await store.attempts(job_id(3)) == []
    assert await state(store, 4) is JobState.DONE
    assert await state(store, 6) is JobState.QUEUED


async def test_prune_forgets_the_oldest_while_bodies_take_too_much(store: Store) -> None:
    await finish_all(store, 5)
    assert await store.prune(0, 5_000) == 3
    assert await store.prune(0, 5_000) == 0
    assert await store.get(job_id(3)) is None
    assert await store.answer(job_id(4)) is not None


async def test_kept_jobs_stay_and_do_not_count(store: Store) -> None:
    await finish_all(store, 5)
    await store.submit(new_job(6))
    assert await store.keep(job_id(2), True)
    assert await store.keep(job_id(6), True)
    job = await store.get(job_id(2))
    assert job is not None
    assert job.kept
    assert await store.prune(0, 5_000) == 2
    assert [await store.get(job_id(number)) is not None for number in (1, 2, 3, 4)] == [False, True, False, True]
    await store.cancel(job_id(6), 2)
    assert await store.prune(100, 1 << 30) == 2
    assert await state(store, 6) is JobState.CANCELLED
    assert await store.keep(job_id(2), False)
    assert await store.prune(100, 1 << 30) == 1
    assert await store.get(job_id(2)) is None


async def test_a_finished_job_is_forgotten_by_hand(store: Store) -> None:
    await submit(store, "a", "a")
    assert await store.forget(job_id(2)) is False
    await claimed(store)
    assert await store.forget(job_id(1)) is False
    await store.finish(1, done())
    await store.keep(job_id(1), True)
    assert await store.forget(job_id(1)) is True
    assert await store.forget(job_id(1)) is False
    assert (await store.get(job_id(1)), await store.answer(job_id(1)), await store.payload(job_id(1))) == (None,) * 3
    assert await store.attempts(job_id(1)) == []
    assert await state(store, 2) is JobState.QUEUED
