"""How jobs come to their end in a store: finished, handed back, cancelled."""

import os

import pytest

from foreman.core.errors import StorageFailed
from foreman.core.job import Chosen, Hot, JobState, Mode, Next, Stats
from foreman.engine.store import Finished, JobFilter, Store, Submitted
from tests.engine.stored import back, done, failed, job_id, new_job
from tests.engine.storing import claimed, state, submit


@pytest.mark.parametrize("body", [b"", b"short", b"{}\n" * 5_000, os.urandom(9_000), b"ab" * 700_000], ids=len)
async def test_the_answer_comes_back_byte_for_byte(store: Store, body: bytes) -> None:
    await submit(store, "a")
    await claimed(store)
    outcome = done(body=body)
    assert await store.finish(1, outcome) == Finished(True, JobState.DONE)
    assert await store.answer(job_id(1)) == outcome.answer
    job = await store.get(job_id(1))
    assert job is not None
    assert (job.state, job.status, job.finished_at) == (JobState.DONE, 200, 9_000)


async def test_finish_claims_the_next_in_the_same_step(store: Store) -> None:
    await submit(store, "a", "b", "a")
    await claimed(store)
    finished = await store.finish(1, done(at=6_000), Next(Hot(("a",))))
    assert finished.next is not None
    assert (finished.next.job.seq, finished.next.job.claimed_at) == (3, 6_000)
    last = await store.finish(3, failed(), Next())
    assert (last.state, last.next and last.next.job.seq) == (JobState.FAILED, 2)
    assert await store.finish(2, done(), Next()) == Finished(True, JobState.DONE, None)


async def test_a_job_may_be_claimed_as_it_is_kept(store: Store) -> None:
    new = new_job(1)
    submitted = await store.submit(new, new.created_at)
    assert submitted == Submitted(submitted.seq)
    assert await store.depth() == {}
    job = await store.get(new.id)
    assert job is not None
    assert (job.state, job.attempts, job.claimed_at) == (JobState.LOADING, 1, new.created_at)
    assert await store.payload(new.id) == new.payload
    await store.submit(new_job(2))
    assert await claimed(store) is None
    assert (await store.finish(submitted.seq, done(), Next())).next is not None
    assert [(each.n, each.outcome) for each in await store.attempts(new.id)] == [(1, "done")]


async def test_one_job_at_a_time_also_where_it_is_claimed_as_it_is_kept(store: Store) -> None:
    await store.submit(new_job(1), 1_000)
    with pytest.raises(StorageFailed, match="UNIQUE"):
        await store.submit(new_job(2), 1_000)
    assert (await store.get(job_id(2)), await store.depth()) == (None, {})


async def test_a_job_that_may_be_there_already_is_not_claimed_unseen(store: Store) -> None:
    with pytest.raises(ValueError, match="key"):
        await store.submit(new_job(1, idem_key="k", req_hash=b"h"), 1_000)
    assert await store.get(job_id(1)) is None


async def test_finish_claims_the_job_that_was_chosen_and_no_other(store: Store) -> None:
    seqs = await submit(store, "a", "b", "b")
    assert await claimed(store) == seqs[0]
    finished = await store.finish(seqs[0], done(at=7_000), Chosen(seqs[2]))
    assert finished == Finished(applied=True, state=JobState.DONE, chosen=True)
    job = await store.get(job_id(3))
    assert job is not None
    assert (job.state, job.attempts, job.claimed_at) == (JobState.LOADING, 1, 7_000)
    assert [(each.n, each.started_at, each.outcome) for each in await store.attempts(job.id)] == [(1, 7_000, None)]
    assert await state(store, 2) is JobState.QUEUED
    assert await store.depth() == {("b", "b"): 1}


@pytest.mark.parametrize("why", ["cancelled", "delayed", "finished", "unknown"])
async def test_one_that_is_not_there_to_be_claimed_is_not_and_the_end_stands(store: Store, why: str) -> None:
    seqs = await submit(store, "a")
    late = (await store.submit(new_job(2, not_before=9_999 if why == "delayed" else 0))).seq
    assert await claimed(store) == seqs[0]
    if why == "cancelled":
        await store.cancel(job_id(2), 6_000)
    seq = {"unknown": 99, "finished": seqs[0]}.get(why, late)
    before = await store.get(job_id(2))
    assert await store.finish(seqs[0], done(), Chosen(seq)) == Finished(applied=True, state=JobState.DONE)
    assert (await state(store, 1), await store.get(job_id(2))) == (JobState.DONE, before)
    assert await store.attempts(job_id(2)) == []


async def test_who_does_not_own_a_job_claims_none_with_its_end(store: Store) -> None:
    seqs = await submit(store, "a", "b")
    assert await claimed(store) == seqs[0]
    await store.finish(seqs[0], done())
    assert await store.finish(seqs[0], done(), Chosen(seqs[1])) == Finished(applied=False, state=JobState.DONE)
    assert await state(store, 2) is JobState.QUEUED


async def test_a_job_handed_back_may_be_the_next(store: Store) -> None:
    await submit(store, "a", "b")
    await claimed(store)
    handed = await store.hand_back(1, back(), Next())
    assert handed.next is not None
    assert (handed.next.job.seq, handed.next.job.attempts) == (1, 2)


