"""Slots in a running engine: what the lanes, the store and the forecast make of them."""

import asyncio
from pathlib import Path

import pytest

from foreman.core import slots
from foreman.core.errors import Draining, JobFinished
from foreman.core.job import JobState, Mode, Payload
from foreman.core.lanes import Lane
from foreman.core.slots import SlotRequest
from foreman.core.submission import Submission
from foreman.engine.intake import Ticket
from foreman.testing import StubOllama
from tests.engine.running import GENERATE, PATIENCE, Running, asked, ended, running


def wanted(label: str = "x", lane: Lane = Lane.LOCAL) -> Submission:
    request = SlotRequest(lane, label)
    return Submission(Payload(slots.PATH, (), request.body), request.key, "me", lane=lane)


async def granted(work: Running, label: str = "x", lane: Lane = Lane.LOCAL) -> Ticket:
    ticket = await work.engine.submit(wanted(label, lane))
    assert ticket.reader is not None
    async with asyncio.timeout(PATIENCE):
        await ticket.reader.head()
    return ticket


async def test_jobs_for_the_loaded_model_go_before_a_slot_and_it_unloads_nothing(work: Running) -> None:
    first, *_ = tickets = await work.lined_up("first", "second")
    slot = await work.engine.submit(wanted())
    await work.engine.submit(asked("other", "qwen3:8b"))
    last = await work.engine.submit(asked("last"))
    order = [(place.seq, place.reason) for place in await work.engine.forecast.order()]
    lives = [ticket.live for ticket in (tickets[1], last, slot)]
    assert [seq for seq, _ in order[:3]] == [live.seq for live in lives if live is not None]
    assert [reason for _, reason in order] == ["loaded", "loaded", "command", "swap"]
    work.stub.release(GENERATE)
    assert slot.reader is not None
    await slot.reader.head()
    # What is loaded is loaded still, so a job for it comes next, before the older one that needs a swap.
    late = await work.engine.submit(asked("late"))
    assert [place.reason for place in await work.engine.forecast.order()] == ["loaded", "swap"]
    await work.engine.release(slot.id, None)
    assert late.live is not None
    await ended(late.live)
    assert first.live is not None
    assert [text for entry in work.stub.ledger.on(GENERATE) if (text := work.prompt(entry)) and text != "warm"][:4] == [
        "first", "second", "last", "late",
    ]  # fmt: skip


@pytest.mark.parametrize("lane", list(Lane))
async def test_it_takes_its_lane_and_gives_it_back(work: Running, lane: Lane) -> None:
    slot = await granted(work, lane=lane)
    assert work.jobs.lanes.taken[lane] == 1
    assert slot.live is not None
    assert slot.live.state is JobState.WORKING
    # Who reads no more has not let go of it.
    assert slot.reader is not None
    work.engine.left(slot.live, slot.reader)
    await work.engine.beat(slot.id)
    await work.engine.release(slot.id, 0)
    with pytest.raises(JobFinished):
        await work.engine.release(slot.id, 0)
    await work.settled()


async def test_a_stop_leaves_it_and_the_next_process_has_it_before_anything_else(
    stub: StubOllama, tmp_path: Path
) -> None:
    db = tmp_path / "foreman.db"
    async with running(stub, db) as work:
        slot = await granted(work)
        await work.engine.submit_many([asked("next", mode=Mode.DETACHED)])
    async with running(stub, db) as work:
        assert (work.jobs.lanes.taken[Lane.LOCAL], work.jobs.waiting) == (1, 1)
        (again,) = work.jobs.in_lane(Lane.LOCAL)
        assert (again.id, again.state, again.attempts) == (slot.id, JobState.WORKING, 1)
        assert stub.ledger.on(GENERATE) == []
        await work.engine.release(slot.id, 0)
        await work.at_target("next")


async def test_a_release_while_stopping_is_for_the_next_process(stub: StubOllama, tmp_path: Path) -> None:
    async with running(stub, tmp_path / "foreman.db") as work:
        slot = await granted(work)
        work.engine._executor.stop()
        with pytest.raises(Draining):
            await work.engine.release(slot.id, 0)


async def test_what_the_same_command_took_is_known_the_next_time(work: Running) -> None:
    for _ in range(3):
        slot = await granted(work, "sweep")
        await work.engine.release(slot.id, 0)
    first = await granted(work, "other")
    await work.engine.submit(wanted("sweep"))
    behind = await work.engine.submit(wanted("sweep"))
    await work.engine.release(first.id, 0)
    assert behind.live is not None
    place = await work.engine.forecast.place(behind.live)
    assert place is not None
    assert place.expected_start is not None
