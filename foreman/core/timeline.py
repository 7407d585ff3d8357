"""When the jobs of both lanes will start, as far as it can be told from what jobs take.

The order ahead falls into stretches, each of one lane. One of the lane that runs goes on where that stands; one of the
other lane begins when all before it has ended. Rules:
1. A job starts when a slot is free for it, in order. One that takes nobody knows how long keeps its slot for ever, so
   what needs that slot, or its end, has no start; nothing else is left out.
2. A group (the jobs of one remote API) gets no more slots than its limit; who waits for one keeps a slot of the lane
   meanwhile, which makes the others late rather than early.
Knows nothing of clocks; times are seconds from now.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Final

from foreman.core.lanes import Lane, Slots

NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that share a limit of their own."""

    name: str
    limit: int


@dataclass(frozen=True, slots=True)
class Task:
    """A job that waits, or what is left of one that runs. `seconds` is None where nobody knows."""

    seq: int
    seconds: float | None
    group: Group | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Jobs of one lane that run in this order, without a turn of the other lane between them."""

    lane: Lane
    tasks: Sequence[Task]


def starts(
    stretches: Iterable[Stretch], running: Mapping[Lane, Sequence[Task]], slots: Slots
) -> Iterator[tuple[int, float | None]]:
    """The `seq` of each job and when it starts, None where that is unknown. For lanes that take turns."""
    now = next((lane for lane in Lane if running.get(lane)), None)
    floor = None if now is None else _Floor(slots.of(now), 0.0, running[now])
    for stretch in stretches:
        if floor is None or stretch.lane is not now:
            floor = _Floor(slots.of(stretch.lane), 0.0 if floor is None else floor.end, ())
            now = stretch.lane
        for task in stretch.tasks:
            start = floor.start(task)
            yield task.seq, None if start == NEVER else start


class _Floor:
    """The slots of one lane while it has its turn."""

    def __init__(self, slots: int, begin: float, running: Sequence[Task]) -> None:
        self.end = begin
        self._begin = begin
        self._free = [begin] * slots
        self._groups: dict[str, list[float]] = {}
        for task in running:
            self.start(task)

    def start(self, task: Task) -> float:
        """Give the task its slot: when that is."""
        mine = self._of(task.group)
        start = max(self._free[0], mine[0] if mine else self._begin)
        end = NEVER if task.seconds is None else start + task.seconds
        heapreplace(self._free, end)
        if mine:
            heapreplace(mine, end)
        self.end = max(self.end, end)
        return start

    def _of(self, group: Group | None) -> list[float]:
        if group is None:
            return []
        found = self._groups.setdefault(group.name, [self._begin] * max(1, group.limit))
        heapify(found)
        return found
