import pytest

from bench.figures.budget import BUDGET, Line
from bench.figures.record import Record
from bench.figures.spread import Spread
from tests.bench.figures.samples import record

VERDICTS = {
    "added first token of a lone chat after 5 ms, by nginx's": (2.0, "first bar"),
    "the same by the plain aiohttp pass-through's": (2 / 3, "goal"),
    "CPU per streamed chunk (200, 1 ms apart), by nginx's": (2.5, "missed"),
    "CPU per tiny queued job at saturation, by nginx's per request": (2.5, "goal"),
    "dispatch gap at the target, 8 clients": (110.0, "first bar"),
    "delay of a chunk, by nginx's": (1.1, "first bar"),
    "10,000 tiny queued jobs drained, all attached": (2.5, "first bar, not in each round"),
    "memory of each of 10,000 waiting clients": (5.0, "first bar"),
    "claim at 1,000,000 queued, by that at 100": (1.1, "goal"),
    "restart with 100,000 queued until ready": (0.4, "first bar"),
    "/api/tags from the cache, CPU by that of nginx serving the same bytes": (2.5, "first bar"),
    "/v1/models, the same": (2.5, "first bar"),
    "mixed models: loads done by loads needed": (1.0, "goal"),
    "the same across a kill and a restart": (1.5, "missed"),
    "longest pause of the event loop, p99.9": (11.0, "missed"),
}


@pytest.mark.parametrize("line", BUDGET, ids=lambda line: line.figure)
def test_every_line_finds_its_figure(line: Line) -> None:
    found = line.measured(record())
    expected, verdict = VERDICTS[line.figure]
    assert found is not None
    assert found.median == pytest.approx(expected)
    assert line.verdict(found) == verdict


@pytest.mark.parametrize("line", BUDGET, ids=lambda line: line.figure)
def test_a_run_without_its_part_has_no_figure(line: Line) -> None:
    assert line.measured(Record()) is None
    assert line.verdict(None) == "no figure"


def test_a_goal_is_never_easier_than_the_first_bar() -> None:
    assert [line.figure for line in BUDGET if line.first_bar is not None and line.goal > line.first_bar] == []
    assert len(VERDICTS) == len(BUDGET)


def test_a_bar_that_was_missed_in_some_round_is_said_so() -> None:
    line = Line(figure="x", part="overhead", unit="x", first_bar=4.0, goal=2.0, measured=lambda _: None)
    assert line.verdict(Spread(2.0, 1.0, 2.0)) == "goal"
    assert line.verdict(Spread(2.0, 1.0, 3.0)) == "goal, not in each round"
    assert line.verdict(Spread(4.1, 1.0, 5.0)) == "missed"
