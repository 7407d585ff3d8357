"""Tables and how numbers stand in them, for a terminal and in Markdown. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.figures.spread import Spread

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text. The first column stands to the left, the others to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def filled(self) -> "Table":
        """Without the columns in which nothing stands."""
        kept = [n for n in range(len(self.head)) if n == 0 or any(row[n] != NOTHING for row in self.rows)]
        return Table([self.head[n] for n in kept], [[row[n] for n in kept] for row in self.rows])


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, words, a table, and notes below it. `level` is 2 for a part, 3 inside one."""

    title: str
    words: str = ""
    table: Table | None = None
    notes: tuple[str, ...] = ()
    level: int = 2


def as_text(sections: Iterable[Section]) -> str:
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title.upper() if section.level == 2 else section.title]
        lines += [section.words] if section.words else []
        if section.table is not None:
            lines += ["  " + line for line in _aligned(section.table)]
        lines += [f"  {note}" for note in section.notes]
    return "\n".join(lines[1:])


def as_markdown(sections: Iterable[Section]) -> str:
    blocks: list[str] = []
    for section in sections:
        blocks.append(f"{'#' * section.level} {section.title}")
        blocks += [section.words] if section.words else []
        if section.table is not None:
            head, *rows = (f"| {' | '.join(row)} |" for row in (section.table.head, *section.table.rows))
            rule = "|---" + "|---:" * (len(section.table.head) - 1) + "|"
            blocks.append("\n".join((head, rule, *rows)))
        blocks += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
    return "\n\n".join(blocks) + "\n"


def _aligned(table: Table) -> list[str]:
    rows = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    lines = []
    for row in rows:
        first, *others = (
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join((first, *others)).rstrip())
    return lines


def number(value: float) -> str:
    """Three digits that count."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def median(spread: Spread | None) -> str:
    return NOTHING if spread is None else number(spread.median)


def spread_text(spread: Spread | None) -> str:
    """The median with the least and the most, where there was more than one round."""
    if spread is None or spread.low == spread.high:
        return median(spread)
    return f"{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"
