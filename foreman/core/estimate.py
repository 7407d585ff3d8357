"""How long jobs will take, told from how long earlier ones took.

Rules: a figure comes from the jobs of the same load key, else from those of the same model, and is left out until three
of them have it; it is the median, so that one cold disk or one endless answer does not move it. Knows nothing of clocks
or of where the samples are kept.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Final

from foreman.core.job import Stats
from foreman.core.order import LOADING, Place, Reason

# So many of a load key are remembered, the newest ones.
KEPT_SAMPLES: Final = 50
# From fewer nothing is told.
ENOUGH: Final = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """What one job that was done took. Durations in ms, `at` in unix milliseconds.

    `load_ms` is None where its model was loaded already; `run_ms` is without the load.
    """

    load_key: str
    model: str
    load_ms: int | None
    run_ms: int
    output_tokens: int | None
    at: int

    @classmethod
    def of(cls, load_key: str, model: str, stats: Stats, at: int) -> "Sample":
        """The sample of a job that was done at `at`."""
        return cls(load_key, model, *figures(stats), at)


def figures(stats: Stats) -> tuple[int | None, int, int | None]:
    """`load_ms`, `run_ms` and `output_tokens` of a sample."""
    return stats.load_ms or None, max(0, stats.total_ms - stats.load_ms), stats.output_tokens


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the next job of a load key will probably take; None where too little is known."""

    load_seconds: float | None
    run_seconds: float | None
    tokens_per_second: float | None


UNKNOWN: Final = Estimate(None, None, None)


class History:
    """The newest samples of every load key."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        """`samples` with the oldest first."""
        self._by_model: dict[str, dict[str, deque[Sample]]] = {}
        for sample in samples:
            self.add(sample)

    def add(self, sample: Sample) -> None:
        by_key = self._by_model.setdefault(sample.model, {})
        by_key.setdefault(sample.load_key, deque(maxlen=KEPT_SAMPLES)).append(sample)

    def estimate(self, load_key: str, model: str) -> Estimate:
        by_key = self._by_model.get(model, {})

        def usual(figure: Callable[[Sample], float | None]) -> float | None:
            for samples in (by_key.get(load_key, ()), chain.from_iterable(by_key.values())):
                known = [value for sample in samples if (value := figure(sample)) is not None]
                if len(known) >= ENOUGH:
                    return median(known)
            return None

        return Estimate(usual(_load_seconds), usual(_run_seconds), usual(_tokens_per_second))


class Estimates:
    """What is known of some load keys, worked out already: it changes no more, whatever is learnt meanwhile."""

    def __init__(self, history: History, keys: Iterable[tuple[str, str]]) -> None:
        """`keys` are pairs of a model and a load key."""
        self._known = {key: history.estimate(key, model) for model, key in keys}

    def estimate(self, load_key: str, model: str) -> Estimate:  # noqa: ARG002
        return self._known.get(load_key, UNKNOWN)


def expected_starts(
    places: Iterable[Place], running_left: float | None, history: History | Estimates
) -> list[float | None]:
    """In how many seconds the worker will take each job of the order ahead; None from the first unknown on.

    `running_left` is what the running job still needs: 0 where none runs, None where that is unknown.
    """
    estimates: dict[str, Estimate] = {}
    starts: list[float | None] = []
    start = running_left
    for place in places:
        starts.append(start)
        if start is not None:
            waiting = place.waiting
            if waiting.load_key not in estimates:
                estimates[waiting.load_key] = history.estimate(waiting.load_key, waiting.model)
            start = _end(start, estimates[waiting.load_key], place.reason)
    return starts


def _end(start: float, estimate: Estimate, reason: Reason) -> float | None:
    load = estimate.load_seconds if reason in LOADING else 0.0
    return None if load is None or estimate.run_seconds is None else start + load + estimate.run_seconds


def _load_seconds(sample: Sample) -> float | None:
    return None if sample.load_ms is None else sample.load_ms / 1000


def _run_seconds(sample: Sample) -> float:
    return sample.run_ms / 1000


def _tokens_per_second(sample: Sample) -> float | None:
    return sample.output_tokens * 1000 / sample.run_ms if sample.output_tokens and sample.run_ms else None
