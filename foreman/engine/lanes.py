"""The two lanes of this process: how much waits in each, and who may take a slot.

A slot is taken before a job is claimed for it, and given back when nothing of that job is at the target any more. So
whoever asks in between is told the truth. The rule is in core/lanes.py; the half of it that compares the ages of jobs
is applied by the store, where the claim is.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from foreman.core.lanes import Lane, Slots, Wait, blocked
from foreman.core.timeline import Group
from foreman.engine.depth import Depth


@dataclass(slots=True, eq=False)
class LaneQueue:
    """How much waits in one lane, and the event that wakes who claims for it."""

    depth: Depth = field(default_factory=Depth)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    turned_away: bool = False  # it asked for a slot and got none


class Lanes:
    """Both lanes, and how many slots are taken in each."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.local, self.remote = LaneQueue(), LaneQueue()
        self.taken = dict.fromkeys(Lane, 0)
        self.open_keys: Callable[[], tuple[str, ...] | None] = lambda: None  # of the remote lane; None: all
        # The remote API whose jobs have this load key, and how many of them it gets at once.
        self.group: Callable[[str], Group | None] = lambda _: None
        self._of = {Lane.LOCAL: self.local, Lane.REMOTE: self.remote}
        # The load keys of local jobs that wait for the machine, and not for a turn.
        self.held: Callable[[], tuple[str, ...]] = tuple

    def __repr__(self) -> str:
        return f"<Lanes local {self.taken[Lane.LOCAL]}, remote {self.taken[Lane.REMOTE]} taken>"

    def of(self, lane: Lane) -> LaneQueue:
        return self._of[lane]

    def blocked(self, lane: Lane) -> Wait | None:
        """What keeps the lane from beginning any job now."""
        return blocked(lane, self.taken, self.slots)

    def gives_way(self, lane: Lane) -> bool:
        """Whether something waits in the other lane that may be older than what this one would begin."""
        return self.slots.exclusive and self._of[lane.other].depth.total != 0

    def take(self, lane: Lane) -> bool:
        """Take a slot, to be given back with `free`. Who gets none is woken as soon as it may be otherwise."""
        if self.blocked(lane) is not None:
            self._of[lane].turned_away = True
            return False
        self.taken[lane] += 1
        return True

    def occupy(self, lane: Lane) -> None:
        """A slot is taken already, by a job of an earlier process."""
        self.taken[lane] += 1

    def free(self, lane: Lane, *, ran: bool = True) -> None:
        """Give a slot back; `ran` is False where there was nothing to be claimed for it."""
        self.taken[lane] -= 1
        for each in (self.local, self.remote):
            # Where nothing ran, nothing has changed but for who asked in the meantime: waking the other lane as well
            # would have the two wake each other for ever.
            if each.turned_away or (ran and each.depth.total):
                each.turned_away = False
                each.wake.set()

    def moved_up(self, lane: Lane) -> None:
        """A queued job of the lane is gone or held, which may have been the one that the other lane gave way to."""
        other = self._of[lane.other]
        if other.depth.total:
            other.wake.set()

    def wake(self) -> None:
        """Something has changed for all."""
        for each in (self.local, self.remote):
            each.wake.set()
