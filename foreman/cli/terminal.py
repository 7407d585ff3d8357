"""Text on a terminal: how wide it is, cut to a width, painted, and without what would move the cursor."""

import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TextIO

STYLES: Final = {
    "": "",
    "dim": "2",
    "bold": "1",
    "bad": "1;31",
    "good": "32",
    "queued": "2",
    "loading": "33",
    "working": "1;36",
    "done": "32",
    "model0": "35",
    "model1": "34",
    "alarm": "1;97;41",
    "relief": "1;97;42",
}

_WORDS: Final = re.compile(r"\S+\s*|\s+")


class Piece(NamedTuple):
    text: str
    style: str = ""


Line = Sequence[Piece]


def screen_columns(out: TextIO) -> int | None:
    """How wide the terminal is that `out` writes to; None where it is none."""
    return shutil.get_terminal_size().columns if out.isatty() else None


def wants_colour(out: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether paint is welcome there (https://no-color.org)."""
    return out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def printable(text: str) -> str:
    """On one line, without anything that moves the cursor."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())


def harmless(text: str) -> str:
    """As it is but for what would move the cursor; line ends and tabs stay."""
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")


def width(text: str) -> int:
    """Columns the text takes on a terminal."""
    return sum(_columns(sign) for sign in text)


def _columns(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def head(text: str, room: int) -> str:
    """As much of the beginning as fits into so many columns."""
    for index, sign in enumerate(text):
        room -= _columns(sign)
        if room < 0:
            return text[:index]
    return text


def tail(text: str, room: int) -> str:
    """As much of the end as fits, with a mark where something is left out."""
    if width(text) <= room:
        return text
    return "…" + head(text[::-1], room - 1)[::-1]


def clipped(line: Line, columns: int) -> list[Piece]:
    """The line cut to so many columns."""
    kept: list[Piece] = []
    for text, style in line:
        fitting = head(text, columns)
        kept.append(Piece(fitting, style))
        if fitting != text:
            break
        columns -= width(text)
    return kept


def wrapped(line: Line, columns: int, indent: int) -> Iterator[Line]:
    """The line in as many as it takes, broken at blanks; those after the first are set in by so many columns."""
    row: list[Piece] = []
    room = columns
    for text, style in line:
        for word in _WORDS.findall(text):
            if width(word.rstrip()) > room and width("".join(piece.text for piece in row)) > indent:
                yield row
                row, room = [Piece(" " * indent)], columns - indent
            row.append(Piece(head(word, max(room, 0)), style))
            room -= width(word)
    yield row


def paint(line: Line, colour: bool) -> str:
    """The line as a terminal takes it."""
    return "".join(
        f"\x1b[{STYLES[style]}m{text}\x1b[0m" if colour and STYLES[style] and text else text for text, style in line
    )


def writable(text: str, out: TextIO) -> str:
    """Question marks in the place of what the output's encoding does not have."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
