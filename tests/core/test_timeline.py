"""When jobs will start: by hand, and what must hold of any order."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from foreman.core.lanes import Lane, Slots
from foreman.core.timeline import Group, Stretch, Task, starts

SLOTS = Slots(remote=2)
LOCAL, REMOTE = Lane.LOCAL, Lane.REMOTE
FAR = Group("far", 1)


def tasks(first: int, *seconds: float | None, group: Group | None = None) -> list[Task]:
    return [Task(seq, one, group) for seq, one in enumerate(seconds, first)]


def told(stretches: Sequence[Stretch], slots: Slots = SLOTS, **running: Sequence[Task]) -> list[float | None]:
    found = list(starts(stretches, {Lane(name): left for name, left in running.items()}, slots))
    assert [seq for seq, _ in found] == [task.seq for stretch in stretches for task in stretch.tasks]
    return [start for _, start in found]


def test_local_ones_start_one_after_the_other_and_nothing_is_told_behind_an_unknown_one() -> None:
    queue = [Stretch(LOCAL, tasks(1, 2.0, 3.0, None, 4.0))]
    assert told(queue) == [0.0, 2.0, 5.0, None]
    assert told(queue, local=tasks(0, 1.5)) == [1.5, 3.5, 6.5, None]
    assert told(queue, local=tasks(0, None)) == [None] * 4


def test_remote_ones_take_the_slot_that_is_free_first_and_pass_one_that_nobody_knows() -> None:
    assert told([Stretch(REMOTE, tasks(1, 5.0, 1.0, 1.0, 9.0, 1.0))]) == [0.0, 0.0, 1.0, 2.0, 5.0]
    assert told([Stretch(REMOTE, tasks(1, None, 1.0, 1.0))]) == [0.0, 0.0, 1.0]
    assert told([Stretch(REMOTE, tasks(1, 1.0))], remote=tasks(8, None, 3.0)) == [3.0]
    assert told([Stretch(REMOTE, tasks(1, 1.0))], remote=tasks(8, None, None)) == [None]


def test_a_turn_of_the_other_lane_begins_when_all_before_it_has_ended() -> None:
    queue = [Stretch(LOCAL, tasks(1, 2.0)), Stretch(REMOTE, tasks(2, 5.0, 1.0)), Stretch(LOCAL, tasks(4, 1.0, 1.0))]
    assert told(queue) == [0.0, 2.0, 2.0, 7.0, 8.0]
    assert told(queue, remote=tasks(0, 1.0, 3.0)) == [3.0, 5.0, 5.0, 10.0, 11.0]
    assert told(queue[1:], local=tasks(0, 4.0)) == [4.0, 4.0, 9.0, 10.0]
    assert told(queue[1:], remote=tasks(0, 4.0)) == [0.0, 4.0, 5.0, 6.0]
    unknown = [Stretch(REMOTE, tasks(2, None, 1.0)), Stretch(LOCAL, tasks(4, 1.0))]
    assert told(unknown) == [0.0, 0.0, None]


def test_a_group_gets_no_more_than_its_limit() -> None:
    assert told([Stretch(REMOTE, tasks(1, 2.0, 2.0, 2.0, group=FAR))]) == [0.0, 2.0, 4.0]
    queue = [Stretch(REMOTE, tasks(1, 2.0, group=FAR))]
    assert told(queue, remote=tasks(8, 3.0, group=FAR)) == [3.0]
    assert told(queue, remote=tasks(8, None, group=FAR)) == [None]
    assert told(queue, remote=tasks(8, None)) == [0.0]


SECONDS = st.none() | st.floats(0, 1e6)
STRETCHES = st.lists(st.lists(st.tuples(SECONDS, st.none() | st.just(FAR)), min_size=1, max_size=4), max_size=5)


@given(STRETCHES, st.sampled_from(Lane), st.sampled_from(Lane), st.lists(SECONDS, max_size=3), st.integers(3, 4))
def test_no_start_is_told_before_what_runs_can_end(
    drawn: list[list[tuple[float | None, Group | None]]],
    first: Lane,
    now: Lane,
    left: list[float | None],
    remote: int,
) -> None:
    slots, lanes = Slots(remote=remote), (first, first.other) * 3
    left = left[: slots.of(now)]
    seqs = iter(range(1, 99))
    queue = [Stretch(lane, [Task(next(seqs), *one) for one in part]) for lane, part in zip(lanes, drawn, strict=False)]
    found = dict(starts(queue, {now: [Task(0, one) for one in left]}, slots))
    known = [one for one in left if one is not None]
    if first is not now and queue:
        for start in found.values():
            assert start is None or (None not in left and start >= max(known, default=0.0))
    for before, after in pairwise(queue):
        ends = [_end(found[task.seq], task) for task in before.tasks]
        for task in after.tasks:
            start = found[task.seq]
            assert start is None or all(end is not None and end <= start for end in ends)
    for stretch in queue:
        for task in stretch.tasks:
            start = found[task.seq]
            if start is None:
                continue
            at_once = [
                other for other in stretch.tasks
                if (begun := found[other.seq]) is not None and begun <= start
                and ((end := _end(begun, other)) is None or end > start)
            ]  # fmt: skip
            assert len(at_once) <= slots.of(stretch.lane)
            assert sum(other.group == FAR for other in at_once) <= FAR.limit or stretch.lane is LOCAL


def _end(start: float | None, task: Task) -> float | None:
    return None if start is None or task.seconds is None else start + task.seconds
