"""The budget: what foreman may cost, line by line, and what a run found. Pure.

A ratio compares with another way in the same round. `first_bar` must be met, where there is one; `goal` is where honest
work should lead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures.record import Record
from bench.figures.spread import Spread, ratio
from bench.figures.turn import FOREMAN, NGINX, PASS_THROUGH

Measured = Callable[[Record], Spread | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, of one part of a run. `unit` is x for a ratio; `measured` is None where the run does not resolve it."""

    figure: str
    part: str
    unit: str
    first_bar: float | None
    goal: float
    measured: Measured

    def verdict(self, found: Spread | None) -> str:
        """How the median stands; a bar that some round missed is said so."""
        if found is None:
            return "no figure"
        for bar, name in ((self.goal, "goal"), (self.first_bar, "first bar")):
            if bar is not None and found.median <= bar:
                return name if found.high <= bar else f"{name}, not in each round"
        return "missed"


def _added(workload: str, base: str) -> Measured:
    return lambda record: record.run.added_ratio(workload, "first_p50", base)


def _ratio(workload: str, figure: str, base: str) -> Measured:
    return lambda record: record.run.ratio(workload, figure, base)


def _of(values: Sequence[float]) -> Spread | None:
    return Spread.of(values) if values else None


def _gap(record: Record) -> Spread | None:
    return record.run.spread("clients-8", FOREMAN, "gap_p50")


def _drained(record: Record) -> Spread | None:
    return _of([row.drain_seconds for row in record.waiting if row.clients == CROWD])


def _memory(record: Record) -> Spread | None:
    return _of([row.bytes_each / 1000 for row in record.waiting if row.clients == CROWD])


def _claim(record: Record) -> Spread | None:
    deep, shallow = (
        [row.claim_us for row in sorted(record.claims, key=lambda row: row.round) if row.rows == rows]
        for rows in (DEEP, SHALLOW)
    )
    return ratio(deep, shallow) if deep and shallow else None


def _restart(record: Record) -> Spread | None:
    return _of([row.seconds for row in record.restarts if row.rows == RESTART_ROWS])


def _loads(way: str) -> Measured:
    return lambda record: _of([row.loads / row.load_keys for row in record.mixed if row.way == way])


def _pause(record: Record) -> Spread | None:
    """The worst phase of each round."""
    worst: dict[int, float] = {}
    for row in record.pauses:
        worst[row.round] = max(row.p999, worst.get(row.round, 0.0))
    return _of(list(worst.values()))


CROWD: Final = 10_000
SHALLOW, DEEP = 100, 1_000_000
RESTART_ROWS: Final = 100_000
RESTARTED: Final = "foreman, killed and restarted"

BUDGET: Final = (
    Line(
        figure="added first token of a lone chat after 5 ms, by nginx's",
        part="overhead",
        unit="x",
        first_bar=4.0,
        goal=1.5,
        measured=_added("lone", NGINX),
    ),
    Line(
        figure="the same by the plain aiohttp pass-through's",
        part="overhead",
        unit="x",
        first_bar=1.5,
        goal=1.0,
        measured=_added("lone", PASS_THROUGH),
    ),
    Line(
        figure="CPU per streamed chunk (200, 1 ms apart), by nginx's",
        part="overhead",
        unit="x",
        first_bar=1.3,
        goal=1.1,
        measured=_ratio("long", "cpu_chunk", NGINX),
    ),
    Line(
        figure="CPU per tiny queued job at saturation, by nginx's per request",
        part="overhead",
        unit="x",
        first_bar=8.0,
        goal=3.0,
        measured=_ratio("saturation", "cpu", NGINX),
    ),
    Line(
        figure="dispatch gap at the target, 8 clients",
        part="overhead",
        unit="us",
        first_bar=250.0,
        goal=70.0,
        measured=_gap,
    ),
    Line(
        figure="delay of a chunk, by nginx's",
        part="overhead",
        unit="x",
        first_bar=1.15,
        goal=1.05,
        measured=_ratio("long", "delay_p50", NGINX),
    ),
    Line(
        figure=f"{CROWD:,} tiny queued jobs drained, all attached",
        part="capacity",
        unit="s",
        first_bar=2.5,
        goal=1.0,
        measured=_drained,
    ),
    Line(
        figure=f"memory of each of {CROWD:,} waiting clients",
        part="capacity",
        unit="kB",
        first_bar=16.0,
        goal=4.0,
        measured=_memory,
    ),
    Line(
        figure=f"claim at {DEEP:,} queued, by that at {SHALLOW}",
        part="storage",
        unit="x",
        first_bar=2.0,
        goal=1.2,
        measured=_claim,
    ),
    Line(
        figure=f"restart with {RESTART_ROWS:,} queued until ready",
        part="storage",
        unit="s",
        first_bar=0.5,
        goal=0.25,
        measured=_restart,
    ),
    Line(
        figure="/api/tags from the cache, CPU by that of nginx serving the same bytes",
        part="overhead",
        unit="x",
        first_bar=4.0,
        goal=1.2,
        measured=_ratio("tags", "cpu", NGINX),
    ),
    Line(
        figure="/v1/models, the same",
        part="overhead",
        unit="x",
        first_bar=4.0,
        goal=1.2,
        measured=_ratio("models", "cpu", NGINX),
    ),
    Line(
        figure="mixed models: loads done by loads needed",
        part="mixed",
        unit="x",
        first_bar=1.0,
        goal=1.0,
        measured=_loads(FOREMAN),
    ),
    Line(
        figure="the same across a kill and a restart",
        part="mixed",
        unit="x",
        first_bar=None,
        goal=1.0,
        measured=_loads(RESTARTED),
    ),
    Line(
        figure="longest pause of the event loop, p99.9",
        part="stall",
        unit="ms",
        first_bar=10.0,
        goal=10.0,
        measured=_pause,
    ),
)
