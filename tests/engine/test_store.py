"""What every Store does; a new one is added to OPENERS."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from foreman.core.errors import StorageFailed
from foreman.core.estimate import KEPT_SAMPLES, Sample
from foreman.core.job import Chosen, Hot, JobState, Mode, NewJob, Next, Payload, Stats
from foreman.core.lanes import Lane
from foreman.core.order import Waiting
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import Finished, JobFilter, Store, Submitted
from tests.engine.stored import back, done, failed, job_id, new_job

Opener = Callable[[Path, str], AbstractAsyncContextManager[Store]]
OPENERS: Final[dict[str, Opener]] = {"sqlite": lambda folder, boot: SqliteStore.open(folder / "foreman.db", boot)}


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], AbstractAsyncContextManager[Store]]:
    """Opens the one store of this test, for the process named."""
    return lambda boot: OPENERS[request.param](tmp_path, boot)


@pytest.fixture
async def store(opener: Callable[[str], AbstractAsyncContextManager[Store]]) -> AsyncIterator[Store]:
    async with opener("boot-1") as opened:
        yield opened


async def submit(store: Store, *models: str) -> list[int]:
    return [(await store.submit(new_job(number, model))).seq for number, model in enumerate(models, 1)]


async def claimed(store: Store, hot: Hot = Hot(), now: int = 5_000) -> int | None:  # noqa: B008 immutable
    claim = await store.claim(Next(hot), now)
    return None if claim is None else claim.job.seq


async def state(store: Store, number: int) -> JobState:
    job = await store.get(job_id(number))
    assert job is not None
    return job.state


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


@pytest.mark.parametrize(
    ("hot", "expected"),
    [
        (Hot(), 1),
        (Hot(("c?num_ctx=2",), ("c",)), 4),
        (Hot(("c?num_ctx=9",), ("c",)), 3),
        (Hot(("c",), ("b",)), 3),
        (Hot((), ("x",)), 1),
        (Hot((), ("c", "b")), 2),
        (Hot(("c?num_ctx=2", "c"), ()), 3),
    ],
)
async def test_the_hottest_is_claimed_first_then_the_oldest(store: Store, hot: Hot, expected: int) -> None:
    await submit(store, "a", "b", "c")
    await store.submit(new_job(4, "c", (("num_ctx", 2),)))
    assert await claimed(store, hot) == expected


@pytest.mark.parametrize(
    ("hot", "expected"),
    [
        (Hot(admitted=()), None),
        (Hot(("b",), ("b",), ()), 2),
        (Hot(("b",), ("b",), ("a",)), 2),
        (Hot((), ("b",), ("a",)), 1),  # it is loaded with other options, and they were not admitted
        (Hot((), ("b",), ("a", "b")), 2),
        (Hot(admitted=("c", "none")), 3),
    ],
)
async def test_a_claim_takes_only_what_is_loaded_or_admitted(store: Store, hot: Hot, expected: int | None) -> None:
    await submit(store, "a", "b", "c")
    assert await claimed(store, hot) == expected


async def test_the_load_keys_of_ready_jobs_come_in_the_order_of_their_oldest(store: Store) -> None:
    for number, (model, not_before) in enumerate(
        [("late", 9_000), ("b", 0), ("due", 4_000), ("a", 0), ("b", 0), ("late", 0), ("a", 8_000)], 1
    ):
        await store.submit(new_job(number, model, not_before=not_before))
    assert await store.ready_keys(9, 5_000) == ["b", "due", "a", "late"]
    assert await store.ready_keys(9, 9_999) == ["late", "b", "due", "a"]
    assert await store.ready_keys(2, 5_000) == ["b", "due"]
    await store.claim(Next(), 5_000)
    assert await store.ready_keys(9, 5_000) == ["due", "a", "b", "late"]


async def test_what_overrides_the_gate_need_not_be_admitted(store: Store) -> None:
    await submit(store, "a", "b")
    await store.submit(new_job(3, "a", override="gate"))
    assert await claimed(store, Hot(admitted=())) == 3
    job = await store.get(job_id(3))
    assert job is not None
    assert job.override == "gate"


async def test_what_can_never_run_is_refused_as_a_whole(store: Store) -> None:
    await submit(store, "a", "b", "a")
    await store.submit(new_job(4, "a", override="gate"))
    await store.submit(new_job(5, "a", not_before=9_000))
    await store.submit(new_job(6, "a", (("num_ctx", 1),)))
    await store.submit(new_job(7, "a", idem_key="k", req_hash=b"h"))
    assert sorted(await store.refuse("a", "never_fits", "far too large", 50)) == [job_id(1), job_id(3), job_id(7)]
    assert await store.refuse("a", "never_fits", "far too large", 60) == []
    job = await store.get(job_id(1))
    assert job is not None
    assert (job.state, job.error_code, job.error, job.finished_at) == ("failed", "never_fits", "far too large", 50)
    assert [await state(store, number) for number in (2, 4, 5, 6)] == [JobState.QUEUED] * 4
    # The same request may be sent again with its key, and then override the gate.
    assert (await store.submit(new_job(8, "a", idem_key="k", req_hash=b"h", override="gate"))).existing is None


async def test_a_claim_carries_the_request(store: Store) -> None:
    body = os.urandom(100_000)
    payload = Payload("/v1/chat/completions", (("x-odd", "\udcff\x01"), ("accept", "*/*")), body)
    await store.submit(new_job(1, payload=payload))
    claim = await store.claim(Next(), 5_000)
    assert claim is not None
    assert claim.payload == payload == await store.payload(job_id(1))
    assert (claim.job.state, claim.job.attempts, claim.job.claimed_at) == (JobState.LOADING, 1, 5_000)
    assert await store.get(job_id(1)) == claim.job


async def test_one_job_at_a_time(store: Store) -> None:
    await submit(store, "a", "b")
    assert await claimed(store) == 1
    assert await claimed(store) is None
    await store.finish(1, done())
    assert await claimed(store) == 2


REMOTE = Next(lane=Lane.REMOTE)


async def test_another_lane_is_not_claimed(store: Store) -> None:
    await store.submit(new_job(1, lane=Lane.REMOTE))
    assert await claimed(store) is None
    await store.submit(new_job(2))
    claim = await store.claim(REMOTE, 5_000)
    assert claim is not None
    assert (claim.job.seq, claim.job.lane) == (1, Lane.REMOTE)
    assert await store.claim(REMOTE, 5_000) is None


async def test_remote_jobs_are_claimed_in_order_of_arrival_however_many_run(store: Store) -> None:
    for number, model in enumerate("aba", 1):
        await store.submit(new_job(number, model, lane=Lane.REMOTE))
    claims = [await store.claim(replace(REMOTE, hot=Hot(("b",), ("b",))), 5_000) for _ in range(4)]
    assert [claim and claim.job.seq for claim in claims] == [1, 2, 3, None]


@pytest.mark.parametrize("gives_way", [False, True])
async def test_who_gives_way_takes_nothing_younger_than_what_is_ready_in_the_other_lane(
    store: Store, *, gives_way: bool
) -> None:
    for number, lane in enumerate((Lane.LOCAL, Lane.REMOTE, Lane.LOCAL, Lane.REMOTE), 1):
        await store.submit(new_job(number, "b" if number == 3 else "a", lane=lane))
    local, remote = Next(Hot(("b",), ("b",)), Lane.LOCAL, gives_way), Next(lane=Lane.REMOTE, gives_way=gives_way)
    before = await store.claim(remote, 5_000)
    assert (before is None) is gives_way
    first = await store.claim(local, 5_000)
    assert first is not None
    # What is hot counts among those that may go.
    assert first.job.seq == (1 if gives_way else 3)
    following = (await store.finish(first.job.seq, done(), local)).next
    assert (following is None) is gives_way
    # Now the remote one is older.
    after = await store.claim(remote, 5_000)
    assert after is not None
    assert after.job.seq == (2 if gives_way else 4)


async def test_nobody_gives_way_to_what_is_held_unless_it_overrides_the_gate(store: Store) -> None:
    wanted = replace(REMOTE, gives_way=True)
    for number, (model, override) in enumerate([("a", None), ("far", None), ("a", "gate"), ("far", None)], 1):
        lane = Lane.REMOTE if model == "far" else Lane.LOCAL
        await store.submit(new_job(number, model, lane=lane, override=override))
    assert await store.claim(wanted, 5_000) is None
    assert await store.claim(replace(wanted, held=("b",)), 5_000) is None
    claims = [await store.claim(replace(wanted, held=("b", "a")), 5_000) for _ in range(2)]
    assert [claim and claim.job.seq for claim in claims] == [2, None]


async def test_nobody_gives_way_to_a_job_whose_time_has_not_come(store: Store) -> None:
    await store.submit(new_job(9, lane=Lane.REMOTE, not_before=100))
    await submit(store, "a", "b")
    wanted = Next(gives_way=True)
    claim = await store.claim(wanted, 99)
    assert claim is not None
    assert (await store.finish(claim.job.seq, done(at=100), wanted)).next is None
    claim = await store.claim(replace(REMOTE, gives_way=True), 100)
    assert claim is not None
    assert claim.job.seq == 1


async def test_a_delayed_job_waits_and_keeps_its_place(store: Store) -> None:
    await submit(store, "a", "b")
    await claimed(store)
    assert await store.hand_back(1, back(not_before=100)) == Finished(True, JobState.QUEUED)
    assert await store.next_due() == 100
    assert await claimed(store, now=99) == 2
    await store.hand_back(2, back())
    assert await claimed(store, now=100) == 1
    assert await store.next_due() is None


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


async def test_only_jobs_that_are_open_are_claimed_or_given_way_to(store: Store) -> None:
    for number, key in enumerate(("@one/m", "@two/m", "@two/m"), 1):
        await store.submit(new_job(number, key, lane=Lane.REMOTE))
    await store.submit(new_job(4, "a:latest"))
    await store.submit(new_job(5, "@two/n", lane=Lane.REMOTE))

    async def claims(lane: Lane, *opened: str) -> int | None:
        claim = await store.claim(Next(lane=lane, gives_way=True, open=opened), 1)
        return None if claim is None else claim.job.seq

    assert await claims(Lane.REMOTE) is None
    assert await claims(Lane.LOCAL, "@two/m", "@two/n") is None
    assert await claims(Lane.REMOTE, "@two/n", "@two/m") == 2
    assert await claims(Lane.REMOTE, "@two/n") is None  # younger than the local one
    assert await claims(Lane.LOCAL, "@two/n") == 4
    assert await claims(Lane.REMOTE, "@two/n") == 5
    assert await claims(Lane.REMOTE, "@one/m", "@two/m") == 1


async def test_only_local_jobs_that_are_near_are_claimed_or_given_way_to(store: Store) -> None:
    for number, (key, lane, override) in enumerate(
        [
            ("a:latest", Lane.LOCAL, "gate"),
            ("slot x", Lane.LOCAL, None),
            ("slot far", Lane.REMOTE, None),
            ("slot x", Lane.LOCAL, "gate"),
            ("slot far", Lane.REMOTE, None),
        ],
        1,
    ):
        await store.submit(new_job(number, key, lane=lane, override=override))

    async def claims(
        lane: Lane, *near: str, held: tuple[str, ...] = (), admitted: tuple[str, ...] | None = ()
    ) -> object:
        hot = Hot(("a:latest",), ("a:latest",), admitted)
        claim = await store.claim(Next(hot, lane, gives_way=True, near=near, held=held), 1)
        return None if claim is None else claim.job.seq

    assert await claims(Lane.LOCAL) is None
    assert await claims(Lane.REMOTE, "slot x") is None  # younger than the first slot
    assert await claims(Lane.LOCAL, "slot x") is None  # younger than the remote one, and only that overrides
    assert await claims(Lane.REMOTE, "slot x", held=("slot x",)) == 3
    assert await claims(Lane.REMOTE, "slot x", held=("slot x",)) is None  # younger than the one that overrides
    assert await claims(Lane.LOCAL, "slot x") == 4
    await store.finish(4, done())
    assert await claims(Lane.LOCAL, "slot x", admitted=None) == 2
    assert await claims(Lane.REMOTE) == 5
    await store.finish(2, done())
    assert await store.claim(Next(), 1) is not None


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
