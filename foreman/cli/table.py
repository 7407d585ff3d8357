"""Tables and figures for people: columns that line up, durations and times in few signs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from foreman.cli.terminal import Line, Piece, clipped, paint, printable, tail, width

Cell = str | Piece

# The column that gives way where a table is too wide, and what it keeps.
YIELDING: Final = "MODEL"
LEAST: Final = 12
# The last one is left out where no more of it could be read.
SENSIBLE: Final = 8


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], *, columns: int | None, colour: bool) -> str:
    """Lines with a heading each column wide enough; cut to `columns` where that is known.

    Names of models are shortened before anything is cut but the last column, which may be left out.
    """
    lines: list[list[Piece]] = [[Piece(text, "bold") for text in head]]
    lines += [[_piece(cell) for cell in row] for row in rows]
    widths = [max(width(piece.text) for piece in column) for column in zip(*lines, strict=True)]
    if columns is not None and YIELDING in head:
        at = head.index(YIELDING)
        room = columns - sum(widths[:-1]) - 2 * len(widths[:-1])
        # With the last one its gap goes as well.
        widths[at] = max(widths[at] + min(room + 2, 0), min(widths[at], LEAST))
        for line in lines:
            line[at] = Piece(tail(line[at].text, widths[at]), line[at].style)
        if room < min(widths[-1], SENSIBLE):
            widths, lines = widths[:-1], [line[:-1] for line in lines]
    return "\n".join(_line(line, widths, columns, colour) for line in lines)


def _piece(cell: Cell) -> Piece:
    return Piece(printable(cell)) if isinstance(cell, str) else Piece(printable(cell.text), cell.style)


def _line(line: Sequence[Piece], widths: Sequence[int], columns: int | None, colour: bool) -> str:
    padded: list[Piece] = []
    for number, (piece, room) in enumerate(zip(line, widths, strict=True)):
        padded.append(piece)
        if number < len(widths) - 1:
            padded.append(Piece(" " * (room - width(piece.text) + 2)))
    kept: Line = padded if columns is None else clipped(padded, columns)
    return paint(kept, colour).rstrip()


def duration(seconds: float | None) -> str:
    """0.4s, 12s, 3m05s, 2h10m, 4d03h; a dash where nothing is known."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def age(text: str | None, now: datetime) -> str:
    """How long ago a time of foreman's was."""
    at = moment(text)
    return "-" if at is None else duration((now - at).total_seconds())


def local(text: str | None) -> str:
    """A time of foreman's on the clock of who reads it."""
    at = moment(text)
    return "-" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def count(number: object) -> str:
    return "-" if number is None else f"{number}"
