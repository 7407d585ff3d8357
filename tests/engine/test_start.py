"""A job that is begun while its row is being written: what the worker makes of it, and what leaves when."""

import asyncio
import dataclasses
import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.errors import Draining, JobCancelled, StorageFailed, StorageFull
from foreman.core.job import ACTIVE, JobState, LoadKey, Mode, NewJob, Next
from foreman.engine import migrations, statements, steps
from foreman.engine.clock import millis
from foreman.engine.events import Event
from foreman.engine.live import LiveJobs
from foreman.engine.relay import Budget
from foreman.engine.start import Start, begun
from foreman.engine.store import Submitted
from foreman.testing import Ending, Script, StubOllama
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
from tests.engine.stored import job_id, new_job

HELD = Script(hold=0)
SUBMIT_CLAIMED = steps.submit_claimed


def made(**changes: Any) -> Start:
    job = new_job(1, **changes)
    jobs = LiveJobs(Budget(1))
    claim = begun(job, 7, 5_000)
    return Start(jobs.adopt(claim.job), claim)


JOBS = st.builds(
    new_job,
    st.integers(1, 9),
    st.sampled_from(("a:latest", "b:7b")),
    st.sampled_from(((), (("num_ctx", 8192),))),
    mode=st.sampled_from(Mode),
    client=st.sampled_from(("", "curl 127.0.0.1")),
    max_attempts=st.integers(1, 5),
    req_hash=st.none() | st.just(b"h"),
    retry_of=st.none() | st.just(job_id(99)),
    body=st.binary(max_size=20),
)


@given(JOBS, st.integers(0, 3))
def test_it_is_what_the_store_makes_of_the_first_claim(job: NewJob, waited: int) -> None:
    now = job.created_at + waited
    for claimed in (False, True):
        with sqlite3.connect(":memory:", isolation_level=None) as db:
            migrations.migrate(db, Path("unused"))
            if claimed:
                seq = steps.submit_claimed(db, "me", job, now).seq
                (row,) = db.execute(statements.JOB, (job.id,)).fetchall()
                assert steps.job_of(row) == begun(job, seq, now).job
            else:
                seq = steps.submit(db, job).seq
                assert steps.claim(db, "me", Next(), now) == begun(job, seq, now)
        db.close()


async def test_what_the_store_had_from_the_beginning_is_on_disk() -> None:
    start = made()
    start.unless_on_disk(lambda: pytest.fail("it is"))
    assert await start.on_disk()


@pytest.mark.parametrize("written", [True, False])
async def test_who_waits_hears_how_it_was_written(*, written: bool) -> None:
    start = made()
    start.written = asyncio.get_running_loop().create_future()
    stopped = asyncio.Event()
    start.unless_on_disk(stopped.set)
    waits = [asyncio.create_task(start.on_disk()) for _ in range(2)]
    await asyncio.sleep(0)
    # One that is stopped while it waits takes the answer from nobody.
    waits[0].cancel()
    await asyncio.wait(waits[:1])
    start.written.set_result(written)
    assert await waits[1] is written
    assert await start.on_disk() is written
    assert stopped.is_set() is not written


async def test_a_write_that_fails_stops_the_attempt_too() -> None:
    start = made()
    start.written = asyncio.get_running_loop().create_future()
    stopped = asyncio.Event()
    start.unless_on_disk(stopped.set)
    start.written.set_exception(StorageFailed("gone"))
    await stopped.wait()
    with pytest.raises(StorageFailed, match="gone"):
        await start.on_disk()


async def test_nothing_leaves_before_the_row_is_on_disk(work: Running) -> None:
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("sky")))
        entry = await work.at_target("sky")
        await work.told(entry)
        live = work.only()
        assert (live.relay.head, live.relay.size, asking.done()) == (None, 0, False)
        assert await work.store.get(live.id) is None
        told = work.engine.events.last
    body = await answer(await asking)
    assert hashlib.sha256(body).hexdigest() == entry.sha256
    await ended(live)
    (job,) = await work.stored()
    assert (job.state, job.attempts, job.claimed_at) == (JobState.DONE, 1, job.created_at)
    assert [attempt.outcome for attempt in await work.store.attempts(job.id)] == ["done"]
    # Who follows all jobs hears of it, but not before it is there to be looked at either.
    events = work.engine.events.since(told)
    assert events is not None
    begun_, working, done = (event for event in events if isinstance(event, Event))
    assert (begun_.live, begun_.attempts, begun_.output_bytes) == (live, 1, 0)
    assert begun_.state in ACTIVE
    assert (working.state, done.state) == (JobState.WORKING, JobState.DONE)
    await work.settled()


