"""The bar of a pull or a create: figures, and that it fits the screen."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.cli.pulltext import Rate, Steps, amount, bar_line, figures, place_line
from foreman.cli.terminal import width
from foreman.core.progress import Layer, Progress

GB = 10**9


def at(completed: int, total: int, status: str = "pulling 6a0746a1ec1a") -> Progress:
    progress = Progress()
    progress.status = status
    progress.layers["a"] = Layer(total, completed)
    return progress


def text(progress: Progress, rate: float | None = None, model: str = "llama3:70b", columns: int = 79) -> str:
    return "".join(piece.text for piece in bar_line(model, progress, rate, columns))


def test_the_bar() -> None:
    line = text(at(10 * GB, 40 * GB), 85e6, columns=76)
    assert line == "llama3:70b  #####----------------   25%  10 GB of 40 GB, 85 MB/s, 5m53s left"


def test_what_has_no_size_shows_its_step() -> None:
    assert text(Progress()) == "llama3:70b  "
    assert text(at(5, 5, "verifying sha256 digest")) == "llama3:70b  verifying sha256 digest"


def test_each_step_and_each_tenth_is_a_line() -> None:
    steps, progress = Steps(), Progress()

    def told(line: dict[str, object]) -> str:
        progress.feed(orjson.dumps(line) + b"\n")
        return steps.line("mine", progress, None)

    part: dict[str, object] = {"status": "quantizing", "digest": "0", "total": 4_000_000}
    assert told({"status": "parsing GGUF"}) == "mine: parsing GGUF"
    assert told(part) == ""
    assert told({**part, "completed": 1_000_000}) == "mine: 20%, 1 MB of 4 MB"
    assert told({**part, "completed": 1_100_000}) == ""
    assert told({**part, "completed": 4_000_000}) == "mine: 100%, 4 MB of 4 MB"
    assert told({"status": "writing\x1b[2J"}) == "mine: writing[2J"


@given(
    st.text(min_size=1, max_size=60),
    st.integers(1, 10**13),
    st.floats(0, 1, allow_nan=False),
    st.none() | st.floats(1, 1e10),
)
def test_it_fits_an_ordinary_screen(model: str, total: int, part: float, rate: float | None) -> None:
    progress = at(min(int(total * part), total - 1), total)
    assert width(text(progress, rate, model)) <= 100
    assert "\n" not in text(progress, rate, model)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 kB"), (2_999, "3 kB"), (85_400_000, "85 MB"), (4_700_000_000, "4.7 GB"), (40e9, "40 GB")]
)
def test_amounts(size: float, words: str) -> None:
    assert amount(size) == words


def test_the_place_in_the_line() -> None:
    def line(**fields: object) -> str:
        job = {"state": "queued", "position": 2, "reason": "pull", "expected_start": None, **fields}
        return "".join(piece.text for piece in place_line("phi4", job, 3.0))

    assert line() == "phi4  queued  position 2  3.0s"
    assert line(reason="paused") == "phi4  queued  position 2, queue is paused  3.0s"
    assert line(expected_start=90.0) == "phi4  queued  position 2, starts in about 1m30s  3.0s"
    assert line(state="loading", position=None) == "phi4  loading  3.0s"


def test_figures_say_what_is_known() -> None:
    assert figures(at(GB, 4 * GB), None) == "1 GB of 4 GB"
    assert figures(at(GB, 4 * GB), 10**8) == "1 GB of 4 GB, 100 MB/s, 30s left"
    assert figures(at(4 * GB, 4 * GB), 10**8) == "4 GB of 4 GB"


def test_the_rate_is_that_of_the_last_moments() -> None:
    rate = Rate()
    rate.note(0.0, 5 * GB)  # what was there before
    rate.note(0.1, 9 * GB)
    assert rate.per_second is None
    for second in range(1, 40):
        rate.note(float(second), 9 * GB + second * 10**8)
    assert rate.per_second == pytest.approx(10**8)
    for second in range(40, 55):
        rate.note(float(second), 13 * GB + (second - 40) * 10**6)
    assert rate.per_second == pytest.approx(10**6)


def test_where_nothing_comes_there_is_no_rate() -> None:
    rate = Rate()
    for second in range(5):
        rate.note(float(second), GB)
    assert rate.per_second is None
