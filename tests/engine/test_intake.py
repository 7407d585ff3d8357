"""Jobs on their way in: what is left where the store refuses them, their client leaves, or they are there already."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foreman.core.errors import IdempotencyConflict, JobCancelled, QueueFull, StorageFailed, StorageFull
from foreman.core.job import JobState, Mode
from foreman.core.submission import Submission
from foreman.engine import steps
from foreman.testing import StubOllama
from tests.engine.running import Running, answer, asked, ended, held, no_room, room, running


@pytest.fixture
async def paused(work: Running) -> AsyncIterator[Running]:
    """Nothing is begun, so all that comes is queued."""
    await work.engine.pause(True)
    yield work
    await room(work.store)
    await work.engine.pause(False)
    await work.settled()


def handing_in(work: Running, *submissions: Submission, many: bool) -> asyncio.Task[object]:
    """The client that hands them in."""

    async def hand_in() -> object:
        return await (work.engine.submit_many(submissions) if many else work.engine.submit(submissions[0]))

    return asyncio.create_task(hand_in())


async def test_who_made_a_job_hears_all_of_it_however_late_it_asks(work: Running) -> None:
    async with held(work.store):
        asking = asyncio.create_task(work.engine.submit(asked("sky")))
        await work.told(await work.at_target("sky"))
        live = work.only()
    await ended(live)
    assert await answer(await asking)
    await work.settled()


async def test_nobody_holds_the_answer_of_a_job_that_nobody_waits_for(work: Running) -> None:
    ticket = await work.engine.submit(asked("sky", mode=Mode.DETACHED))
    assert (ticket.reader, ticket.relay.readers) == (None, 0)
    assert ticket.live is not None
    await ended(ticket.live)
    await work.settled()


async def test_a_refused_job_leaves_nothing_and_who_joined_it_is_told(paused: Running) -> None:
    first = asked("big", pad=400_000, hash=b"h")
    await no_room(paused.store)
    async with held(paused.store):
        asking = asyncio.create_task(paused.engine.submit(first))
        await asyncio.sleep(0)
        live = paused.only()
        joined = await paused.engine.submit(dataclasses.replace(first, again=True))
        assert (joined.live, joined.joined) == (live, True)
    with pytest.raises(StorageFull):
        await asking
    with pytest.raises(StorageFull):
        await answer(joined)
    with pytest.raises(StorageFull):  # until it takes writes again
        await paused.engine.submit(asked("small"))
    assert (len(paused.jobs), live.relay.readers, paused.jobs.twin("me", live.key, b"h")) == (0, 0, None)
    assert await paused.stored() == []


async def test_many_are_refused_together(paused: Running) -> None:
    await no_room(paused.store)
    with pytest.raises(StorageFull):
        await paused.engine.submit_many([asked("small"), asked("big", pad=400_000)])
    assert (len(paused.jobs), paused.jobs.local.depth.total, await paused.stored()) == (0, 0, [])


@pytest.mark.parametrize("many", [False, True])
async def test_an_error_that_nobody_thought_of_leaves_nothing_either(
    paused: Running, monkeypatch: pytest.MonkeyPatch, *, many: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(steps, "submit_many" if many else "submit", fail)
    first = asked("sky", hash=b"h")
    async with held(paused.store):
        engine = paused.engine
        asking = handing_in(paused, first, many=many)
        await asyncio.sleep(0)
        joined = await engine.submit(dataclasses.replace(first, again=True))
    with pytest.raises(RuntimeError, match="odd"):
        await asking
    with pytest.raises(StorageFailed):
        await answer(joined)
    assert (len(paused.jobs), engine.storage_trouble) == (0, "")


@pytest.mark.parametrize("many", [False, True])
async def test_a_client_that_leaves_while_its_jobs_are_written_leaves_cancelled_ones(
    paused: Running, *, many: bool
) -> None:
    submissions = [asked(str(number)) for number in range(3 if many else 1)]
    async with held(paused.store):
        asking = handing_in(paused, *submissions, many=many)
        await asyncio.sleep(0)
        lives = list(paused.jobs)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await asyncio.gather(*map(ended, lives))
    assert [job.state for job in await paused.stored()] == [JobState.CANCELLED] * len(submissions)
    assert paused.jobs.local.depth.total == 0


async def test_a_cancel_of_a_job_that_is_being_written(paused: Running) -> None:
    async with held(paused.store):
        asking = asyncio.create_task(paused.engine.submit(asked("sky")))
        await asyncio.sleep(0)
        cancelling = asyncio.create_task(paused.engine.cancel(paused.only().id))
        await asyncio.sleep(0)
    assert await cancelling is JobState.CANCELLED
    with pytest.raises(JobCancelled):
        await answer(await asking)
    assert await paused.store.depth() == dict(paused.jobs.local.depth.counts) == {}


async def test_jobs_that_are_being_written_count_until_they_are_also_those_of_clients_that_left(
    stub: StubOllama, tmp_path: Path
) -> None:
    async with running(stub, tmp_path / "foreman.db", max_queued=2) as work:
        await work.engine.pause(True)
        async with held(work.store):
            leaving, staying = (asyncio.create_task(work.engine.submit(asked(prompt))) for prompt in ("a", "b"))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait((leaving,))
            with pytest.raises(QueueFull):
                await work.engine.submit(asked("c"))
        ticket = await staying
        await work.engine.settled()
        tickets = [ticket, await work.engine.submit(asked("c"))]
        with pytest.raises(QueueFull):
            await work.engine.submit(asked("d"))
        await work.engine.pause(False)
        for each in tickets:
            assert await answer(each)
        await work.settled()


async def test_a_job_that_is_there_already_is_joined_and_the_new_one_forgotten(paused: Running) -> None:
    first = asked("sky", idem_key="k", hash=b"h")
    made = await paused.engine.submit(first)
    again = await paused.engine.submit(first)
    assert (again.id, again.live, again.joined, again.reader) == (made.id, made.live, True, None)
    with pytest.raises(IdempotencyConflict):
        await paused.engine.submit(dataclasses.replace(first, hash=b"another"))
    assert (len(paused.jobs), paused.jobs.local.depth.total, made.relay.readers) == (1, 1, 1)
    await paused.engine.cancel(made.id)
    with pytest.raises(JobCancelled):
        await answer(made)
