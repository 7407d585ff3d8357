"""The slots of both lanes: who gets one, and who is woken when one is given back."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from foreman.core.lanes import Lane, Slots, Wait
from foreman.engine.lanes import Lanes

L, R = Lane.LOCAL, Lane.REMOTE


@pytest.fixture
def lanes() -> Lanes:
    return Lanes(Slots(remote=2))


def woken(lanes: Lanes) -> list[Lane]:
    """Which lanes were woken since this was last asked."""
    found = [lane for lane in Lane if lanes.of(lane).wake.is_set()]
    for lane in found:
        lanes.of(lane).wake.clear()
    return found


def test_while_one_lane_has_a_slot_the_other_gets_none(lanes: Lanes) -> None:
    assert [lanes.take(R), lanes.take(R), lanes.take(R), lanes.take(L)] == [True, True, False, False]
    assert (lanes.blocked(R), lanes.blocked(L)) == (Wait.SLOT, Wait.REMOTE_LANE)
    lanes.free(R)
    assert (lanes.blocked(R), lanes.blocked(L)) == (None, Wait.REMOTE_LANE)
    lanes.free(R)
    assert [lanes.take(L), lanes.take(L), lanes.take(R)] == [True, False, False]
    assert repr(lanes) == "<Lanes local 1, remote 0 taken>"


def test_who_was_turned_away_is_woken_when_a_slot_is_given_back(lanes: Lanes) -> None:
    lanes.take(L)
    lanes.take(R)
    lanes.free(L, ran=False)
    assert woken(lanes) == [R]
    lanes.take(R)
    lanes.free(R, ran=False)
    assert woken(lanes) == []  # it has been told once, and got what it wanted


def test_after_a_job_all_are_woken_for_whom_anything_waits(lanes: Lanes) -> None:
    lanes.take(L)
    lanes.free(L)
    assert woken(lanes) == []
    lanes.remote.depth.add("far", "far")
    lanes.take(L)
    lanes.free(L, ran=False)
    assert woken(lanes) == []
    lanes.take(L)
    lanes.free(L)
    assert woken(lanes) == [R]


def test_a_lane_gives_way_where_they_take_turns_and_something_waits_in_the_other() -> None:
    for exclusive in (True, False):
        lanes = Lanes(Slots(exclusive=exclusive))
        assert not lanes.gives_way(L)
        lanes.remote.depth.add("far", "far")
        assert (lanes.gives_way(L), lanes.gives_way(R)) == (exclusive, False)


def test_where_a_queued_job_is_gone_the_other_lane_looks_again(lanes: Lanes) -> None:
    lanes.moved_up(R)
    assert woken(lanes) == []
    lanes.local.depth.add("a", "a")
    lanes.moved_up(R)
    assert woken(lanes) == [L]
    lanes.wake()
    assert woken(lanes) == [L, R]


class Sleepers(RuleBasedStateMachine):
    """Each lane asks only when it is woken, as those who claim for it do, and nobody oversleeps.

    Jobs are taken in order of arrival by whoever may; a claim comes to nothing where the other lane has an older one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(Slots(remote=2))
        self.queued: dict[Lane, list[int]] = {L: [], R: []}
        self.claiming: list[Lane] = []
        self.count = 0

    @rule(lane=st.sampled_from(Lane))
    def arrive(self, lane: Lane) -> None:
        self.count += 1
        self.queued[lane].append(self.count)
        self.lanes.of(lane).depth.add("m", "m")
        self.lanes.of(lane).wake.set()

    @rule(lane=st.sampled_from(Lane), at_once=st.booleans())
    def look(self, lane: Lane, *, at_once: bool) -> None:
        """Take a slot to claim with, where woken."""
        own = self.lanes.of(lane)
        if own.wake.is_set() and lane not in self.claiming:
            own.wake.clear()
            if own.depth.total and self.lanes.take(lane):
                self.claiming.append(lane)
                if at_once:
                    self.claim(lane)

    @precondition(lambda self: self.claiming)
    @rule()
    def claim_later(self) -> None:
        self.claim(self.claiming[0])

    def claim(self, lane: Lane) -> None:
        self.claiming.remove(lane)
        older = self.queued[lane.other]
        if self.queued[lane] and not (older and older[0] < self.queued[lane][0]):
            self.queued[lane].pop(0)
            self.lanes.of(lane).depth.remove("m", "m")
            self.lanes.of(lane).wake.set()  # who claims for several slots asks again
        else:
            self.lanes.free(lane, ran=False)

    @rule(lane=st.sampled_from(Lane))
    def end(self, lane: Lane) -> None:
        if self.lanes.taken[lane] > self.claiming.count(lane):
            self.lanes.free(lane)

    @rule(lane=st.sampled_from(Lane))
    def cancel(self, lane: Lane) -> None:
        if self.queued[lane]:
            self.queued[lane].pop(0)
            self.lanes.of(lane).depth.remove("m", "m")
            self.lanes.moved_up(lane)

    @rule(order=st.permutations((L, R)))
    def work_off(self, order: list[Lane]) -> None:
        """Without any further arrival all is worked off, whoever asks first."""
        for _ in range(3 * self.count + 3):
            for lane in order:
                self.look(lane, at_once=True)
            while self.claiming:
                self.claim_later()
            for lane in order:
                self.end(lane)
        assert self.queued == {L: [], R: []}

    @invariant()
    def never_mixed(self) -> None:
        taken = self.lanes.taken
        assert not (taken[L] and taken[R])
        assert taken[L] <= 1
        assert taken[R] <= 2

    @invariant()
    def nobody_oversleeps(self) -> None:
        """Where nothing runs and nobody asks, the lane with the oldest job is awake."""
        if any(self.lanes.taken.values()) or not any(self.queued.values()):
            return
        oldest = min((jobs[0], lane) for lane, jobs in self.queued.items() if jobs)[1]
        assert self.lanes.of(oldest).wake.is_set()


TestSleepers = Sleepers.TestCase
TestSleepers.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


async def test_the_wake_of_a_lane_is_an_event_one_can_wait_for(lanes: Lanes) -> None:
    waiting = asyncio.create_task(lanes.remote.wake.wait())
    lanes.wake()
    assert await waiting
