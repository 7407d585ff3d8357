"""The pictures of the demo: widths, cuts, colours, and that no line can wrap."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.cli.demo_clients import Chat
from foreman.cli.demo_view import (
    WIDTH,
    Board,
    Plain,
    Screen,
    board_lines,
    view_for,
)
from foreman.cli.terminal import Piece, clipped, paint, printable, tail, width

ESCAPES = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")


def board(chat: Chat, foreman: str = "process 1, http://127.0.0.1:1") -> Board:
    return Board((chat,), ("m", "n"), 40, (1,), 1, 12, foreman)


def chat(**fields: object) -> Chat:
    made = Chat(1, "ollama", "m", "01JABCDEFGHJKMNPQRSTVWXYZ0", "working", 3, "one two three")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def text_of(shown: Board) -> str:
    return "\n".join("".join(piece.text for piece in line) for line in board_lines(shown))


@given(st.text(), st.integers(0, 60))
def test_a_tail_fits_and_is_the_end_of_the_text(text: str, room: int) -> None:
    cut = tail(text, room + 1)
    assert width(cut) <= room + 1
    assert cut == text or (cut.startswith("…") and text.endswith(cut[1:]))


@given(st.lists(st.text(), max_size=5), st.integers(0, 100))
def test_a_clipped_line_is_no_wider_than_the_screen(texts: list[str], columns: int) -> None:
    line = clipped([Piece(text) for text in texts], columns)
    assert sum(width(piece.text) for piece in line) <= columns
    assert "".join(texts).startswith("".join(piece.text for piece in line))


@given(st.text())
def test_printable_text_moves_no_cursor(text: str) -> None:
    assert all(sign.isprintable() for sign in printable(text))


def test_wide_signs_count_twice_and_marks_not_at_all() -> None:
    assert [width(text) for text in ("abc", "日本語", "🙂", "e\u0301", "größe")] == [3, 6, 2, 1, 5]


@pytest.mark.parametrize("text", ["日本語 " * 40, "x" * 200, "\x1b[2J\r\n\t" * 20, ""])
def test_no_line_of_the_board_is_wider_than_80_columns(text: str) -> None:
    for line in board_lines(board(chat(text=text))):
        assert sum(width(piece.text) for piece in line) <= WIDTH
        assert "\n" not in "".join(piece.text for piece in line)


@pytest.mark.parametrize(
    ("fields", "foreman", "shown"),
    [
        ({"state": "", "tokens": 0, "job": ""}, "here", "calling"),
        ({"state": "queued", "error": "cut"}, "", "client cut off, job kept"),
        ({"state": "working", "error": "cut"}, "", "client cut off, job kept"),
        ({"state": "working", "error": "cut"}, "here", "client cut off, job goes on"),
        ({"state": "done", "error": "cut"}, "here", "client cut off, answer kept"),
        ({"state": "working"}, "", "DEAD"),
        ({"state": "working"}, "here", "3/40  one two three"),
        ({"state": "working"}, "here", "XYZ0  working"),
    ],
)
def test_the_board_says_how_each_chat_is(fields: dict[str, object], foreman: str, shown: str) -> None:
    assert shown in text_of(board(chat(**fields), foreman))


def test_the_board_is_as_high_in_every_moment() -> None:
    heights = {len(board_lines(board(chat(state=state), foreman))) for state in ("", "done") for foreman in ("", "x")}
    assert len(heights) == 1


def test_colours_are_only_painted_where_they_are_wanted() -> None:
    line = [Piece("a", "bad"), Piece("b")]
    assert (paint(line, colour=True), paint(line, colour=False)) == ("\x1b[1;31ma\x1b[0mb", "ab")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def _high_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


@pytest.mark.usefixtures("_high_terminal")
@pytest.mark.parametrize("environ", [{"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_a_screen_draws_over_its_board_and_gives_the_cursor_back(environ: dict[str, str]) -> None:
    out = Terminal()
    view = view_for(out, environ, lambda: 1.0)
    view.show(board(chat()))
    first = out.getvalue()
    view.banner("KILL -9", "alarm")
    view.show(board(chat()))
    second = out.getvalue().removeprefix(first)
    view.close()
    height = len(board_lines(board(chat())))
    assert second.count(f"\x1b[{height}F") == 2
    assert "KILL -9" in second
    assert out.getvalue().startswith("\x1b[?25l")
    assert out.getvalue().endswith("\x1b[?25h")
    colours = {code for code in ESCAPES.findall(out.getvalue()) if code.endswith("m")}
    assert bool(colours) is ("NO_COLOR" not in environ)
    assert max(width(line) for line in ESCAPES.sub("", out.getvalue()).splitlines()) <= WIDTH


@pytest.mark.parametrize(
    ("out", "environ", "lines"),
    [(io.StringIO(), {"TERM": "xterm"}, 24), (Terminal(), {"TERM": "dumb"}, 24), (Terminal(), {"TERM": "xterm"}, 10)],
)
def test_without_a_capable_terminal_there_are_plain_lines(
    out: io.StringIO, environ: dict[str, str], lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", str(lines))
    monkeypatch.setenv("COLUMNS", "80")
    view = view_for(out, environ, lambda: 1.0)
    assert isinstance(view, Plain)


@pytest.mark.usefixtures("_high_terminal")
def test_plain_lines_tell_each_change_once_and_hold_no_escapes() -> None:
    out = io.StringIO()
    view = Plain(out, lambda: 1.0)
    for state in ("queued", "queued", "working", "working", "done"):
        view.show(board(chat(state=state)))
    assert [line.split()[-3:] for line in out.getvalue().splitlines()] == [
        ["m", "VWXYZ0", "queued"],
        ["m", "VWXYZ0", "working"],
        ["done,", "3", "tokens"],
    ]
    assert "\x1b" not in out.getvalue()


@pytest.mark.usefixtures("_high_terminal")
def test_what_an_encoding_lacks_is_replaced() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Screen(out, lambda: 1.0, colour=False).event("日本 ■")
    assert b"?? ?" in raw.getvalue()
