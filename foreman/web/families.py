"""Metric families as prometheus_client has them, made in one step from what the engine counts, and their text.

Nothing here is imported at the start: prometheus_client is loaded with the first scrape.
"""

from collections.abc import Iterable
from math import isinf

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from foreman.core.spread import Spread

Labels = tuple[str, ...]


def counter(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    """What only grows. `name` is without the `_total` that it gets."""
    family = CounterMetricFamily(name, text, labels=labels)
    for found, value in values:
        family.add_metric(found, value)
    return family


def gauge(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for found, value in values:
        family.add_metric(found, value)
    return family


def one(name: str, text: str, value: float | None) -> Metric:
    """A gauge without labels; None where nobody knows it now."""
    return gauge(name, text, (), () if value is None else (((), value),))


def histogram(name: str, text: str, labels: Labels, spreads: Iterable[tuple[Labels, Spread]]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for found, spread in spreads:
        buckets = [("+Inf" if isinf(bound) else str(bound), count) for bound, count in spread.up_to()]
        family.add_metric(found, buckets, spread.sum)
    return family


class _Families:
    """A collector as prometheus_client wants it."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def as_text(families: list[Metric]) -> bytes:
    """The exposition of these and nothing else: the registry is made for it."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)
