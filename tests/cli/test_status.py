"""One screen: nothing that matters is cut, whatever the names are."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.cli.status import hidden, look, screen
from foreman.cli.terminal import width
from foreman.core.errors import NotReached, Refused
from tests.cli.seen import LATER, job, machine, seen

LONG = "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"


def shown(look: Any, columns: int | None = 80, lines: int | None = 24) -> list[str]:
    return "\n".join(screen(look, columns=columns, lines=lines, colour=False)).split("\n")


def full(waiting: int, model: str = LONG) -> Any:
    queued = [job(f"{n}", position=n, expected_start=3600.0 * n, model=model) for n in range(1, waiting + 1)]
    stats = {"waited_seconds": 3.0, "total_seconds": 61.0, "output_tokens": 100}
    ended = [job(f"E{n}", "cancelled", model=model, stats=stats) for n in range(5)]
    return seen([job("R", "working", model=model)], queued, recent=ended, machine=machine())


def test_with_nothing_to_do_no_table_stands_there() -> None:
    assert not [line for line in shown(seen()) if "ID" in line or line == ""]


@pytest.mark.parametrize("waiting", [0, 1, 3, 40])
def test_it_fits_a_terminal_of_the_usual_size(waiting: int) -> None:
    lines = shown(full(waiting))
    assert len(lines) < 24
    assert max(map(width, lines)) <= 80


def test_only_the_client_is_cut() -> None:
    lines = shown(full(3))
    row = next(line for line in lines if line.startswith("2 "))
    assert row.split()[:2] == ["2", job("2")["id"]]
    assert "Q4_K_M  model is swapped  2h00m  30s" in row
    ended = next(line for line in lines if job("E1")["id"] in line)
    assert "Q4_K_M  30s  3.0s    1m01s  100" in ended


def test_no_line_above_the_tables_is_cut() -> None:
    reading = machine()
    text = "it needs 40 GB beside the 20 GB that others have, and of the 64 GB of this machine 4 GB stay"
    reading["next"] = {"verdict": "hold", "text": text}
    lines = shown(seen(machine=reading))
    assert text in " ".join(" ".join(lines).split())
    assert max(map(width, lines)) <= 80


def test_what_is_not_shown_is_counted() -> None:
    lines = shown(full(40))
    rows = [line for line in lines if re.match(r"(now|[0-9]+) +01M", line)]
    assert f"and {41 - len(rows)} more" in lines
    assert len(shown(full(40), lines=200)) == len(shown(full(40))) + 41 - len(rows) - 1 + 2
    # Jobs that foreman itself did not list.
    assert hidden(seen([job("R", "working")], [job("1")], depth=500), 2) == 499


def test_without_a_terminal_nothing_is_cut() -> None:
    lines = shown(full(2), columns=None, lines=None)
    assert max(map(width, lines)) > 80
    assert sum(line.count(LONG) for line in lines) == 3 + 5 + 1  # with the lane


def test_what_has_its_time_says_when() -> None:
    lines = shown(seen(delayed=[job("D", reason="delayed", not_before=LATER)]), columns=None)
    assert [line.split()[-5:-2] for line in lines if "its time" in line] == [["time", "1h00m", "30s"]]


def test_why_a_job_waits_is_a_word_for_the_gate_tells_the_rest() -> None:
    held = job("H", reason="held", why="it needs 40 GB, and 20 GB are free", hold={"cause": "memory"})
    slowed = job("S", reason="remote_paused", why="429", slowdown={"until": LATER})
    lines = "\n".join(shown(seen(waiting=[held], delayed=[slowed])))
    assert "llama3:latest  is held               -" in lines
    assert "llama3:latest  waits for its remote  1h00m" in lines


@given(st.integers(20, 120), st.integers(1, 60), st.integers(0, 15), st.text(min_size=1, max_size=60))
def test_no_line_is_ever_wider_than_the_screen(columns: int, lines: int, waiting: int, model: str) -> None:
    for line in shown(full(waiting, model), columns, lines):
        assert width(line) <= columns
        assert line.isprintable()


class Told:
    """Stands for the connection to foreman: answers by path."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.asked: list[str] = []

    async def ask(self, _: str, path: str, **__: Any) -> Any:
        self.asked.append(path)
        if path == self.refused:
            raise Refused("the key may not")
        if self.refused == "all":
            raise NotReached("nobody")
        look = full(1)
        return {"/health": look.health, "/queue": look.queue, "/machine": machine(), "/jobs": {"jobs": []}}[path]


async def test_a_look_without_what_a_key_may_not_see() -> None:
    assert (await look(Told())).machine == machine()  # type: ignore[arg-type]
    assert (await look(Told("/machine"))).machine is None  # type: ignore[arg-type]
    with pytest.raises(Refused):
        await look(Told("/queue"))  # type: ignore[arg-type]
    with pytest.raises(NotReached):
        await look(Told("all"))  # type: ignore[arg-type]
