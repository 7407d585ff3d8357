"""The rule of the lanes, by itself and at work in a small simulation of many jobs."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from foreman.core.job import Hot
from foreman.core.lanes import ANY_AGE, Heads, Lane, Running, Slots, Wait, blocked, older_than, wait
from foreman.core.order import Waiting, drain_order

L, R = Lane.LOCAL, Lane.REMOTE


def startable(running: Running, heads: Heads, slots: Slots) -> tuple[Lane, ...]:
    """The lanes whose oldest job may begin now."""
    return tuple(lane for lane in heads if wait(lane, running, heads, slots) is None)


@dataclass(frozen=True)
class Job:
    lane: Lane
    model: str
    gap: int  # between the arrival before and its own
    takes: int


JOBS = st.lists(
    st.builds(
        Job, st.sampled_from(Lane), st.sampled_from("abc"), st.sampled_from((0, 0, 0, 1, 2, 7)), st.integers(1, 6)
    ),
    max_size=40,
)
SLOTS = st.builds(Slots, st.integers(1, 6), st.booleans())


@dataclass
class Shop:
    """Jobs that come and go by a clock. What begins is decided as foreman does it: a slot first, then the age."""

    slots: Slots
    queued: dict[Lane, dict[int, Job]] = field(default_factory=lambda: {lane: {} for lane in Lane})
    running: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    hot: Hot = field(default_factory=Hot)
    begun: list[int] = field(default_factory=list)
    overlaps: int = 0

    def heads(self) -> dict[Lane, int]:
        return {lane: min(jobs) for lane, jobs in self.queued.items() if jobs}

    def order(self, lane: Lane) -> list[int]:
        """The `seq`s of a lane in the order in which it works them off by itself."""
        if lane is R:
            return sorted(self.queued[R])
        waiting = [Waiting(seq, job.model, job.model) for seq, job in sorted(self.queued[L].items())]
        others = sorted(self.queued[R]) if self.slots.exclusive else []
        return [place.waiting.seq for place in drain_order(waiting, self.hot, others)]

    def next_of(self, lane: Lane) -> int | None:
        """What the lane begins if it is asked now."""
        if blocked(lane, self.running, self.slots) is not None:
            return None
        limit = older_than(lane, self.heads(), self.slots)
        young_enough = [seq for seq in sorted(self.queued[lane]) if seq < limit]
        if lane is R:
            return young_enough[0] if young_enough else None
        waiting = (Waiting(seq, self.queued[L][seq].model, self.queued[L][seq].model) for seq in young_enough)
        return next((place.waiting.seq for place in drain_order(waiting, self.hot)), None)

    def begin(self, lane: Lane, seq: int) -> Job:
        self.check_begin(lane, seq)
        job = self.queued[lane].pop(seq)
        self.running[lane] += 1
        self.begun.append(seq)
        if lane is L:
            self.hot = Hot((job.model,), (job.model,))
        self.check()
        return job

    def check_begin(self, lane: Lane, seq: int) -> None:
        assert lane in startable(self.running, self.heads(), self.slots)
        assert self.order(lane)[0] == seq
        if self.slots.exclusive:
            assert all(seq < other for other in self.queued[lane.other]), "an older one of the other lane waits"

    def check(self) -> None:
        assert self.running[L] <= 1
        assert self.running[R] <= self.slots.remote
        both = self.running[L] > 0 and self.running[R] > 0
        assert not (both and self.slots.exclusive)
        self.overlaps += both

    def fill(self, first: Lane) -> Iterator[tuple[Lane, Job]]:
        """Begin all that may begin, whichever lane asks first."""
        moved = True
        while moved:
            moved = False
            for lane in (first, first.other):
                while (seq := self.next_of(lane)) is not None:
                    yield lane, self.begin(lane, seq)
                    moved = True
        self.check_rest()

    def check_rest(self) -> None:
        """Nothing that could begin is left lying."""
        heads = self.heads()
        assert startable(self.running, heads, self.slots) == ()
        assert not heads or any(self.running.values())
        if not self.slots.exclusive:
            assert all(self.running[lane] == self.slots.of(lane) for lane in heads)


def run(jobs: list[Job], slots: Slots, first: list[Lane]) -> Shop:
    """All of them from the first arrival to the last end."""
    shop, now, numbers = Shop(slots), 0, count(1)
    ends: list[tuple[int, int, Lane]] = []
    arrivals: list[tuple[int, Job]] = []
    for job in jobs:
        now += job.gap
        arrivals.append((now, job))
    ties = count()
    while arrivals or ends:
        now = min([at for at, _ in arrivals[:1]] + [at for at, _, _ in ends[:1]])
        while ends and ends[0][0] == now:
            shop.running[heapq.heappop(ends)[2]] -= 1
        while arrivals and arrivals[0][0] == now:
            job = arrivals.pop(0)[1]
            shop.queued[job.lane][next(numbers)] = job
        for lane, job in shop.fill(first[now % len(first)]):
            heapq.heappush(ends, (now + job.takes, next(ties), lane))
    return shop


@given(JOBS, SLOTS, st.lists(st.sampled_from(Lane), min_size=1, max_size=4))
def test_never_mixed_never_above_the_slots_and_every_job_runs_once(
    jobs: list[Job], slots: Slots, first: list[Lane]
) -> None:
    shop = run(jobs, slots, first)
    assert sorted(shop.begun) == list(range(1, len(jobs) + 1))
    event(f"exclusive={slots.exclusive}, overlaps={shop.overlaps > 0}")


def test_lanes_that_do_not_take_turns_run_beside_each_other() -> None:
    jobs = [Job(lane, "a", 0, 5) for lane in (L, R, L, R)]
    assert run(jobs, Slots(5, exclusive=False), [L]).overlaps > 0
    assert run(jobs, Slots(5, exclusive=True), [L]).overlaps == 0


def test_the_lane_with_the_older_head_goes_next_and_the_other_is_not_filled_up_behind_it() -> None:
    jobs = [Job(lane, "a", 0, 3) for lane in (R, R, L, R, L, R)]
    assert run(jobs, Slots(), [L]).begun == [1, 2, 3, 4, 5, 6]


def test_a_stream_of_one_lane_does_not_keep_the_other_waiting() -> None:
    jobs = [Job(L, "a", 0, 2), *(Job(R if n == 3 else L, "a", 1, 2) for n in range(30))]
    begun = run(jobs, Slots(), [L]).begun
    assert begun.index(5) == 4  # those that came before it, and none that came later


@pytest.mark.parametrize(
    ("running", "of_local", "of_remote"),
    [
        ({L: 0, R: 0}, None, None),
        ({L: 1, R: 0}, Wait.SLOT, Wait.LOCAL_LANE),
        ({L: 0, R: 1}, Wait.REMOTE_LANE, None),
        ({L: 0, R: 2}, Wait.REMOTE_LANE, Wait.SLOT),
    ],
)
def test_what_keeps_a_lane_from_beginning(
    running: dict[Lane, int], of_local: Wait | None, of_remote: Wait | None
) -> None:
    slots = Slots(remote=2)
    assert (blocked(L, running, slots), blocked(R, running, slots)) == (of_local, of_remote)
    apart = Slots(remote=2, exclusive=False)
    assert blocked(L, running, apart) == (Wait.SLOT if running[L] else None)
    assert blocked(R, running, apart) == (Wait.SLOT if running[R] == 2 else None)


def test_only_what_is_older_than_the_head_of_the_other_lane_may_begin() -> None:
    assert older_than(L, {L: 3, R: 7}, Slots()) == 7
    assert older_than(R, {L: 3, R: 7}, Slots()) == 3
    assert older_than(L, {L: 3}, Slots()) == ANY_AGE
    assert older_than(L, {L: 3, R: 7}, Slots(exclusive=False)) == ANY_AGE


def test_the_head_of_a_lane_waits_for_the_older_one_of_the_other() -> None:
    idle = dict.fromkeys(Lane, 0)
    assert wait(L, idle, {L: 3, R: 7}, Slots()) is None
    assert wait(R, idle, {L: 3, R: 7}, Slots()) is Wait.LOCAL_LANE
    assert wait(R, {L: 0, R: 1}, {L: 3, R: 7}, Slots()) is Wait.LOCAL_LANE
    assert startable(idle, {L: 3, R: 7}, Slots()) == (L,)
    assert startable(idle, {L: 3, R: 7}, Slots(exclusive=False)) == (L, R)
    assert startable(idle, {}, Slots()) == ()