async def test_a_job_ends_once(store: Store) -> None:
    await submit(store, "a", "b")
    await claimed(store)
    await store.finish(1, done())
    assert await store.finish(1, failed(), Next()) == Finished(False, JobState.DONE)
    assert await store.hand_back(1, back(), Next()) == Finished(False, JobState.DONE)
    assert await store.cancel(job_id(1), 9_999) is JobState.DONE
    assert await state(store, 2) is JobState.QUEUED


async def test_a_hand_back_counts_or_does_not(store: Store) -> None:
    await submit(store, "a")
    await claimed(store, now=1)
    await store.hand_back(1, back(at=2, counted=False))
    await claimed(store, now=3)
    await store.hand_back(1, back(at=4, crash=True))
    job = await store.get(job_id(1))
    assert job is not None
    assert (job.attempts, job.crashes, job.error_code, job.error) == (
        1, 1, "target_unreachable", "connection refused")  # fmt: skip
    tries = await store.attempts(job_id(1))
    assert [(each.n, each.started_at, each.ended_at, each.outcome) for each in tries] == [
        (1, 1, 2, "requeued"), (2, 3, 4, "requeued")]  # fmt: skip


async def test_errors_with_broken_text_are_kept(store: Store) -> None:
    await submit(store, "a")
    await claimed(store)
    await store.finish(1, done(state=JobState.FAILED, error="bad \udcff byte"))
    job = await store.get(job_id(1))
    assert job is not None
    assert job.error == "bad ? byte"


async def test_cancel_of_a_queued_job_is_at_once(store: Store) -> None:
    await submit(store, "a", "a")
    await claimed(store)
    await store.hand_back(1, back(not_before=9_999))
    assert await store.cancel(job_id(1), 50) is JobState.CANCELLED
    assert await store.cancel(job_id(2), 50) is JobState.CANCELLED
    assert await claimed(store, now=99_999) is None
    job = await store.get(job_id(2))
    assert job is not None
    assert (job.finished_at, job.error_code) == (50, "cancelled")


async def test_a_detached_job_is_handed_back_after_its_first_byte(store: Store) -> None:
    await store.submit(new_job(1, mode=Mode.DETACHED))
    await claimed(store)
    store.note_working(1, 60)
    assert await store.hand_back(1, back(not_before=70)) == Finished(True, JobState.QUEUED)
    assert await claimed(store, now=70) == 1
    assert await store.finish(1, done(body=b"whole")) == Finished(True, JobState.DONE)
    answer = await store.answer(job_id(1))
    assert answer is not None
    assert answer.body == b"whole"


async def test_the_stats_of_a_finished_job_are_kept(store: Store) -> None:
    stats = Stats(waited_ms=1, load_ms=2, first_byte_ms=3, total_ms=4, prompt_tokens=5, output_tokens=6)
    await submit(store, "a")
    await claimed(store)
    await store.finish(1, done(stats=stats))
    job = await store.get(job_id(1))
    assert job is not None
    assert job.stats == stats
    assert await store.by_seq([7, 1]) == {1: job}
    assert await store.list(JobFilter(), 1) == [job]


@pytest.mark.parametrize("working", [False, True])
async def test_cancel_of_a_claimed_job_is_a_request(store: Store, working: bool) -> None:
    await submit(store, "a")
    await claimed(store)
    if working:
        store.note_working(1, 60)
    assert await store.cancel(job_id(1), 70) is (JobState.WORKING if working else JobState.LOADING)
    job = await store.get(job_id(1))
    assert job is not None
    assert job.cancel_requested


async def test_a_job_to_be_cancelled_ends_as_cancelled_unless_it_is_done(store: Store) -> None:
    await submit(store, "a", "a", "a")
    for number in (1, 2, 3):
        assert await claimed(store) == number
        await store.cancel(job_id(number), 70)
        if number == 1:
            await store.finish(number, failed())
        elif number == 2:
            await store.hand_back(number, back(not_before=77))
        else:
            await store.finish(number, done())
    assert [await state(store, number) for number in (1, 2, 3)] == ["cancelled", "cancelled", "done"]
    tries = [(await store.attempts(job_id(number)))[0] for number in (1, 2, 3)]
    assert [(each.outcome, each.error_code, each.error) for each in tries] == [
        ("cancelled", "truncated", "the answer broke off"),
        ("cancelled", "target_unreachable", "connection refused"),
        ("done", None, None),
    ]


async def test_working_is_noted_once_and_only_by_the_claim_it_belongs_to(store: Store) -> None:
    await submit(store, "a")
    store.note_working(1, 1)
    await claimed(store)
    store.note_working(1, 60)
    store.note_working(1, 61)
    await store.submit(new_job(2))
    job = await store.get(job_id(1))
    assert job is not None
    assert (job.state, job.first_byte_at) == (JobState.WORKING, 60)
    await store.hand_back(1, back())
    store.note_working(1, 62)
    await store.submit(new_job(3))
    job = await store.get(job_id(1))
    assert job is not None
    assert (job.state, job.first_byte_at) == (JobState.QUEUED, None)
