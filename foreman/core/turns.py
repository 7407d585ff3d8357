"""What the order of work saves: how often the loaded model changes, and how often it would in the order of arrival.

Both are counted over the same jobs, those that ran, by the same rule: a change is paid where a job needs something
else loaded than the job before it. One order is that in which the jobs ended, the other that in which they arrived.
What both would have paid alike (the first load, one that expired, one that somebody else undid) is in neither, so the
difference is what the order alone saved. It is negative where the order cost more, as a job that waits for a retry can.

It is an estimate of a past that did not happen: with every load paid in the order of arrival, other jobs might have
come, or left. A job counts by its last try.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

# So many jobs are remembered in the order of arrival; one that is older than all of them is counted in neither order.
REMEMBERED: Final = 5_000

# What is loaded: the model, under one of its names, and the options it is loaded with.
Need = tuple[str, tuple[tuple[str, int | bool], ...]]


@dataclass(slots=True)
class Turns:
    """The changes of both orders, by the model that had to be loaded."""

    as_run: Counter[str] = field(default_factory=Counter)
    by_arrival: Counter[str] = field(default_factory=Counter)
    _arrived: list[tuple[int, Need]] = field(default_factory=list)
    _forgotten: int = 0  # the last `seq` that is not remembered any more
    _last: Need | None = None

    def ran(self, seq: int, need: Need) -> None:
        """A job ended that ran; `seq` is its place in the order of arrival."""
        if seq <= self._forgotten:
            return
        if self._last == need:
            need = self._last  # one value for a run of equal ones
        elif self._last is not None:
            self.as_run[need[0]] += 1
        self._last = need
        self._insert(seq, need)

    def _insert(self, seq: int, need: Need) -> None:
        newest = not self._arrived or self._arrived[-1][0] < seq
        place = len(self._arrived) if newest else bisect_left(self._arrived, (seq,))
        before = self._arrived[place - 1][1] if place else None
        after = self._arrived[place][1] if place < len(self._arrived) else None
        if before is not None and before != need:
            self.by_arrival[need[0]] += 1
        if after is not None:
            # The job behind it has another one before it now.
            self.by_arrival[after[0]] += (after != need) - (before is not None and after != before)
        self._arrived.insert(place, (seq, need))
        if len(self._arrived) > REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        gone = len(self._arrived) - REMEMBERED // 2
        self._forgotten = self._arrived[gone - 1][0]
        del self._arrived[:gone]

    @property
    def saved(self) -> dict[str, int]:
        """By model, how many changes the order saved."""
        models = self.as_run.keys() | self.by_arrival.keys()
        return {model: self.by_arrival[model] - self.as_run[model] for model in models}
