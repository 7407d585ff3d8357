"""From times to figures: percentiles, what a subject adds to the direct way, ratios by round, and the table.

Pure. A ratio is formed inside a round, where the machine was in one mood; over the rounds only ratios are compared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

DIRECT: Final = "direct"
PASS_THROUGH: Final = "pass-through"
FOREMAN: Final = "foreman"

HEAD: Final = ("subject", "first byte", "added", "times pass-through", "requests/s")


@dataclass(frozen=True, slots=True)
class Turn:
    """One subject's turn at one workload in one round: the p50 of the time to the first byte in s, and the rate."""

    workload: str
    subject: str
    round: int
    first_byte: float
    rate: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of one value a round, with its least and its most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Figures:
    """One row: times in seconds. A ratio is None where it has no meaning (see `ratio`)."""

    workload: str
    subject: str
    first_byte: Spread
    added: Spread
    added_ratio: Spread | None
    rate: Spread
    rate_ratio: Spread | None


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` is 0 to 1. Raises ValueError on no values."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread | None:
    """Value by base, round by round; None when a base is not above zero, for then the rounds do not resolve it."""
    if any(below <= 0 for below in base):
        return None
    return Spread.of([value / below for value, below in zip(values, base, strict=True)])


def figures(turns: Sequence[Turn]) -> list[Figures]:
    """A row for each workload and subject, in the order they first came."""
    names = dict.fromkeys((turn.workload, turn.subject) for turn in turns)
    return [_row(turns, workload, subject) for workload, subject in sorted(names, key=_order(turns))]


def _order(turns: Sequence[Turn]) -> Callable[[tuple[str, str]], tuple[int, int]]:
    workloads = list(dict.fromkeys(turn.workload for turn in turns))
    return lambda name: (workloads.index(name[0]), (DIRECT, PASS_THROUGH, FOREMAN).index(name[1]))


def _row(turns: Sequence[Turn], workload: str, subject: str) -> Figures:
    def rounds(subject: str) -> list[Turn]:
        mine = (turn for turn in turns if (turn.workload, turn.subject) == (workload, subject))
        return sorted(mine, key=lambda turn: turn.round)

    def added(subject: str) -> list[float]:
        pairs = zip(rounds(subject), rounds(DIRECT), strict=True)
        return [turn.first_byte - direct.first_byte for turn, direct in pairs]

    rates, base = [turn.rate for turn in rounds(subject)], [turn.rate for turn in rounds(PASS_THROUGH)]
    return Figures(
        workload,
        subject,
        Spread.of([turn.first_byte for turn in rounds(subject)]),
        Spread.of(added(subject)),
        None if subject == DIRECT else ratio(added(subject), added(PASS_THROUGH)),
        Spread.of(rates),
        ratio(rates, base),
    )


def table(rows: Sequence[Figures]) -> str:
    """The rows as text, workload by workload; times in milliseconds."""
    cells = [HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    texts = [_aligned(line, widths) for line in cells]
    lines = [texts[0]]
    for row, text in zip(rows, texts[1:], strict=True):
        if row.subject == DIRECT:
            lines += ["", row.workload]
        lines.append(text)
    return "\n".join(lines)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(("", first.strip().ljust(widths[0]), *others))


def _cells(row: Figures) -> tuple[str, ...]:
    direct = row.subject == DIRECT
    return (
        row.subject,
        f"{row.first_byte.median * 1000:.2f} ms",
        "" if direct else f"{row.added.median * 1000:+.2f} ms",
        "" if direct else _ratio_text(row),
        f"{row.rate.median:.0f}",
    )


def _ratio_text(row: Figures) -> str:
    if row.subject == PASS_THROUGH:
        return "1"
    if row.added.high < 0:
        return "below direct"
    if row.added_ratio is None:
        return "not resolved"
    return f"{row.added_ratio.median:.2f} ({row.added_ratio.low:.2f} to {row.added_ratio.high:.2f})"
