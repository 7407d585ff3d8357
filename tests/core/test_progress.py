"""What progress lines say together, however they are cut."""

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.progress import LINE_BYTES, Layer, Progress


def said(*lines: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


def part(digest: str, total: int, completed: int | None = None) -> dict[str, Any]:
    line: dict[str, Any] = {"status": f"pulling {digest}", "digest": digest, "total": total}
    return line if completed is None else {**line, "completed": completed}


PULLED = said(
    {"status": "pulling manifest"},
    part("a", 100),
    part("a", 100, 60),
    part("a", 100, 100),
    part("b", 7, 7),
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
)


def fed(*chunks: bytes) -> Progress:
    progress = Progress()
    for chunk in chunks:
        progress.feed(chunk)
    return progress


def test_the_whole_is_the_sum_of_the_layers_that_are_known() -> None:
    progress = fed(said({"status": "pulling manifest"}))
    assert (progress.total, progress.to_come, progress.status) == (0, 0, "pulling manifest")
    progress.feed(said(part("a", 100), part("a", 100, 60)))
    assert (progress.total, progress.completed, progress.to_come) == (100, 60, 40)
    progress.feed(said(part("b", 7)))
    assert (progress.total, progress.completed, progress.to_come) == (107, 60, 47)
    assert progress.layers == {"a": Layer(100, 60), "b": Layer(7, 0)}


def test_layers_without_a_digest_go_by_their_status() -> None:
    progress = fed(said({"status": "pulling model", "total": 10, "completed": 3}))
    assert (progress.total, progress.to_come) == (10, 7)


def test_the_end() -> None:
    assert fed(PULLED).succeeded
    assert not fed(PULLED[:-20]).succeeded
    failed = fed(said({"status": "pulling manifest"}, {"error": "no such file"}))
    assert (failed.succeeded, failed.error) == (False, "no such file")


def test_what_is_kept_is_the_last_line_on_each_step() -> None:
    assert fed(PULLED).summary == said(
        {"status": "pulling manifest"},
        part("a", 100, 100),
        part("b", 7, 7),
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    )
    assert fed(PULLED, PULLED).summary == fed(PULLED).summary


@given(st.lists(st.integers(0, len(PULLED)), max_size=12))
def test_where_the_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(PULLED)]
    progress, out = Progress(), []
    for start, end in itertools.pairwise(edges):
        out.append(progress.feed(PULLED[start:end]))
    assert b"".join(out) == PULLED
    assert all(lines.endswith(b"\n") for lines in out if lines)
    assert (progress.summary, progress.rest()) == (fed(PULLED).summary, b"")


@pytest.mark.parametrize(
    ("rest", "given_out"),
    [
        (b'{"status":"success"}', True),
        (b'{"error":"no"}', True),
        (b'{"status":"pulling manifest"}', False),
        (b'{"status":"succ', False),
        (b"", False),
    ],
)
def test_a_line_without_an_end_is_given_out_only_where_it_is_the_last_word(rest: bytes, given_out: bool) -> None:
    progress = fed(rest)
    assert progress.rest() == (rest if given_out else b"")
    assert progress.rest() == b""


@given(st.binary(max_size=200))
def test_nothing_a_target_says_breaks_it(junk: bytes) -> None:
    progress = Progress()
    out = progress.feed(junk)
    assert junk.startswith(out)
    progress.rest()
    assert 0 <= progress.completed <= progress.total


@pytest.mark.parametrize("total", [-1, 0, "9", None, 1.5, []])
def test_a_size_that_is_none_counts_nothing(total: object) -> None:
    assert fed(said({"status": "x", "digest": "d", "total": total, "completed": 3})).total == 0


@pytest.mark.parametrize(("completed", "counted"), [(-5, 0), (0, 0), (9, 9), (11, 10)])
def test_more_than_all_never_comes(completed: int, counted: int) -> None:
    assert fed(said(part("a", 10, completed))).completed == counted


def test_a_line_without_an_end_is_not_gathered_for_ever() -> None:
    progress = Progress()
    assert progress.feed(b"x" * LINE_BYTES) == b""
    assert len(progress.feed(b"x")) == LINE_BYTES + 1


def test_a_step_that_counts_is_told_from_one_that_does_not() -> None:
    manifest, written = {"status": "pulling manifest"}, {"status": "writing manifest"}
    work = {"status": "quantizing", "digest": "000", "total": 7, "completed": 3}
    assert [fed(said(*lines)).counting for lines in ([manifest], [part("a", 9)], [work], [work, written])] == [
        False,
        True,
        True,
        False,
    ]
