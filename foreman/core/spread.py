"""How values are spread: counts below fixed bounds and their sum, which takes the same room however many there are."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

# From what nobody notices to what waits over night, in seconds.
LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0)
# What a person or a disk waits for, in seconds.
MEDIUM = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


@dataclass(slots=True)
class Spread:
    """Values sorted into steps: each bound is the largest value of its step, and the last step has none."""

    bounds: tuple[float, ...]
    sum: float = 0.0
    counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def up_to(self) -> Iterator[tuple[float, int]]:
        """How many values are no larger than each bound; the last bound is infinity."""
        found = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            found += count
            yield bound, found
