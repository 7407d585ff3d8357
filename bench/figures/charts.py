"""Pictures of a run, where one says more than a table: bars with the least and the most of the rounds, as SVG. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Final

from bench.figures.budget import RESTARTED
from bench.figures.record import Record
from bench.figures.spread import Spread
from bench.figures.tables import number
from bench.figures.turn import DIRECT

_WIDTH, _LEFT, _RIGHT, _ROW = 720, 300, 100, 26
_SHORT: Final = {RESTARTED: "restarted"}


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars by label, longest value to the right; `unit` stands behind the numbers."""

    title: str
    unit: str
    bars: Sequence[tuple[str, Spread]]

    def svg(self) -> str:
        height = 40 + _ROW * len(self.bars)
        most = max((spread.high for _, spread in self.bars), default=1.0)
        scale = (_WIDTH - _LEFT - _RIGHT) / most
        look = 'font-family="sans-serif" font-size="12" fill="#333"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {look}>',
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="12" y="20" font-size="14">{escape(self.title)}</text>',
        ]
        for n, (label, spread) in enumerate(self.bars):
            parts += _bar(escape(label), spread, scale, 34 + n * _ROW, self.unit)
        return "\n".join((*parts, "</svg>\n"))


def _bar(label: str, spread: Spread, scale: float, top: int, unit: str) -> list[str]:
    low, middle, high = (_LEFT + max(0.0, value) * scale for value in (spread.low, spread.median, spread.high))
    across = top + 9
    return [
        f'<text x="{_LEFT - 8}" y="{top + 13}" text-anchor="end">{label}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{middle - _LEFT:.1f}" height="18" fill="#4a7ebb"/>',
        f'<line x1="{low:.1f}" y1="{across}" x2="{high:.1f}" y2="{across}" stroke="#222"/>',
        f'<text x="{high + 8:.1f}" y="{top + 13}">{number(spread.median)} {unit}</text>',
    ]


LONE: Final = "lone"


def charts(record: Record) -> Mapping[str, Chart]:
    """The pictures of the parts that ran, by the name of their file."""
    found = {}
    if added := _added(record):
        title = "Added to the first token of a lone chat (median, least to most)"
        found["lone"] = Chart(title, "us", added)
    if record.mixed:
        title = f"All chats answered, {record.mixed[0].load_seconds:g} s a load (median, least to most)"
        found["mixed"] = Chart(title, "s", _mixed(record))
    return found


def _added(record: Record) -> list[tuple[str, Spread]]:
    ways = (way for way in record.run.subjects(LONE) if way != DIRECT)
    spreads = ((way, record.run.added_spread(LONE, way, "first_p50")) for way in ways)
    return [(way, spread) for way, spread in spreads if spread is not None]


def _mixed(record: Record) -> list[tuple[str, Spread]]:
    bars = []
    for scenario, way in dict.fromkeys((row.scenario, row.way) for row in record.mixed):
        rows = [row for row in record.mixed if (row.scenario, row.way) == (scenario, way)]
        loads = f"{median(row.loads for row in rows):g} loads"
        bars.append((f"{scenario}, {_SHORT.get(way, way)}: {loads}", Spread.of([row.seconds for row in rows])))
    return bars
