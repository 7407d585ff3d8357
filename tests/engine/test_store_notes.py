"""The note of the first byte: it rides with the end of its attempt, and is lost with nothing that goes wrong."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foreman.core.errors import StorageFull
from foreman.core.job import Hot, Job, JobState, Next
from foreman.engine.sqlite import SqliteStore
from foreman.engine.store import Finished
from tests.engine.stored import back, done, job_id, new_job


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore.open(tmp_path / "foreman.db", "boot-1") as opened:
        yield opened


async def job(store: SqliteStore, number: int = 1) -> Job:
    found = await store.get(job_id(number))
    assert found is not None
    return found


async def traced(store: SqliteStore) -> list[str]:
    seen: list[str] = []
    await store._writer.run_bare(lambda db: db.set_trace_callback(seen.append))
    return seen


def notes(seen: list[str]) -> int:
    return len({text for text in seen if "SET state='working'" in text})  # a trigger shows the text once more


async def test_it_rides_with_the_end(store: SqliteStore) -> None:
    await store.submit(new_job(1), 50)
    seen = await traced(store)
    store.note_working(1, 60)
    store.note_working(1, 61)
    assert await store.finish(1, done()) == Finished(True, JobState.DONE)
    assert ((await job(store)).first_byte_at, notes(seen)) == (60, 0)


async def test_the_first_stands_where_it_was_written_before_the_end(store: SqliteStore) -> None:
    await store.submit(new_job(1), 50)
    seen = await traced(store)
    store.note_working(1, 60)
    await store.submit(new_job(2))
    assert ((await job(store)).state, (await job(store)).first_byte_at) == (JobState.WORKING, 60)
    store.note_working(1, 61)
    assert notes(seen) == 1
    await store.finish(1, done())
    assert ((await job(store)).first_byte_at, notes(seen)) == (60, 1)


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("again", [None, 80])
async def test_it_is_gone_when_the_job_goes_back(store: SqliteStore, written: bool, again: int | None) -> None:
    await store.submit(new_job(1), 50)
    store.note_working(1, 60)
    if written:
        await store.submit(new_job(2))
    await store.hand_back(1, back(not_before=70))
    assert store._notes == {}
    assert (await job(store)).first_byte_at is None
    between = await store.submit(new_job(3), 70)
    await store.finish(between.seq, done())
    assert (await job(store, 3)).first_byte_at is None
    claim = await store.claim(Next(Hot(("a:latest",))), 70)
    assert claim is not None
    assert claim.job.seq == 1
    if again is not None:
        store.note_working(1, again)
    await store.finish(1, done())
    assert (await job(store)).first_byte_at == again


async def test_a_job_to_be_cancelled_keeps_it(store: SqliteStore) -> None:
    await store.submit(new_job(1), 50)
    await store.cancel(job_id(1), 55)
    store.note_working(1, 60)
    assert (await store.finish(1, done(state=JobState.FAILED))).state is JobState.CANCELLED
    assert (await job(store)).first_byte_at == 60


async def test_an_end_that_had_no_room_has_it_the_next_time(store: SqliteStore) -> None:
    await store.submit(new_job(1), 50)
    ((pages,),) = await store._writer.run_bare(lambda db: db.execute("PRAGMA page_count").fetchall())
    await store._writer.run_bare(lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchall())
    store.note_working(1, 60)
    with pytest.raises(StorageFull):
        await store.finish(1, done(body=os.urandom(60_000)))
    assert (await job(store)).state is JobState.LOADING
    assert (await store.finish(1, done(body=b""))).applied
    assert (await job(store)).first_byte_at == 60


async def test_nothing_stays_of_it_when_the_caller_goes(store: SqliteStore) -> None:
    await store.submit(new_job(1), 50)
    store.note_working(1, 60)
    finishing = asyncio.create_task(store.finish(1, done()))
    await asyncio.sleep(0)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    await store.submit(new_job(2))
    assert ((await job(store)).state, (await job(store)).first_byte_at) == (JobState.DONE, 60)
    assert store._notes == {}


async def test_it_is_written_again_with_a_batch_that_is_run_again(store: SqliteStore) -> None:
    await store.submit(new_job(1), 50)

    def fails(db: sqlite3.Connection) -> None:
        raise KeyError

    store.note_working(1, 60)
    with pytest.raises(KeyError):
        await store._writer.run(fails)
    assert ((await job(store)).state, (await job(store)).first_byte_at) == (JobState.WORKING, 60)
    await store.finish(1, done())
    assert (await job(store)).first_byte_at == 60
