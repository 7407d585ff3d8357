"""The remote lane at work: beside nothing local, never above its slots, and with all that befalls a job."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from foreman.core.errors import Draining, JobCancelled
from foreman.core.job import Chosen, JobState, Mode, Next
from foreman.core.lanes import Lane
from foreman.core.submission import Submission
from foreman.engine.clock import millis
from foreman.engine.intake import Ticket
from foreman.testing import Script, StubOllama
from foreman.testing.ledger import Entry
from tests.engine.running import GENERATE, PATIENCE, Running, answer, asked, ended, running
from tests.mixing import CLOUD, mixed, most, remote

L, R = Lane.LOCAL, Lane.REMOTE


def far(prompt: str, **values: Any) -> Submission:
    """A submission for the remote lane."""
    return asked(prompt, CLOUD, lane=R, **values)


@pytest.fixture
async def work(stub: StubOllama, tmp_path: Path) -> AsyncIterator[Running]:
    """An engine at rest, with a local model loaded and three remote slots."""
    async with running(stub, tmp_path / "foreman.db", remote_slots=3, retry_base_seconds=0.01) as work:
        await work.warm()
        yield work


async def held(work: Running, count: int) -> list[Entry]:
    """The requests that the target holds back, as soon as there are so many."""

    def found(_: object) -> list[Entry]:
        entries = [entry for entry in work.stub.ledger.entries if entry.held]
        return entries if len(entries) == count else []

    return await work.stub.ledger.wait_for(found, PATIENCE)


async def submit(work: Running, *prompts: str) -> list[Ticket]:
    return [await work.engine.submit(far(prompt)) for prompt in prompts]


def prompts(work: Running) -> list[str]:
    """What the target was asked, in order, without the loads."""
    return [prompt for entry in work.stub.ledger.on(GENERATE) if (prompt := work.prompt(entry)) not in (None, "warm")]


async def test_as_many_as_there_are_slots_run_at_once_and_the_oldest_first(work: Running) -> None:
    work.stub.script(CLOUD, Script(hold=0))
    tickets = await submit(work, *"12345")
    await held(work, 3)
    await work.here_by_now()
    assert sorted(prompts(work)) == [*"123"]
    assert len(work.jobs.in_lane(R)) == work.jobs.lanes.taken[R] == 3
    assert (work.jobs.remote.depth.total, work.jobs.local.depth.total) == (2, 0)
    work.stub.release(CLOUD)
    await work.at_target("4")
    work.stub.script(CLOUD, None)
    for _ in range(4):
        work.stub.release(CLOUD)
    for ticket in tickets:
        assert await answer(ticket)
    await work.settled()
    assert most(remote(work.stub)) == 3
    assert [(job.state, job.lane, job.attempts) for job in await work.stored()] == [(JobState.DONE, R, 1)] * 5


async def test_nothing_is_loaded_evicted_or_looked_at_for_them(work: Running) -> None:
    loads, looks = list(work.stub.ledger.loads), len(work.stub.ledger.on("/api/ps"))
    for ticket in await submit(work, *"1234"):
        assert await answer(ticket)
    await work.settled()
    assert (work.stub.ledger.loads, work.stub.ledger.unloads) == (loads, [])
    assert len(work.stub.ledger.on("/api/ps")) == looks
    # So the local model is still there, and the next local job is begun the short way.
    assert await answer(await work.engine.submit(asked("local")))
    assert work.stub.ledger.loads == loads


async def test_a_model_that_the_target_runs_itself_by_now_is_not_loaded_for_a_remote_job(work: Running) -> None:
    before = len(work.seen(None))
    assert await answer(await work.engine.submit(asked("moved", "qwen3:8b", lane=R)))
    await work.settled()
    assert [entry.model for entry in work.seen("moved")] == ["qwen3:8b"]
    assert len(work.seen(None)) == before


async def test_the_lanes_take_turns_by_the_age_of_what_waits(work: Running) -> None:
    (first,) = await work.lined_up("l1")
    others = [await work.engine.submit(far(prompt) if prompt[0] == "r" else asked(prompt)) for prompt in ORDER[1:]]
    work.stub.release(GENERATE)
    for ticket in (first, *others):
        assert await answer(ticket)
    await work.settled()
    found = prompts(work)
    # Two that run at once may reach the target in either order.
    assert [sorted(part) for part in (found[:3], found[3:5], found[5:6], found[6:])] == [
        ["l1", "l2", "l3"], ["r1", "r2"], ["l4"], ["r3"],
    ]  # fmt: skip
    assert found.index("l1") < found.index("l2") < found.index("l3")
    assert mixed(work.stub) == []


ORDER = ("l1", "l2", "l3", "r1", "r2", "l4", "r3")


async def test_a_local_job_waits_until_all_remote_ones_have_ended_and_they_are_not_filled_up(work: Running) -> None:
    work.stub.script(CLOUD, Script(hold=0))
    first = [asyncio.create_task(answer(ticket)) for ticket in await submit(work, "r1", "r2")]
    await held(work, 2)
    local, later = await work.engine.submit(asked("l1")), await work.engine.submit(far("r3"))
    work.stub.release(CLOUD)
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    await work.here_by_now()
    assert (work.seen("l1"), work.seen("r3")) == ([], [])
    work.stub.release(CLOUD)
    assert all(await asyncio.gather(*first))
    assert await answer(local)
    work.stub.release(CLOUD)
    assert await answer(later)
    await work.settled()
    assert prompts(work)[2:] == ["l1", "r3"]
    assert mixed(work.stub) == []


async def test_a_local_job_is_not_begun_ahead_of_its_row_while_remote_ones_run_or_wait(work: Running) -> None:
    work.stub.script(CLOUD, Script(hold=0))
    (first,) = await submit(work, "r1")
    await held(work, 1)
    await work.rests()
    local = await work.engine.submit(asked("l1"))
    await work.here_by_now()
    assert work.seen("l1") == []
    work.stub.release(CLOUD)
    assert await answer(first)
    assert await answer(local)
    await work.engine.submit(far("later", not_before=millis(work.clock) + 60_000, mode=Mode.DETACHED))
    await work.rests()
    assert await answer(await work.engine.submit(asked("l2")))
    assert [tries.attempts for tries in await work.stored()] == [1, 1, 0, 1]


async def test_the_end_of_a_local_job_is_no_choice_of_the_next_where_a_remote_one_waits(
    work: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    following: list[Next | Chosen | None] = []
    finish = work.store.finish

    async def noted(seq: int, outcome: Any, claim: Next | Chosen | None = None) -> Any:
        following.append(claim)
        return await finish(seq, outcome, claim)

    monkeypatch.setattr(work.store, "finish", noted)
    tickets = await work.lined_up("l1", "l2")
    tickets += await submit(work, "r1")
    work.stub.release(GENERATE)
    for ticket in tickets:
        assert await answer(ticket)
    await work.settled()
    asked_for = [(each.lane, each.gives_way) for each in following if isinstance(each, Next)]
    assert asked_for == [(L, True), (R, False)]  # nothing local is left after the second
    assert len(following) == 3


async def test_where_they_take_no_turns_both_run_at_once_and_the_short_way_stays(
    stub: StubOllama, tmp_path: Path
) -> None:
    async with running(stub, tmp_path / "foreman.db", exclusive=False) as work:
        await work.warm()
        stub.script(CLOUD, Script(hold=0))
        tickets = await submit(work, "r1", "r2")
        await held(work, 2)
        await work.rests()
        async with asyncio.timeout(PATIENCE):
            for prompt in ("l1", "l2"):
                assert await answer(await work.engine.submit(asked(prompt)))
        assert all(live.state is JobState.WORKING for live in work.jobs.running)
        for _ in tickets:
            stub.release(CLOUD)
        for ticket in tickets:
            assert await answer(ticket)
        await work.settled()
        assert len(mixed(stub)) == 4


# -- what befalls a job


async def test_a_cancel_of_one_that_runs_gives_its_slot_to_the_next(work: Running) -> None:
    work.stub.script(CLOUD, Script(hold=0))
    tickets = await submit(work, *"1234")
    await held(work, 3)
    assert await work.engine.cancel(tickets[1].id) in (JobState.LOADING, JobState.WORKING)
    with pytest.raises(JobCancelled):
        await answer(tickets[1])
    await work.at_target("4")
    work.stub.script(CLOUD, None)
    for _ in range(3):
        work.stub.release(CLOUD)
    for ticket in (tickets[0], *tickets[2:]):
        assert await answer(ticket)
    await work.settled()
    states = [job.state for job in await work.stored()]
    assert states == [JobState.DONE, JobState.CANCELLED, JobState.DONE, JobState.DONE]


async def test_a_cancel_of_what_the_other_lane_gave_way_to_lets_that_go_on(work: Running) -> None:
    await work.engine.pause(True)
    remote_one, local = await work.engine.submit(far("r1")), await work.engine.submit(asked("l1"))
    work.stub.script(CLOUD, Script(hold=0))
    await work.engine.pause(False)
    await held(work, 1)
    assert work.seen("l1") == []
    await work.engine.cancel(remote_one.id)
    assert await answer(local)
    await work.settled()


async def test_a_queued_one_that_is_cancelled_holds_nobody_up(work: Running) -> None:
    (first,) = await work.lined_up("l1")
    (remote_one,) = await submit(work, "r1")
    second = await work.engine.submit(asked("l2"))
    assert await work.engine.cancel(remote_one.id) is JobState.CANCELLED
    work.stub.release(GENERATE)
    assert await answer(first)
    assert await answer(second)
    await work.settled()
    assert work.seen("r1") == []


async def test_one_that_is_told_to_come_later_lets_others_pass_and_comes_again(work: Running) -> None:
    work.stub.script(CLOUD, [Script(status=429, error="slow down"), Script(status=503, error="busy")])
    tickets = [*await submit(work, "r1", "r2"), await work.engine.submit(asked("l1")), *await submit(work, "r3")]
    for ticket in tickets:
        assert await answer(ticket)
    await work.settled()
    jobs = await work.stored()
    assert [(job.state, job.attempts) for job in jobs] == [(JobState.DONE, 1)] * 4
    tries = [len(await work.store.attempts(job.id)) for job in jobs]
    assert (sum(tries), tries[2]) == (6, 1)
    assert mixed(work.stub) == []


async def test_a_pause_begins_none_and_lets_those_that_run_end(work: Running) -> None:
    work.stub.script(CLOUD, Script(hold=0))
    tickets = await submit(work, *"1234")
    await held(work, 3)
    await work.engine.pause(True)
    for _ in range(3):
        work.stub.release(CLOUD)
    for ticket in tickets[:3]:
        assert await answer(ticket)
        assert ticket.live is not None
        await ended(ticket.live)
    await work.rests()
    await work.here_by_now()
    assert (work.seen("4"), work.jobs.lanes.taken[R]) == ([], 0)
    work.stub.script(CLOUD, None)
    await work.engine.pause(False)
    assert await answer(tickets[3])
    await work.settled()


@pytest.mark.parametrize("hurry", [False, True])
async def test_a_stop_lets_all_of_them_end_or_hands_them_all_back(
    stub: StubOllama, tmp_path: Path, *, hurry: bool
) -> None:
    async with running(stub, tmp_path / "foreman.db", remote_slots=2) as work:
        stub.script(CLOUD, Script(hold=0))
        tickets = await submit(work, *"123")
        await held(work, 2)
        hurried = asyncio.Event()
        draining = asyncio.create_task(work.engine.drain(hurried))
        with pytest.raises(Draining):
            await answer(tickets[2])
        if hurry:
            hurried.set()
        else:
            for _ in range(2):
                stub.release(CLOUD)
        for ticket in tickets[:2]:
            if hurry:
                with pytest.raises(Draining):
                    await answer(ticket)
            else:
                assert await answer(ticket)
        await draining
        ran = (JobState.QUEUED, 0) if hurry else (JobState.DONE, 1)
        jobs = [await work.engine.job(ticket.id) for ticket in tickets]
        assert [(job.state, job.attempts) for job in jobs] == [ran, ran, (JobState.QUEUED, 0)]
        assert work.seen("3") == []


async def test_while_the_target_is_down_they_wait_and_nothing_is_spent(stub: StubOllama, tmp_path: Path) -> None:
    async with running(stub, tmp_path / "foreman.db", probe_seconds=0.05, remote_slots=2) as work:
        stub.script(CLOUD, Script(hold=0))
        tickets = await submit(work, *"123")
        await held(work, 2)
        stub.refuse()
        work.engine.poller.soon()
        async with asyncio.timeout(PATIENCE):
            while work.jobs.running:  # noqa: ASYNC110 nobody is told when a job goes back
                await asyncio.sleep(0)
        stub.script(CLOUD, None)
        await stub.accept()
        for ticket in tickets:
            assert await answer(ticket)
        await work.settled()
        assert [job.state for job in await work.stored()] == [JobState.DONE] * 2


async def test_the_time_of_a_delayed_one_comes_while_both_lanes_are_at_rest(work: Running) -> None:
    at = millis(work.clock) + 50
    (live,) = await work.engine.submit_many([far("later", not_before=at, mode=Mode.DETACHED)])
    await ended(live)
    assert ((await work.engine.job(live.id)).claimed_at or 0) >= at
    await work.settled()


async def test_two_lanes_with_nothing_ready_leave_each_other_alone(
    work: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = 0
    claim = work.store.claim

    async def counted(wanted: Next, now: int) -> Any:
        nonlocal claims
        claims += 1
        return await claim(wanted, now)

    monkeypatch.setattr(work.store, "claim", counted)
    at = millis(work.clock) + 3_600_000
    both = [asked("l", not_before=at, mode=Mode.DETACHED), far("r", not_before=at, mode=Mode.DETACHED)]
    await work.engine.submit_many(both)
    await work.rests()
    for _ in range(5):
        await work.here_by_now()
    await work.rests()
    assert claims <= 4
