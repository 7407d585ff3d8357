"""What every Store does; a new one is added to OPENERS."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from foreman.core.errors import StorageFailed
from foreman.core.estimate import KEPT_SAMPLES, Sample
from foreman.core.job import JobState, LoadKey, Mode, NewJob, Next, Stats
from foreman.core.lanes import Lane
from foreman.core.order import Waiting
from foreman.engine.store import Finished, JobFilter, Store, Submitted
from tests.engine.stored import back, done, failed, job_id, new_job
from tests.engine.storing import claimed, state, submit


async def test_a_submitted_job_is_kept_as_it_was(store: Store) -> None:
    new = new_job(
        1, "m:7b", (("num_ctx", 8192),), mode=Mode.ATTACHED, client="me", not_before=77,
        idem_key="k", req_hash=b"h", retry_of=job_id(9),
    )  # fmt: skip
    seq = (await store.submit(new)).seq
    job = await store.get(new.id)
    assert job is not None
    assert (job.seq, job.state, job.model, job.load_key) == (seq, JobState.QUEUED, "m:7b", new.load_key)
    assert (job.mode, job.client, job.not_before, job.max_attempts) == (Mode.ATTACHED, "me", 77, 3)
    assert (job.path, job.created_at, job.attempts, job.claimed_at) == ("/api/chat", new.created_at, 0, None)
    assert (job.idem_key, job.retry_of, job.kept, job.stats) == ("k", job_id(9), False, None)
    assert await store.payload(new.id) == new.payload


async def test_jobs_are_numbered_in_the_order_of_arrival(store: Store) -> None:
    assert await submit(store, "a", "b", "a") == [1, 2, 3]


async def test_an_unknown_job_is_none(store: Store) -> None:
    assert await store.get(job_id(1)) is None
    assert await store.answer(job_id(1)) is None
    assert await store.payload(job_id(1)) is None
    assert await store.attempts(job_id(1)) == []
    assert await store.by_seq([1]) == {}
    assert await store.keep(job_id(1), True) is False
    assert await store.forget(job_id(1)) is False
    assert await store.cancel(job_id(1), 1) is None
    assert await store.finish(1, done()) == Finished(applied=False, state=None)


async def test_an_id_is_taken_once(store: Store) -> None:
    await store.submit(new_job(1))
    with pytest.raises(Exception, match="UNIQUE"):
        await store.submit(new_job(1, "b"))
    assert await store.depth() == {("a:latest", "a:latest"): 1}


def keyed(number: int, idem_key: str | None = "k", client: str = "me", req_hash: bytes | None = b"1") -> NewJob:
    return new_job(number, idem_key=idem_key, client=client, req_hash=req_hash)


async def test_a_key_joins_the_job_that_has_it(
    opener: Callable[[str], AbstractAsyncContextManager[Store]],
) -> None:
    async with opener("boot-1") as store:
        assert await store.submit(keyed(1)) == Submitted(1, None, True)
        queued = await store.get(job_id(1))
        assert await store.submit(keyed(2)) == Submitted(1, queued, True)
        assert await store.submit(keyed(3, req_hash=b"2")) == Submitted(1, queued, False)
        assert await store.submit(keyed(4, req_hash=None)) == Submitted(1, queued, False)
        assert await store.get(job_id(2)) is None
        assert await store.depth() == {("a:latest", "a:latest"): 1}
        await claimed(store)
        await store.finish(1, done())
    async with opener("boot-2") as store:
        joined = await store.submit(keyed(5))
        assert (joined.seq, joined.same_request) == (1, True)
        assert joined.existing == await store.get(job_id(1))
        assert joined.existing is not None
        assert joined.existing.state is JobState.DONE
        assert await store.forget(job_id(1))
        assert (await store.submit(keyed(6))).existing is None


async def test_a_key_is_its_clients_own_and_none_is_no_key(store: Store) -> None:
    assert (await store.submit(keyed(8, "bare", req_hash=None))).existing is None
    assert (await store.submit(keyed(9, "bare", req_hash=None))).same_request
    for job in (keyed(1), keyed(2, client=""), keyed(3, client="other"), keyed(4, "K"), keyed(5, None), keyed(6, None)):
        assert (await store.submit(job)).existing is None
    assert (await store.submit(keyed(7, client=""))).seq == (await store.submit(keyed(2, client=""))).seq


async def test_one_of_many_that_come_at_once_with_a_key_is_kept(store: Store) -> None:
    results = await asyncio.gather(*(store.submit(keyed(number)) for number in range(1, 31)))
    assert {each.seq for each in results} == {1}
    assert [each.existing is None for each in results].count(True) == 1
    assert len(await store.list(JobFilter(), 100)) == 1


async def test_queued_jobs_whose_request_may_come_again_are_told_with_it(store: Store) -> None:
    for job in (keyed(1), keyed(2, idem_key=None, req_hash=b"2"), new_job(3), keyed(4, idem_key=None, req_hash=b"4")):
        await store.submit(job)
    assert await claimed(store) == 1
    assert {job.id: request for job, request in await store.repeatable()} == {job_id(2): b"2", job_id(4): b"4"}


async def test_many_are_kept_together_or_not_at_all(store: Store) -> None:
    assert await store.submit_many([]) == []
    await submit(store, "a")
    many = [new_job(number, body=os.urandom(1_000)) for number in range(2, 1_002)]
    seqs = await store.submit_many(many)
    assert list(seqs) == sorted(set(seqs))
    jobs = await store.by_seq(seqs)
    assert [jobs[seq].id for seq in seqs] == [job.id for job in many]
    assert await store.payload(many[999].id) == many[999].payload
    bad = [new_job(2_000), new_job(2_001), new_job(500)]
    results = await asyncio.gather(
        store.submit(new_job(2_002)), store.submit_many(bad), store.submit(new_job(2_003)), return_exceptions=True
    )
    assert isinstance(results[1], StorageFailed)
    assert [await store.get(job_id(number)) is not None for number in (2_000, 2_001, 2_002, 2_003)] == [
        False, False, True, True]  # fmt: skip
    with pytest.raises(ValueError, match="key"):
        await store.submit_many([keyed(3_000)])


async def test_many_big_ones(store: Store) -> None:
    bodies = [os.urandom(400_000) for _ in range(4)]
    assert len(await store.submit_many([new_job(number, body=body) for number, body in enumerate(bodies)])) == 4
    assert [(await store.payload(job_id(number))).body for number in range(4)] == bodies  # type: ignore[union-attr]


async def test_the_list_shows_the_newest_that_fit(store: Store) -> None:
    for number in range(1, 9):
        await store.submit(new_job(number, "ab"[number % 2], client=("", "me")[number > 4], created_at=number * 10))
    await store.cancel(job_id(3), 5)
    await store.cancel(job_id(6), 5)
    assert await claimed(store) == 1

    async def found(limit: int = 100, states: frozenset[JobState] = frozenset(), **wanted: Any) -> list[int]:
        return [job.seq for job in await store.list(JobFilter(states, **wanted), limit)]

    assert await found() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert await found(3) == [8, 7, 6]
    assert await found(0) == []
    assert await found(3, before=6) == [5, 4, 3]
    assert await found(before=1) == []
    assert await found(states=frozenset({JobState.CANCELLED})) == [6, 3]
    assert await found(states=frozenset({JobState.CANCELLED, JobState.LOADING})) == [6, 3, 1]
    assert await found(states=frozenset(JobState), limit=2) == [8, 7]
    assert await found(model="a") == [8, 6, 4, 2]
    assert await found(client="") == [4, 3, 2, 1]
    assert await found(client="me", model="b") == [7, 5]
    assert await found(client="nobody") == []
    assert await found(since=70) == [8, 7]
    assert await found(model="a", since=40, before=8) == [6, 4]
    assert await found(client="", since=30, before=4) == [3]
    assert await found(states=frozenset({JobState.QUEUED}), client="me", model="a", since=1, before=9) == [8]


async def test_the_queue_is_told_as_a_claim_would_see_it(store: Store) -> None:
    for number, not_before in enumerate((0, 300, 200, 0, 200), 1):
        await store.submit(new_job(number, "b", (("num_ctx", number),), not_before=not_before))
    await store.submit(new_job(6, "far", lane=Lane.REMOTE))
    await store.cancel(job_id(4), 1)

    async def told(now: int, limit: int = 100) -> tuple[list[int], list[int]]:
        waiting = await store.waiting(limit, now)
        return [each.seq for each in waiting], [job.seq for job in await store.delayed(limit, now)]

    assert await store.waiting(1, 0) == [Waiting(1, "b", "b?num_ctx=1")]
    assert await store.waiting(9, 0, Lane.REMOTE) == [Waiting(6, "far", "far")]
    assert await told(0) == ([1], [3, 5, 2])
    assert await told(199) == ([1], [3, 5, 2])
    assert await told(200) == ([1, 3, 5], [2])
    assert await told(300) == ([1, 2, 3, 5], [])
    assert await told(200, limit=2) == ([1, 3], [2])
    assert await told(0, limit=2) == ([1], [3, 5])
    assert await claimed(store, now=200) == 1
    assert await told(200) == ([3, 5], [2])


async def test_a_pause_outlives_the_process(opener: Callable[[str], AbstractAsyncContextManager[Store]]) -> None:
    async with opener("boot-1") as store:
        assert await store.paused() is False
        await store.set_paused(True, 5)
        await store.set_paused(True, 6)
        assert await store.paused() is True
    async with opener("boot-2") as store:
        assert await store.paused() is True
        await store.set_paused(False, 7)
        await store.set_paused(False, 8)
        assert await store.paused() is False
    async with opener("boot-3") as store:
        assert await store.paused() is False


async def test_what_jobs_took_is_remembered(opener: Callable[[str], AbstractAsyncContextManager[Store]]) -> None:
    async with opener("boot-1") as store:
        assert await store.samples() == []
        await store.submit(new_job(1, "a", (("num_ctx", 2),)))
        await submit_more(store, 2, 5)
        await claimed(store)
        await store.finish(1, done(70, stats=Stats(load_ms=400, total_ms=1_000, output_tokens=9)), Next())
        await store.finish(2, done(80, stats=Stats(total_ms=30)), Next())
        await store.finish(3, failed(), Next())
        await store.cancel(job_id(4), 85)
        await store.finish(4, failed())
        assert await store.finish(1, done(90)) == Finished(False, JobState.DONE)
        await claimed(store)
        await store.cancel(job_id(5), 95)
        assert await store.finish(5, done(96)) == Finished(True, JobState.DONE)
        assert await store.forget(job_id(1))
    async with opener("boot-2") as store:
        assert await store.samples() == [
            Sample("a?num_ctx=2", "a", 400, 600, 9, 70),
            Sample("b", "b", None, 30, None, 80),
            Sample("b", "b", None, 0, None, 96),
        ]


async def submit_more(store: Store, first: int, last: int, model: str = "b") -> None:
    await store.submit_many([new_job(number, model) for number in range(first, last + 1)])


async def test_the_newest_samples_of_a_load_key_are_kept(store: Store) -> None:
    await submit(store, "a")
    await submit_more(store, 2, KEPT_SAMPLES + 6)
    await claimed(store)
    for number in range(1, KEPT_SAMPLES + 7):
        await store.finish(number, done(number), Next())
    samples = await store.samples()
    assert [each.at for each in samples] == [1, *range(7, KEPT_SAMPLES + 7)]
    assert [each.load_key for each in samples] == ["a"] + ["b"] * KEPT_SAMPLES


async def test_figures_of_the_queue(store: Store) -> None:
    assert (await store.depth(), await store.next_due(), await store.oldest_queued()) == ({}, None, None)
    await submit(store, "a", "b", "a")
    await store.submit(new_job(4, "a", (("num_ctx", 2),), not_before=700))
    await store.submit(new_job(5, "a", not_before=600))
    await claimed(store, now=1)
    assert await store.depth() == {("a", "a"): 2, ("b", "b"): 1, ("a", "a?num_ctx=2"): 1}
    assert await store.next_due() == 600
    assert await store.oldest_queued() == 1_002


async def test_usage_counts_bytes(store: Store) -> None:
    before = await store.usage()
    await store.submit(new_job(1, body=b"x" * 50_000))
    after = await store.usage()
    assert after.db_bytes + after.wal_bytes >= before.db_bytes + before.wal_bytes + 50_000
    assert after.sqlite_version.count(".") == 2


@pytest.mark.parametrize("steps", range(4))
async def test_what_a_cancelled_caller_handed_over_happens_whole_or_not_at_all(store: Store, steps: int) -> None:
    await store.submit(new_job(1))
    await claimed(store)
    tasks = [
        asyncio.create_task(store.submit(new_job(2))),
        asyncio.create_task(store.finish(1, done(body=b"x" * 100_000), Next())),
    ]
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    begun = steps > 0
    while begun and await state(store, 1) is not JobState.DONE:
        pass
    await store.submit(new_job(3))
    two = await store.get(job_id(2))
    assert (two is not None) == begun
    if two is not None:
        assert two.state is JobState.LOADING
        assert await store.answer(job_id(1)) is not None


async def test_a_job_of_a_remote_waits_under_the_model_that_people_see(store: Store) -> None:
    await store.submit(replace(new_job(1, "far/x", lane=Lane.REMOTE), load_key=LoadKey("@far/x")))
    assert await store.depth(Lane.REMOTE) == {("far/x", "@far/x"): 1}


async def test_the_oldest_of_each_lane_and_model(store: Store) -> None:
    assert await store.oldest_by_model() == {}
    await submit(store, "a", "b", "a")
    await store.submit(new_job(4, "b", (("num_ctx", 2),), not_before=700))
    await store.submit(new_job(5, "c", not_before=600))
    await store.submit(new_job(6, "a", lane=Lane.REMOTE))
    await claimed(store, now=1)
    expected = {(Lane.LOCAL, "a"): 1_003, (Lane.LOCAL, "b"): 1_002, (Lane.REMOTE, "a"): 1_006}
    assert await store.oldest_by_model() == expected
    await store.hand_back(1, back(not_before=9_999))
    assert await store.oldest_by_model() == {**expected, (Lane.LOCAL, "a"): 1_001}
