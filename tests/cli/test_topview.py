"""What top shows and what its keys mean, without a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.cli.terminal import width
from foreman.cli.topview import KEYS, Act, View, keys_in
from tests.cli.seen import job, machine, seen

ONE, TWO, THREE = (job(name)["id"] for name in "123")


def view(*names: str, rows: int = 24) -> View:
    return View(seen(waiting=[job(name) for name in names]), rows=rows)


def screen(of: View) -> str:
    return "\n".join(of.lines(colour=False))


def test_the_keys_among_what_was_typed() -> None:
    typed = b"\x1b[A\x1b[Bjk\x1bOA\x1bOBcy\x03\x1b[5~q"
    assert list(keys_in(typed)) == ["up", "down", "down", "up", "up", "down", "c", "y", "\x03", "\x1b[5~", "q"]


@given(st.binary(max_size=64))
def test_whatever_is_typed_is_understood_or_ignored(typed: bytes) -> None:
    of = view("1", "2")
    for key in keys_in(typed):
        act = of.press(key)
        assert act is None or act.path.startswith(("/jobs/", "/queue/"))
    assert screen(of)


def test_choosing_goes_from_the_first_to_the_last() -> None:
    of = view("1", "2", "3")
    chosen = []
    for key in ("down", "down", "up", "down", "down", "down", "up", "up", "up"):
        of.press(key)
        chosen.append(of.chosen)
    assert chosen == [ONE, TWO, ONE, TWO, THREE, THREE, TWO, ONE, ONE]
    assert [line.split()[:3] for line in screen(of).splitlines() if line.startswith(">")] == [[">", "1", ONE]]


def test_with_no_job_there_is_no_table_and_nothing_to_choose() -> None:
    of = view()
    of.press("down")
    assert (of.chosen, "ID" in screen(of)) == ("", False)
    assert of.press("c") is None
    assert (of.asking, "choose a job first" in screen(of)) == ("", True)


@pytest.mark.parametrize(("left", "chosen"), [("13", THREE), ("1", ONE), ("", ""), ("123", TWO), ("32", TWO)])
def test_who_is_chosen_and_ends_has_a_neighbour(left: str, chosen: str) -> None:
    of = view("1", "2", "3")
    of.chosen = TWO
    of.see(seen(waiting=[job(name) for name in left]))
    assert of.chosen == chosen


def test_a_job_is_cancelled_after_a_question() -> None:
    of = view("1", "2")
    of.press("down")
    assert of.press("c") is None
    assert f"cancel llama3:latest {ONE}? y or n" in screen(of)
    assert of.press("y") == Act("DELETE", f"/jobs/{ONE}", f"job {ONE} is cancelled")
    assert of.asking == ""


@pytest.mark.parametrize("key", ["n", "q", "c", "p", "down", "\x1b", " "])
def test_whatever_is_not_yes_is_no_and_nothing_else(key: str) -> None:
    of = view("1", "2")
    of.press("down")
    of.press("c")
    assert of.press(key) is None
    assert (of.asking, of.ended, of.chosen) == ("", False, ONE)


def test_what_is_asked_about_a_job_that_ends_is_asked_of_no_other() -> None:
    of = view("1", "2")
    of.press("down")
    of.press("c")
    of.see(seen(waiting=[job("2")]))
    assert (of.asking, of.chosen) == ("", TWO)
    assert f"job {ONE} has left the screen, nothing was cancelled" in screen(of)
    assert of.press("y") is None


def test_pause_and_resume_are_one_key() -> None:
    of = view()
    act = of.press("p")
    assert act is not None
    assert act[:2] == ("POST", "/queue/pause")
    of.see(seen(paused=True))
    assert "paused" in screen(of).splitlines()[0]
    act = of.press("p")
    assert act is not None
    assert act[:2] == ("POST", "/queue/resume")


@pytest.mark.parametrize(("key", "ended"), [("q", True), ("\x03", True), ("\x04", True), ("Q", False), ("\x1b", False)])
def test_what_ends_it(key: str, ended: bool) -> None:
    of = view("1")
    of.press(key)
    assert of.ended is ended


def test_ctrl_c_ends_it_also_at_a_question() -> None:
    of = view("1")
    of.press("down")
    of.press("c")
    of.press("\x03")
    assert of.ended


def test_trouble_is_told_until_there_is_news_and_beside_what_a_key_came_to() -> None:
    of = view("1")
    of.trouble = "foreman does not answer"
    assert "foreman does not answer" in screen(of)
    of.see(seen())
    assert "foreman does not answer" not in screen(of)


def test_the_last_line_are_the_keys_and_the_screen_is_full() -> None:
    lines = view("1", rows=30).lines(colour=False)
    assert (len(lines), lines[-1]) == (30, KEYS)


def test_where_not_all_fit_what_is_hidden_is_counted_and_cannot_be_chosen() -> None:
    of = View(seen(waiting=[job(f"{n}") for n in range(40)], machine=machine()), rows=20)
    for _ in range(50):
        of.press("down")
    assert of.chosen == of.jobs()[-1]
    assert f">  1  {of.chosen}" in screen(of)
    assert f"and {40 - len(of.jobs())} more" in screen(of)


@given(st.integers(20, 120), st.integers(2, 50), st.integers(0, 40))
def test_the_screen_is_never_larger_than_the_terminal(columns: int, rows: int, waiting: int) -> None:
    jobs = [job(f"{n}") for n in range(waiting)]
    of = View(seen([job("R", "working")], jobs, recent=[job("E", "done")]), columns=columns, rows=rows)
    of.press("down")
    lines = of.lines(colour=False)
    assert len(lines) == rows
    assert all(width(line) <= columns and line.isprintable() for line in lines)
