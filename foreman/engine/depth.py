"""How many jobs are queued, by model and load key: counts that would be too slow to ask the store for.

They follow the results of the store, never the intention.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from foreman.core.job import Hot


@dataclass(slots=True)
class Depth:
    """How many jobs are queued, by model and load key."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    total: int = 0

    def fill(self, counts: Mapping[tuple[str, str], int]) -> None:
        self.counts = Counter(counts)
        self.total = self.counts.total()

    def add(self, model: str, key: str) -> None:
        self.counts[model, key] += 1
        self.total += 1
        if self.counts[model, key] == 0:
            del self.counts[model, key]

    def remove(self, model: str, key: str) -> None:
        self.counts[model, key] -= 1
        self.total -= 1
        # A claim can be heard of before the submit it followed, so a count may be below zero for a moment.
        if self.counts[model, key] == 0:
            del self.counts[model, key]

    def of(self, key: str) -> int:
        """How many queued jobs have this load key."""
        return self.counts[key.partition("?")[0], key]

    def wants(self, key: str) -> bool:
        """Whether a queued job has this load key."""
        return self.of(key) > 0

    def matches(self, hot: Hot) -> bool:
        """Whether the next claim would find a job that needs no swap."""
        return any(model in hot.models or key in hot.load_keys for model, key in self._queued())

    def load_keys(self) -> list[str]:
        """The load keys of queued jobs."""
        return [key for _, key in self._queued()]

    def by_model(self) -> dict[str, int]:
        models: Counter[str] = Counter()
        for model, key in self._queued():
            models[model] += self.counts[model, key]
        return dict(models.most_common())

    def _queued(self) -> Iterator[tuple[str, str]]:
        return (queued for queued, count in self.counts.items() if count > 0)
