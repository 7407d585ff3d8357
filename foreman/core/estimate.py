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

    def seconds(self, *, loads: bool) -> float | None:
        """All of the job, with the load where there is one."""
        load = self.load_seconds if loads else 0.0
        return None if load is None or self.run_seconds is None else load + self.run_seconds


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


def _load_seconds(sample: Sample) -> float | None:
    return None if sample.load_ms is None else sample.load_ms / 1000


def _run_seconds(sample: Sample) -> float:
    return sample.run_ms / 1000


def _tokens_per_second(sample: Sample) -> float | None:
    return sample.output_tokens * 1000 / sample.run_ms if sample.output_tokens and sample.run_ms else None
