"""Two lanes of jobs, and which of them may begin its next job now.

`local` is what the machine of the target has to carry: one job at a time. `remote` is what runs elsewhere: a few at
once. Rules:
1. A lane never runs more jobs than it has slots.
2. `exclusive`: while one lane runs anything, the other begins nothing.
3. `exclusive`: no job begins that is younger than the oldest one ready in the other lane. So the lane with the older
   head goes next, the other stops filling up behind it, and neither waits for ever.
Which job of a lane is its next is not said here, see order.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Lane(StrEnum):
    """What runs on the target's own machine, and what runs elsewhere."""

    LOCAL = "local"
    REMOTE = "remote"

    @property
    def other(self) -> "Lane":
        return Lane.REMOTE if self is Lane.LOCAL else Lane.LOCAL


class Wait(StrEnum):
    """What the next job of a lane waits for."""

    SLOT = "slot"  # a slot of its own lane
    LOCAL_LANE = "local_lane"
    REMOTE_LANE = "remote_lane"

    @classmethod
    def for_lane(cls, lane: Lane) -> "Wait":
        return cls.LOCAL_LANE if lane is Lane.LOCAL else cls.REMOTE_LANE


@dataclass(frozen=True, slots=True)
class Slots:
    """How many jobs each lane may run at once, and whether the lanes take turns (`exclusive`)."""

    remote: int = 5
    exclusive: bool = True

    def of(self, lane: Lane) -> int:
        return 1 if lane is Lane.LOCAL else self.remote


TAKING_TURNS: Final = Slots()

Running = Mapping[Lane, int]
Heads = Mapping[Lane, int]

# The largest number SQLite has: no job is as young as that.
ANY_AGE: Final = (1 << 63) - 1


def blocked(lane: Lane, running: Running, slots: Slots) -> Wait | None:
    """What keeps `lane` from beginning any job, given how many run in each; None where nothing does."""
    if slots.exclusive and running[lane.other]:
        return Wait.for_lane(lane.other)
    return Wait.SLOT if running[lane] >= slots.of(lane) else None


def older_than(lane: Lane, heads: Heads, slots: Slots) -> int:
    """Only jobs of `lane` with a lower `seq` may begin; `heads` holds the oldest ready `seq` of each lane with one."""
    return heads.get(lane.other, ANY_AGE) if slots.exclusive else ANY_AGE


def wait(lane: Lane, running: Running, heads: Heads, slots: Slots) -> Wait | None:
    """What the oldest ready job of `lane` waits for; None where it may begin now."""
    if heads[lane] >= older_than(lane, heads, slots):
        return Wait.for_lane(lane.other)
    return blocked(lane, running, slots)
