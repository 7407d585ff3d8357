"""Percentiles, and a value over the rounds: its median with the least and the most. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of one value a round, with its least and its most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises ValueError on no values."""
        if not values:
            raise ValueError("no values")
        return cls(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` is 0 to 1. Raises ValueError on no values."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread | None:
    """Value by base, round by round; None when a base is not above zero, for then the rounds do not resolve it."""
    if not base or any(below <= 0 for below in base):
        return None
    return Spread.of([value / below for value, below in zip(values, base, strict=True)])
