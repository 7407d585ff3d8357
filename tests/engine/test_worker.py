"""The next job is chosen while the last one is written: what leaves when, and what becomes of it in trouble."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foreman.app import engine_of
from foreman.core.errors import Draining, JobCancelled, StorageFull
from foreman.core.job import Chosen, JobState, Next, Outcome
from foreman.engine import executor, settlement, steps
from foreman.engine.clock import SystemClock
from foreman.engine.intake import Ticket
from foreman.engine.live import Live
from foreman.engine.store import Finished
from foreman.settings import Settings
from foreman.testing import Script, StubOllama
from tests.engine.running import (
    GENERATE,
    PATIENCE,
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


def living(ticket: Ticket) -> Live:
    assert ticket.live is not None
    return ticket.live


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A long answer is not handed over to be written before this is set; the store itself takes writes."""
    go_on, pack = threading.Event(), steps.pack

    def packed(body: bytes) -> tuple[int, bytes]:
        go_on.wait()
        return pack(body)

    monkeypatch.setattr(steps, "pack", packed)
    yield go_on
    go_on.set()


LONG = {"tokens": 1_500}


async def test_the_next_is_begun_while_the_last_is_written_and_nothing_of_it_leaves(work: Running) -> None:
    first, second = await work.lined_up("first", "second")
    async with held(work.store):
        work.stub.release(GENERATE)
        assert await answer(first)
        await work.told(await work.at_target("second"))
        live = living(second)
        assert (work.jobs.running, live.relay.head, live.relay.size) == ([live], None, 0)
        # What is counted is what is on disk.
        assert (await work.store.depth(), work.jobs.local.depth.total) == ({("llama3:latest", "llama3:latest"): 1}, 1)
    assert await answer(second)
    await ended(live)
    assert [(job.state, job.attempts) for job in await work.stored()] == [(JobState.DONE, 1)] * 2
    assert work.stub.ledger.max_concurrent == 1
    await work.settled()


async def test_a_crash_before_the_commit_costs_the_next_no_attempt(work: Running, tmp_path: Path) -> None:
    first, second = await work.lined_up("first", "second")
    async with held(work.store):
        work.stub.release(GENERATE)
        await work.told(await work.at_target("second"))
        async with after_a_crash(work.db, tmp_path / "crashed") as store:
            assert await store.recover(1, drop_attached=False) == 1
            jobs = [await store.get(ticket.id) for ticket in (first, second)]
            assert [(job.state, job.attempts) for job in jobs if job] == [(JobState.QUEUED, 1), (JobState.QUEUED, 0)]
            assert await store.attempts(second.id) == []
    await answer(first)
    await answer(second)
    await work.settled()


async def test_a_client_that_leaves_before_the_commit(work: Running) -> None:
    first, second, third = await work.lined_up("first", "second", "third")
    work.stub.script(GENERATE, [Script(hold=0)])
    async with held(work.store):
        work.stub.release(GENERATE)
        entry = await work.at_target("second")
        assert second.reader is not None
        work.engine.left(living(second), second.reader)
        await work.left(entry)
        assert not living(second).ended.is_set()
    assert await answer(first)
    assert await answer(third)
    await work.settled()
    assert [(job.state, job.attempts) for job in await work.stored()] == [
        (JobState.DONE, 1),
        (JobState.CANCELLED, 1),
        (JobState.DONE, 1),
    ]


async def test_a_cancel_that_is_written_before_the_choice_is(
    work: Running, packing: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "foreman.engine")
    first, second, third = await work.lined_up("first", "second", "third", **LONG)
    work.stub.script(GENERATE, [Script(hold=0)])
    work.stub.release(GENERATE)
    entry = await work.at_target("second")
    assert await work.engine.cancel(second.id) is JobState.CANCELLED
    await work.left(entry)
    packing.set()
    with pytest.raises(JobCancelled):
        await answer(second)
    assert await answer(first)
    assert await answer(third)
    await work.settled()
    assert (living(second).state, living(second).attempts) == (JobState.CANCELLED, 0)
    fields = [vars(record)["fields"] for record in caplog.records if vars(record)["event"] == "job_finished"]
    assert [each["outcome"] for each in fields if each["job"] == second.id] == ["cancelled"]
    assert [(job.state, job.attempts) for job in await work.stored()] == [
        (JobState.DONE, 1),
        (JobState.CANCELLED, 0),
        (JobState.DONE, 1),
    ]


