"""What a process holds as time goes by, and whether that grows. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench.figures.tables import Section, Table

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at foreman. `at` is seconds since the start of the soak, sizes are bytes."""

    at: float
    memory: int
    descriptors: int
    threads: int
    log: int
    database: int


@dataclass(slots=True)
class Soaked:
    """What became of a soak: outcomes by kind of request, readings of the watched process, and what went wrong."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    readings: list[Reading] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def asked(self) -> int:
        return self.outcomes.total()


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that must stay flat: how it is read, shown, and by how much its last third may be above its first."""

    name: str
    unit: str
    of: Callable[[Reading], float]
    factor: float
    slack: float


FIGURES: Final = (
    # SQLite fills its cache of 16 MiB once for each connection.
    Figure("memory", "MiB", lambda reading: reading.memory / MIB, 1.10, 16.0),
    # Connections of clients come and go.
    Figure("descriptors", "", lambda reading: reading.descriptors, 1.0, 16.0),
    Figure("threads", "", lambda reading: reading.threads, 1.0, 1.0),
    # It is copied into the database when it has grown to a few MiB, and begins anew.
    Figure("write-ahead log", "MiB", lambda reading: reading.log / MIB, 1.0, 16.0),
)


@dataclass(frozen=True, slots=True)
class Trend:
    """The medians of the first and the last third of the readings, the most of all, and what the last may be."""

    figure: Figure
    first: float
    last: float
    most: float

    @property
    def bar(self) -> float:
        return self.first * self.figure.factor + self.figure.slack

    @property
    def flat(self) -> bool:
        return self.last <= self.bar


def trends(readings: Sequence[Reading]) -> list[Trend]:
    """Nothing where there are too few readings for thirds."""
    third = len(readings) // 3
    if third == 0:
        return []
    found = []
    for figure in FIGURES:
        values = [figure.of(reading) for reading in readings]
        found.append(Trend(figure, median(values[:third]), median(values[-third:]), max(values)))
    return found


def faults(soaked: Soaked) -> list[str]:
    """Why this soak did not go well; empty where it did."""
    found = list(soaked.wrong)
    looked = trends(soaked.readings)
    if not looked:
        found.append("the watched process was read too seldom to say anything")
    for trend in looked:
        if not trend.flat:
            unit = f" {trend.figure.unit}" if trend.figure.unit else ""
            found.append(
                f"{trend.figure.name} grew from {trend.first:.1f} to {trend.last:.1f}{unit}; the bar is {trend.bar:.1f}"
            )
    if not any(outcome == "answered" for _, outcome in soaked.outcomes):
        found.append("no request was answered")
    return found


def told(soaked: Soaked) -> list[Section]:
    """The figures as they are printed."""
    about = ", ".join(f"{count} x {what}" for what, count in sorted(soaked.restarts.items())) or "no restarts"
    words = f"{soaked.asked} requests in {soaked.seconds:.0f} s; {about}"
    return [Section("soak", words, _requests(soaked.outcomes)), Section("the watched process", "", _flat(soaked))]


def _requests(outcomes: Mapping[tuple[str, str], int]) -> Table:
    ends = sorted({outcome for _, outcome in outcomes})
    kinds = sorted({kind for kind, _ in outcomes})
    rows = [[kind, *(str(outcomes.get((kind, end), 0) or "-") for end in ends)] for kind in kinds]
    return Table(["request", *ends], rows)


def _flat(soaked: Soaked) -> Table:
    rows = []
    for trend in trends(soaked.readings):
        numbers = (f"{value:.1f}" for value in (trend.first, trend.last, trend.most, trend.bar))
        name = f"{trend.figure.name}, {trend.figure.unit}" if trend.figure.unit else trend.figure.name
        rows.append([name, *numbers, "flat" if trend.flat else "GROWS"])
    return Table(["", "first third", "last third", "most", "bar", ""], rows)
