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

from foreman.core.errors import JobCancelled, StorageFailed
from foreman.core.job import ACTIVE, JobState, LoadKey, Mode, NewJob, Next
from foreman.engine import migrations, statements, steps
from foreman.engine.clock import millis
from foreman.engine.events import Event
from foreman.engine.start import begun
from foreman.engine.store import Submitted
from foreman.testing import Ending
from tests.engine.running import (
    GENERATE,
    Running,
    answer,
    asked,
    ended,
    held,
)
from tests.engine.starting import HELD, made
from tests.engine.stored import job_id, new_job

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
