"""Claiming and trying, whichever lane it is for: stops, a store that takes no writes, orphans, and the time of day."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from foreman.core.errors import StorageFull
from foreman.core.job import Claim, Next
from foreman.core.lanes import Lane
from foreman.core.residency import Swap
from foreman.engine.clock import millis
from foreman.engine.executor import ORPHAN_SECONDS, RECHECK_SECONDS, Executor
from foreman.engine.live import LiveJobs
from foreman.engine.relay import Budget
from foreman.engine.reloads import Reloads
from foreman.engine.settlement import STORE_PAUSE_SECONDS, Settlement
from foreman.engine.start import begun
from foreman.engine.upstreams import Upstreams
from tests.engine.clock import HandClock
from tests.engine.stored import new_job

REMOTE = Next(lane=Lane.REMOTE)


class Shelf:
    """A store that gives out what lies there, one thing after another."""

    def __init__(self) -> None:
        self.claims: Iterator[Claim | StorageFull | None] = iter(())
        self.due: int | None = None
        self.asked: list[Next] = []

    async def claim(self, wanted: Next, now: int) -> Claim | None:  # noqa: ARG002
        self.asked.append(wanted)
        found = next(self.claims)
        if isinstance(found, StorageFull):
            raise found
        return found

    async def next_due(self) -> int | None:
        return self.due


class Target:
    reachable: bool | None = True


class Subject:
    def __init__(self) -> None:
        self.shelf, self.clock, self.target = Shelf(), HandClock(), Target()
        self.jobs = LiveJobs(Budget(1))
        clock: Any = self.clock
        settlement = Settlement(cast(Any, self.shelf), self.jobs, clock, Reloads(cast(Any, None), Swap.TARGET, clock))
        self.trouble = settlement.trouble
        self.executor = Executor(
            settlement, cast(Any, None), Upstreams(), cast(Any, self.target), clock, cast(Any, None)
        )


@pytest.fixture
def subject() -> Subject:
    return Subject()


async def test_a_claim_is_known_as_running_at_once(subject: Subject) -> None:
    subject.shelf.claims = iter((begun(new_job(1, lane=Lane.REMOTE), 7, 5_000), None))
    start = await subject.executor.claim(REMOTE)
    assert start is not None
    assert subject.jobs.in_lane(Lane.REMOTE) == (start.live,)
    assert await subject.executor.claim(REMOTE) is None
    assert subject.shelf.asked == [REMOTE, REMOTE]


async def test_a_claim_is_tried_until_the_store_takes_writes_or_nothing_more_is_wanted(subject: Subject) -> None:
    no_room = StorageFull("no room")
    subject.shelf.claims = iter((no_room, no_room, begun(new_job(1), 7, 5_000), no_room))
    claiming = asyncio.create_task(subject.executor.claim(Next()))
    for _ in range(2):
        assert await subject.clock.waits.get() == STORE_PAUSE_SECONDS
        subject.clock.advance(STORE_PAUSE_SECONDS)
    assert await claiming is not None
    assert subject.trouble.error is no_room
    claiming = asyncio.create_task(subject.executor.claim(Next()))
    await subject.clock.waits.get()
    subject.executor.stop()
    assert await claiming is None
    assert len(subject.shelf.asked) == 4


async def test_a_stop_wakes_both_lanes_and_lets_nothing_more_begin(subject: Subject) -> None:
    assert subject.executor.goes_on()
    subject.executor.stop()
    assert (subject.executor.stopping(), subject.executor.goes_on()) == (True, False)
    assert (subject.jobs.local.wake.is_set(), subject.jobs.remote.wake.is_set()) == (True, True)
    assert await subject.executor.claim(Next()) is None
    assert subject.shelf.asked == []
    assert repr(subject.executor) == "<Executor stopping=True paused=False>"


@pytest.mark.parametrize("reachable", [None, True, False])
async def test_only_commands_begin_while_the_target_is_known_to_be_down(
    subject: Subject, *, reachable: bool | None
) -> None:
    subject.target.reachable = reachable
    assert subject.executor.goes_on() is (reachable is not False)
    assert subject.executor.near() == (() if reachable is False else None)
    for key in ("llama3:latest", "slot sweep?memory=5", "slot x"):
        subject.jobs.local.depth.add(key.partition("?")[0], key)
    assert subject.executor.near() == (("slot sweep?memory=5", "slot x") if reachable is False else None)


async def test_a_delayed_job_is_waited_for_but_not_without_a_look_at_the_clock(subject: Subject) -> None:
    assert await subject.executor.until_due() is None
    now = millis(cast(Any, subject.clock))
    for due, expected in ((now + 5_000, 5.0), (now - 5_000, 0.0), (now + 3_600_000, RECHECK_SECONDS)):
        subject.shelf.due = due
        assert await subject.executor.until_due() == pytest.approx(expected, abs=0.01)


async def test_what_an_earlier_process_sent_gets_a_moment_to_go(subject: Subject) -> None:
    await subject.executor.orphans_gone()
    assert subject.clock.waits.empty()
    subject.executor.orphaned = True
    waiting = [asyncio.create_task(subject.executor.orphans_gone()) for _ in Lane]
    for _ in Lane:
        assert await subject.clock.waits.get() == ORPHAN_SECONDS
    subject.clock.advance(ORPHAN_SECONDS)
    await asyncio.gather(*waiting)
