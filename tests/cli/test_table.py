"""Tables line up whatever stands in them, and durations are short."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.cli.table import age, duration, local, table
from foreman.cli.terminal import width

CELLS = st.text(max_size=12).map(lambda text: text.replace("|", ""))


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6))
def test_columns_begin_at_one_place_in_every_line(rows: list[tuple[str, str]]) -> None:
    marked = [(f"|{left}", f"|{right}") for left, right in rows]
    lines = table(("|A", "|B"), marked, columns=None, colour=False).split("\n")
    assert len(lines) == len(rows) + 1
    assert {line.count("|") for line in lines} == {2}
    assert len({width(line[: line.rindex("|")]) for line in lines}) == 1


@given(st.lists(st.text(max_size=40), min_size=2, max_size=2), st.integers(1, 60))
def test_no_line_is_wider_than_the_screen_and_none_moves_the_cursor(row: list[str], columns: int) -> None:
    for line in table(("A", "B"), [row], columns=columns, colour=False).split("\n"):
        assert width(line) <= columns
        assert line.isprintable()


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (None, "1  a-model-of-many-letters:1b  3s  a-client/1.0"),
        (46, "1  a-model-of-many-letters:1b  3s  a-client/1"),
        (42, "1  a-model-of-many-letters:1b  3s"),
        (30, "1  …el-of-many-letters:1b  3s"),
        (20, "1  …-letters:1b  3s"),
    ],
)
def test_the_model_is_shortened_before_anything_is_cut_but_the_last(columns: int | None, row: str) -> None:
    rows = [("1", "a-model-of-many-letters:1b", "3s", "a-client/1.0")]
    shown = table(("#", "MODEL", "AGE", "CLIENT"), rows, columns=columns, colour=False).split("\n")
    assert shown[1].split() == row.split()
    assert ("CLIENT" in shown[0]) is (row.count("client") == 1)


def test_wide_signs_count_twice() -> None:
    lines = table(("NAME", "X"), [("日本語", "1"), ("abc", "2")], columns=None, colour=False).split("\n")
    assert lines == ["NAME    X", "日本語  1", "abc     2"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (-3, "0.0s"), (0, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"),
        (59.6, "1m00s"), (61, "1m01s"), (3599.6, "1h00m"), (3660, "1h01m"), (86_399.6, "1d00h"), (90_000, "1d01h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_times_of_foreman() -> None:
    now = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)
    assert age("2026-01-31T12:00:00.000Z", now) == "30s"
    assert (age(None, now), local(None)) == ("-", "-")
    assert local("2026-01-31T12:00:00.000Z") == now.replace(second=0).astimezone().strftime("%Y-%m-%d %H:%M:%S")
