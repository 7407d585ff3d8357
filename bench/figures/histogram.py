"""Counting values into bins, and drawing them: as bars of text, and as an SVG. Pure.

The bins grow by a constant factor, for waiting times lie orders of magnitude apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

BINS: Final = 14
# From thin to full, in eighths of a column.
_PARTS: Final = " ▏▎▍▌▋▊▉█"
_WIDTH, _HEIGHT, _MARGIN = 640, 220, 34


@dataclass(frozen=True, slots=True)
class Bin:
    """So many values from `low` up to `high`, which belongs to the last bin only."""

    low: float
    high: float
    count: int


def binned(values: Sequence[float], bins: int = BINS) -> list[Bin]:
    """Values above zero in bins of equal factors; none for no values. Raises ValueError on others."""
    if not values:
        return []
    low, high = min(values), max(values)
    if low <= 0:
        raise ValueError("only values above zero can be binned by factors")
    if math.isclose(low, high):
        return [Bin(low, high, len(values))]
    step = (math.log(high) - math.log(low)) / bins
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((math.log(value) - math.log(low)) / step))] += 1
    edges = [low * math.exp(step * n) for n in range(bins)] + [high]
    return [Bin(start, end, count) for (start, end), count in zip(pairwise(edges), counts, strict=True)]


def bar(share: float, width: int) -> str:
    """A bar of `share` (0 to 1) of so many columns; never nothing for more than nothing."""
    eighths = max(math.ceil(share * width * 8) if 0 < share * width * 8 < 1 else round(share * width * 8), 0)
    full, part = divmod(eighths, 8)
    return _PARTS[8] * full + (_PARTS[part] if part else "")


def lines(found: Sequence[Bin], width: int = 40) -> list[str]:
    """A line for each bin, its edges in milliseconds; the values are seconds."""
    most = max((one.count for one in found), default=0)
    counts = max((len(f"{one.count:,}") for one in found), default=0)
    return [
        f"{milliseconds(one.low):>9} to {milliseconds(one.high):>9} ms  {one.count:>{counts},}"
        f"  {bar(one.count / most, width)}".rstrip()
        for one in found
    ]


def milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def svg(title: str, series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A picture with a histogram for each series (name, seconds), one above the other."""
    height = _HEIGHT * len(series) + _MARGIN
    look = 'font-family="sans-serif" font-size="12" fill="#333"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {look}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_MARGIN}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(series):
        parts += _bars(name, binned(values), _MARGIN + number * _HEIGHT)
    return "\n".join((*parts, "</svg>\n"))


def _bars(name: str, found: Sequence[Bin], top: int) -> list[str]:
    base, room = top + _HEIGHT - _MARGIN, _HEIGHT - 2 * _MARGIN
    most = max((one.count for one in found), default=1)
    width = (_WIDTH - 2 * _MARGIN) / max(1, len(found))
    parts = [f'<text x="{_MARGIN}" y="{top + 16}">{escape(name)}, ms</text>']
    for n, one in enumerate(found):
        x, tall = _MARGIN + n * width, room * one.count / most
        told = f"{milliseconds(one.low)} to {milliseconds(one.high)} ms: {one.count:,}"
        parts.append(
            f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{width - 2:.1f}" height="{tall:.1f}" fill="#4a7ebb">'
            f"<title>{told}</title></rect>"
        )
        if one.count:
            middle = x + (width - 2) / 2
            parts.append(f'<text x="{middle:.1f}" y="{base - tall - 3:.1f}" text-anchor="middle">{one.count:,}</text>')
        if n % 2 == 0:
            parts.append(f'<text x="{x:.1f}" y="{base + 14}">{milliseconds(one.low)}</text>')
    return [*parts, f'<line x1="{_MARGIN}" y1="{base}" x2="{_WIDTH - _MARGIN}" y2="{base}" stroke="#333"/>']