async def test_who_joins_it_meanwhile_gets_nothing_before_either(work: Running) -> None:
    first = asked("sky", hash=b"h")
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(first))
        entry = await work.at_target("sky")
        await work.stub.ledger.wait_for(lambda _: entry.ending is Ending.COMPLETE)
        joined = await work.engine.submit(dataclasses.replace(first, again=True))
        reading = asyncio.create_task(answer(joined))
        await work.here_by_now()
        assert (joined.joined, reading.done(), joined.relay.head) == (True, False, None)
    assert await reading == await answer(await asking)
    assert len(work.seen("sky")) == 1
    await work.settled()


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


async def test_of_two_at_once_only_one_is_begun(work: Running) -> None:
    work.stub.script(GENERATE, [HELD])
    async with held(work.store):
        asking = [asyncio.create_task(work.engine.submit(asked(prompt))) for prompt in ("first", "second")]
        await work.at_target("first")
        first, second = work.jobs
        assert (work.jobs.running, second.state) == ([first], JobState.QUEUED)
    tickets = await asyncio.gather(*asking)
    assert [(job.id, job.state) for job in await work.stored()] == [
        (first.id, JobState.LOADING),
        (second.id, JobState.QUEUED),
    ]
    assert (work.seen("second"), work.jobs.local.depth.total) == ([], 1)
    work.stub.release(GENERATE)
    await asyncio.gather(*map(answer, tickets))
    await work.settled()
    assert work.stub.ledger.max_concurrent == 1


async def test_one_that_came_a_moment_before_and_is_not_begun_goes_first(work: Running) -> None:
    async with held(work.store):
        asking = []
        for submission in (asked("first", idem_key="k", hash=b"h"), asked("second")):
            asking.append(asyncio.create_task(work.engine.submit(submission)))
            await asyncio.sleep(0)
        assert [live.state for live in work.jobs] == [JobState.QUEUED] * 2
        assert work.jobs.running == []
    for ticket in await asyncio.gather(*asking):
        assert await answer(ticket)
    assert [entry.number for entry in (*work.seen("first"), *work.seen("second"))] == sorted(
        entry.number for prompt in ("first", "second") for entry in work.seen(prompt)
    )
    await work.settled()


async def test_nothing_is_begun_before_the_worker_has_seen_what_it_was_woken_for(
    work: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, claims = work.store.submit, []

    async def told(job: NewJob, claimed_at: int | None = None) -> Submitted:
        claims.append(claimed_at)
        return await submit(job, claimed_at)

    monkeypatch.setattr(work.store, "submit", told)
    work.jobs.local.wake.set()
    assert await answer(await work.engine.submit(asked("sky")))
    assert claims == [None]
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


async def test_a_job_is_begun_beside_one_whose_time_has_not_come(work: Running) -> None:
    (later,) = await work.engine.submit_many([asked("later", not_before=millis(work.clock) + 3_600_000)])
    async with held(work.store):
        await work.rests()
        asking = asyncio.create_task(work.engine.submit(asked("sky")))
        await work.at_target("sky")
        assert later.state is JobState.QUEUED
    await answer(await asking)
    assert await work.engine.cancel(later.id) is JobState.CANCELLED
    await work.settled()


WAITS: dict[str, dict[str, Any]] = {
    "the queue is paused": {},
    "the target is down": {},
    "it may be there already": {"idem_key": "k", "hash": b"h"},
    "its time has not come": {"not_before": 1 << 50},
    "another model is loaded": {"model": "qwen3:8b"},
    "other options are loaded": {"key": LoadKey("llama3:latest", (("num_ctx", 2048),))},
}


@pytest.mark.parametrize("why", WAITS)
async def test_it_has_to_wait_in_line_where(work: Running, why: str) -> None:
    if why == "the queue is paused":
        await work.engine.pause(True)
    if why == "the target is down":
        work.stub.refuse()
        work.engine.poller.lost("it is down")
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("sky", **WAITS[why])))
        await asyncio.sleep(0)
        assert (work.jobs.running, work.only().state) == ([], JobState.QUEUED)
    ticket = await asking
    await work.engine.cancel(ticket.id)
    with pytest.raises(JobCancelled):
        await answer(ticket)
    await work.engine.pause(False)
    await work.stub.accept()
    await work.settled()
