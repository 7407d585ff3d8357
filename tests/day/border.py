"""What runs at the same time beyond foreman: at the target, at the remote API, and in the commands."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from foreman.core.lanes import Lane


class Border:
    """Counts what is under way in each lane, as those see it that do the work."""

    def __init__(self) -> None:
        self.running: Counter[Lane] = Counter()
        self.most: Counter[Lane] = Counter()
        self.mixed = 0  # how often something began while the other lane ran
        self.loads: Counter[str] = Counter()

    def begin(self, lane: Lane) -> None:
        self.running[lane] += 1
        self.most[lane] = max(self.most[lane], self.running[lane])
        self.mixed += self.running[lane.other] > 0

    def end(self, lane: Lane) -> None:
        self.running[lane] -= 1

    @contextmanager
    def under_way(self, lane: Lane) -> Iterator[None]:
        self.begin(lane)
        try:
            yield
        finally:
            self.end(lane)
