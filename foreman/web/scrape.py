"""One scrape: all metrics at one moment, in a registry of its own, so that nothing is shared with anybody."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from foreman.core.lanes import Lane
from foreman.engine.engine import Engine
from foreman.engine.store import StoreUsage
from foreman.web.counted import counted
from foreman.web.standing import standing


class Scrape:
    """A collector as prometheus_client wants it; `usage` is None where the store cannot be read."""

    def __init__(self, engine: Engine, usage: StoreUsage | None, oldest: Mapping[tuple[Lane, str], int]) -> None:
        self._engine = engine
        self._usage = usage
        self._oldest = oldest

    def collect(self) -> Iterator[Metric]:
        yield from standing(self._engine, self._usage, self._oldest)
        yield from counted(self._engine)

    def text(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
