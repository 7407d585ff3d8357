"""One subject's turn at one workload in one round, and what the turns of a run say together. Pure.

All times are microseconds. `added` is a subject's value minus that of the direct way in the same round; a ratio is
formed in each round and only then the median is taken: inside a round the machine was in one mood.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.figures.spread import Spread, percentile, ratio

DIRECT: Final = "direct"
NGINX: Final = "nginx"
PASS_THROUGH: Final = "pass-through"
FOREMAN: Final = "foreman"
SUBJECTS: Final = (DIRECT, NGINX, PASS_THROUGH, FOREMAN)

SHARES: Final = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))


@dataclass(frozen=True, slots=True)
class Turn:
    """`figures` by name: first, total, delay and gap with their percentiles (`first_p50`), cpu, cpu_chunk, rate.

    And memory, of the whole process when the turn is over, in MB.
    """

    workload: str
    subject: str
    round: int
    requests: int
    figures: Mapping[str, float]


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """The values as figures; none where there are none."""
    return {f"{name}_{label}": round(percentile(values, share), 2) for share, label in SHARES} if values else {}


@dataclass(frozen=True, slots=True)
class Run:
    """The turns of a run."""

    turns: Sequence[Turn]

    @property
    def workloads(self) -> list[str]:
        return list(dict.fromkeys(turn.workload for turn in self.turns))

    def subjects(self, workload: str) -> list[str]:
        """Those that had turns at it, in the order of the tables."""
        there = {turn.subject for turn in self.turns if turn.workload == workload}
        return [subject for subject in SUBJECTS if subject in there]

    def values(self, workload: str, subject: str, figure: str) -> list[float]:
        """One for each round; empty where it was not measured."""
        mine = [turn for turn in self.turns if (turn.workload, turn.subject) == (workload, subject)]
        return [turn.figures[figure] for turn in sorted(mine, key=lambda turn: turn.round) if figure in turn.figures]

    def added(self, workload: str, subject: str, figure: str) -> list[float]:
        """Its values minus those of the direct way, round by round."""
        mine, direct = (self.values(workload, name, figure) for name in (subject, DIRECT))
        return [value - base for value, base in zip(mine, direct, strict=True)] if mine and direct else []

    def spread(self, workload: str, subject: str, figure: str) -> Spread | None:
        values = self.values(workload, subject, figure)
        return Spread.of(values) if values else None

    def added_spread(self, workload: str, subject: str, figure: str) -> Spread | None:
        values = self.added(workload, subject, figure)
        return Spread.of(values) if values else None

    def ratio(self, workload: str, figure: str, base: str, subject: str = FOREMAN) -> Spread | None:
        """The subject's by the base's; None where one was not measured or the rounds do not resolve it."""
        return _ratio(self.values(workload, subject, figure), self.values(workload, base, figure))

    def added_ratio(self, workload: str, figure: str, base: str, subject: str = FOREMAN) -> Spread | None:
        """What the subject adds by what the base adds."""
        return _ratio(self.added(workload, subject, figure), self.added(workload, base, figure))


def _ratio(values: Sequence[float], base: Sequence[float]) -> Spread | None:
    return ratio(values, base) if values and base else None