async def test_where_the_end_finds_no_job_any_more_the_next_stays_queued_and_is_claimed(
    work: Running, packing: threading.Event
) -> None:
    first, second = await work.lined_up("first", "second", **LONG)
    work.stub.release(GENERATE)
    await work.told(await work.at_target("second"))
    await work.store._writer.run(lambda db: db.execute("DELETE FROM jobs WHERE id=?", (first.id,)))
    packing.set()
    assert await answer(first)
    assert await answer(second)
    await work.settled()
    (job,) = await work.stored()
    assert (job.id, job.state, job.attempts) == (second.id, JobState.DONE, 1)
    # Nobody has had a byte of the first try.
    assert len(work.seen("second")) == 2


async def test_where_that_happens_in_a_stop_who_waits_is_sent_away(work: Running, packing: threading.Event) -> None:
    first, second = await work.lined_up("first", "second", **LONG)
    work.stub.script(GENERATE, [Script(hold=0)])
    work.stub.release(GENERATE)
    entry = await work.at_target("second")
    await work.store._writer.run(lambda db: db.execute("DELETE FROM jobs WHERE id=?", (first.id,)))
    draining = asyncio.create_task(work.engine.drain(asyncio.Event()))
    await asyncio.sleep(0)
    packing.set()
    with pytest.raises(Draining):
        await answer(second)
    await work.left(entry)
    await draining
    assert await answer(first)
    assert [(job.state, job.attempts) for job in await work.stored()] == [(JobState.QUEUED, 0)]


