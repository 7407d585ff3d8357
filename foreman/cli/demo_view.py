"""What a person sees of the demo: a board that is redrawn in place on a terminal, plain lines anywhere else.

The board is lines of styled pieces, made by pure functions; a line is cut to the width of the screen before it is
painted, so it never wraps. A frame is one write, and lines are overwritten, not erased first, so nothing flickers.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Protocol, TextIO

from foreman.cli.demo_clients import Chat
from foreman.cli.terminal import STYLES, Line, Piece, clipped, paint, printable, tail, width, writable

WIDTH: Final = 79
ANSWER_COLUMNS: Final = 29


@dataclass(frozen=True, slots=True)
class Board:
    """One moment. `order` is the chats as the target got them, `answer_tokens` the length of a whole answer;
    `foreman` is where it runs, empty while it is dead."""

    chats: Sequence[Chat]
    models: Sequence[str]
    answer_tokens: int
    order: Sequence[int]
    loads: int
    fifo_loads: int
    foreman: str


class View(Protocol):
    def event(self, text: str) -> None:
        """Something happened; the line stays."""

    def banner(self, text: str, style: str) -> None:
        """Something happened that nobody may miss."""

    def show(self, board: Board) -> None:
        """How things are now."""

    def close(self) -> None:
        """Leave the screen as it was found."""


def view_for(out: TextIO, environ: Mapping[str, str], seconds: Callable[[], float]) -> View:
    """A live screen on a terminal that can do it and is high enough, plain lines otherwise."""
    colour = not environ.get("NO_COLOR")
    if out.isatty() and environ.get("TERM", "dumb") != "dumb" and shutil.get_terminal_size().lines >= 22:
        return Screen(out, seconds, colour)
    return Plain(out, seconds)


class Plain:
    """A line for each thing that happens."""

    def __init__(self, out: TextIO, seconds: Callable[[], float]) -> None:
        self._out = out
        self._seconds = seconds
        self._shown: dict[int, str] = {}

    def event(self, text: str) -> None:
        self._write(f"{self._seconds():6.1f}s  {text}")

    def banner(self, text: str, style: str) -> None:  # noqa: ARG002
        self._write(f"\n{'=' * WIDTH}\n{self._seconds():6.1f}s  {text}\n{'=' * WIDTH}\n")

    def show(self, board: Board) -> None:
        for chat in sorted(board.chats, key=lambda chat: chat.state != "done"):
            doing = _doing(chat)
            if doing != self._shown.get(chat.number, ""):
                self._shown[chat.number] = doing
                self.event(f"chat {chat.number:>2}  {chat.kind:<6}  {chat.model:<9}  {chat.job[-6:]:<6}  {doing}")

    def close(self) -> None:
        """Nothing was changed."""

    def _write(self, text: str) -> None:
        print(writable(text, self._out), file=self._out, flush=True)


def _doing(chat: Chat) -> str:
    if chat.state == "done":
        return f"done, {chat.tokens} tokens" + (", kept: its client was cut off" if chat.error else "")
    return chat.state


class Screen:
    """Events scroll by above, the board stays below them and is redrawn in place."""

    def __init__(self, out: TextIO, seconds: Callable[[], float], colour: bool) -> None:
        self._out = out
        self._seconds = seconds
        self._colour = colour
        self._height = 0
        self._board: list[Line] = []
        self._write("\x1b[?25l")

    def event(self, text: str) -> None:
        self._draw([[Piece(f"{self._seconds():6.1f}s  ", "dim"), Piece(text)]])

    def banner(self, text: str, style: str) -> None:
        mark = "  " if self._colour else "=="
        words = f"{mark} {self._seconds():.1f}s  {text} "
        self._draw([[], [Piece(words + mark[0] * max(0, WIDTH - width(words)), style)], []])

    def show(self, board: Board) -> None:
        self._board = board_lines(board)
        self._draw([])

    def close(self) -> None:
        self._write("\x1b[?25h")

    def _draw(self, above: Iterable[Line]) -> None:
        """One frame: back to the top of the board, new events, the board again."""
        columns = min(WIDTH, shutil.get_terminal_size().columns - 1)
        lines = [paint(clipped(line, columns), self._colour) + "\x1b[K\n" for line in (*above, *self._board)]
        up = f"\x1b[{self._height}F" if self._height else ""
        self._height = len(self._board)
        self._write(up + "".join(lines))

    def _write(self, text: str) -> None:
        self._out.write(writable(text, self._out))
        self._out.flush()


def board_lines(board: Board) -> list[Line]:
    """The whole board, as high for every moment of one demo."""
    head = f"  {'#':>2}  {'client':<6}  {'model':<9}  {'job':<6}  {'state':<7}  {'tokens':>6}  answer"
    return [
        [],
        [Piece(head, "bold")],
        *(_chat_line(chat, board) for chat in board.chats),
        [],
        [Piece("  foreman      ", "bold"), Piece(board.foreman) if board.foreman else Piece("DEAD", "bad")],
        _order_line(board),
        [Piece("  model loads  ", "bold"), Piece("foreman     "), *_bar(board.loads, "good")],
        [Piece(" " * 15), Piece("plain FIFO  "), *_bar(board.fifo_loads, "bad")],
    ]


def _chat_line(chat: Chat, board: Board) -> Line:
    state = "calling" if not chat.state else chat.state
    tokens = f"{chat.tokens}/{board.answer_tokens}" if chat.tokens else ""
    return [
        Piece(f"  {chat.number:>2}  {chat.kind:<6}  "),
        Piece(f"{chat.model:<9}", _model_style(board, chat.model)),
        Piece(f"  {chat.job[-6:]:<6}  ", "dim"),
        Piece(f"{state:<7}", _state_style(state)),
        Piece(f"  {tokens:>6}  "),
        _answer(chat, alive=bool(board.foreman)),
    ]


def _answer(chat: Chat, *, alive: bool) -> Piece:
    if chat.error:
        going = "job goes on" if alive else "job kept"
        job = {"queued": "job kept", "done": "answer kept"}.get(chat.state, going)
        return Piece(f"client cut off, {job}", "good" if chat.state == "done" else "bad")
    return Piece(tail(printable(chat.text), ANSWER_COLUMNS), "dim" if chat.ended else "")


def _order_line(board: Board) -> Line:
    models = {chat.number: chat.model for chat in board.chats}
    pieces = [Piece("  worked off   ", "bold")]
    for model, numbers in groupby(board.order, key=models.__getitem__):
        pieces.append(Piece(f"{model} {' '.join(map(str, numbers))}  ", _model_style(board, model)))
    return pieces


def _bar(count: int, style: str) -> tuple[Piece, Piece]:
    return Piece("■ " * count, style), Piece(str(count), "bold")


def _model_style(board: Board, model: str) -> str:
    return f"model{board.models.index(model) % 2}"


def _state_style(state: str) -> str:
    return state if state in STYLES else "bad" if state in ("failed", "cancelled") else "dim"