async def test_an_error_that_nobody_thought_of_ends_the_process_at_once(
    stub: StubOllama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("odd")

    async with engine_of(Settings(gate="off", target=stub.url, db=tmp_path / "foreman.db"), SystemClock()) as engine:
        await engine.start()
        working = asyncio.create_task(engine.run())
        await engine.pause(True)
        first, _ = await engine.submit_many([asked("first"), asked("second")])
        stub.script(GENERATE, [Script(), Script(), Script(hold=0)])  # the load, the first, and the second for ever
        monkeypatch.setattr(steps, "claim_chosen", fail)
        await engine.pause(False)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(PATIENCE):
                await working
        assert caught.group_contains(RuntimeError, match="odd")
        assert not first.ended.is_set()


async def test_where_the_end_cannot_be_written_the_next_waits_for_the_store_too(
    work: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (executor, settlement):
        monkeypatch.setattr(module, "STORE_PAUSE_SECONDS", 0.01)
    first, second = await work.lined_up("first", "second", tokens=10_000)
    await no_room(work.store)
    work.stub.release(GENERATE)
    await work.told(await work.at_target("second"))
    await work.refused.wait()
    with pytest.raises(StorageFull):
        await work.engine.submit(asked("not now"))
    assert (living(second).relay.head, living(first).ended.is_set(), work.jobs.local.depth.total) == (None, False, 1)
    await room(work.store)
    assert await answer(first)
    assert await answer(second)
    await work.settled()
    assert [(job.state, job.attempts) for job in await work.stored()] == [(JobState.DONE, 1)] * 2


class Ends:
    """What was claimed with the end of each job."""

    def __init__(self, finish: Callable[..., Any]) -> None:
        self.following: list[Next | Chosen | None] = []
        self._finish = finish

    async def __call__(self, seq: int, outcome: Outcome, claim: Next | Chosen | None = None) -> Finished:
        self.following.append(claim)
        finished: Finished = await self._finish(seq, outcome, claim)
        return finished


@pytest.fixture
def ends(work: Running, monkeypatch: pytest.MonkeyPatch) -> Ends:
    ends = Ends(work.store.finish)
    monkeypatch.setattr(work.store, "finish", ends)
    return ends


async def test_each_end_comes_with_the_choice_of_the_next(work: Running, ends: Ends) -> None:
    tickets = await work.lined_up("first", "second", "third")
    work.stub.release(GENERATE)
    for ticket in tickets:
        assert await answer(ticket)
    await work.settled()
    assert ends.following == [Chosen(living(tickets[1]).seq), Chosen(living(tickets[2]).seq), None]


async def test_nothing_is_begun_ahead_of_a_store_that_takes_no_writes(work: Running, ends: Ends) -> None:
    tickets = await work.lined_up("first", "second")
    work.engine._settlement.trouble.begin(StorageFull("no room"))
    work.stub.release(GENERATE)
    for ticket in tickets:
        assert await answer(ticket)
    assert isinstance(ends.following[0], Next)
    await work.settled()


async def test_a_stop_takes_no_further_job(work: Running, ends: Ends) -> None:
    first, second = await work.lined_up("first", "second")
    draining = asyncio.create_task(work.engine.drain(asyncio.Event()))
    with pytest.raises(Draining):
        await answer(second)
    work.stub.release(GENERATE)
    assert await answer(first)
    await draining
    assert (ends.following, work.seen("second")) == ([None], [])
    assert await work.store.depth() == work.jobs.local.depth.counts == {("llama3:latest", "llama3:latest"): 1}


async def test_a_pause_between_two_jobs(work: Running, ends: Ends) -> None:
    first, second = await work.lined_up("first", "second")
    await work.engine.pause(True)
    work.stub.release(GENERATE)
    assert await answer(first)
    await ended(living(first))
    await work.rests()
    assert (ends.following, living(second).state, work.seen("second")) == ([None], JobState.QUEUED, [])
    await work.engine.pause(False)
    assert await answer(second)
    await work.settled()


async def test_a_pause_while_the_next_is_being_written_holds_up_the_one_after_it(work: Running) -> None:
    first, second, third = await work.lined_up("first", "second", "third")
    work.stub.script(GENERATE, [Script(hold=0)])
    async with held(work.store):
        work.stub.release(GENERATE)
        await work.at_target("second")
        pausing = asyncio.create_task(work.engine.pause(True))
    await pausing
    work.stub.release(GENERATE)
    assert await answer(first)
    assert await answer(second)
    await ended(living(second))
    await work.rests()
    assert (living(third).state, work.seen("third"), work.jobs.local.depth.total) == (JobState.QUEUED, [], 1)
    await work.engine.pause(False)
    assert await answer(third)
    await work.settled()


async def test_the_model_that_is_loaded_goes_first_and_a_swap_is_never_chosen_unseen(work: Running, ends: Ends) -> None:
    (first,) = await work.lined_up("first")
    other = await work.engine.submit(asked("other", "qwen3:8b"))
    same = await work.engine.submit(asked("same"))
    async with held(work.store):
        work.stub.release(GENERATE)
        await work.told(await work.at_target("same"))
        assert (work.seen("other"), work.stub.ledger.unloads) == ([], [])
    for ticket in (first, same, other):
        assert await answer(ticket)
    await work.settled()
    assert ends.following == [Chosen(living(same).seq), None, None]
    assert [entry.model for entry in (*work.seen("first"), *work.seen("same"), *work.seen("other"))] == [
        "llama3",
        "llama3",
        "qwen3:8b",
    ]
    assert work.stub.ledger.unloads == ["llama3:latest"]


async def test_a_try_that_fails_before_it_is_written_is_counted(stub: StubOllama, tmp_path: Path) -> None:
    async with running(stub, tmp_path / "foreman.db", retry_base_seconds=0.01) as work:
        await work.warm()
        first, second = await work.lined_up("first", "second")
        stub.script(GENERATE, [Script(raw=b"no HTTP\r\n\r\n")])
        async with held(work.store):
            stub.release(GENERATE)
            entry = await work.at_target("second")
            await stub.ledger.wait_for(lambda _: entry.ended_at)
            await work.here_by_now()
        assert await answer(first)
        assert await answer(second)
        await work.settled()
        assert [job.attempts for job in await work.stored()] == [1, 2]
        assert [each.outcome for each in await work.store.attempts(second.id)] == ["requeued", "done"]


async def test_a_stop_before_the_commit_costs_the_next_no_attempt(stub: StubOllama, tmp_path: Path) -> None:
    async with running(stub, tmp_path / "foreman.db") as work:
        await work.warm()
        first, second = await work.lined_up("first", "second")
        stub.script(GENERATE, [Script(hold=0)])
        hurry = asyncio.Event()
        hurry.set()
        async with held(work.store):
            stub.release(GENERATE)
            entry = await work.at_target("second")
            draining = asyncio.create_task(work.engine.drain(hurry))
            await work.left(entry)
        await draining
        assert await answer(first)
        with pytest.raises(Draining):
            await answer(second)
        assert [(job.state, job.attempts) for job in await work.stored()] == [
            (JobState.DONE, 1),
            (JobState.QUEUED, 0),
        ]
        assert work.jobs.local.depth.counts == await work.store.depth()
