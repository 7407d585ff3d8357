"""How long jobs will take, by hand-made histories."""

import pytest

from foreman.core.estimate import ENOUGH, KEPT_SAMPLES, Estimate, History, Sample
from foreman.core.job import Stats

NOTHING = Estimate(None, None, None)


def sample(
    run_ms: int, load_ms: int | None = None, tokens: int | None = None, key: str = "a", model: str = "a"
) -> Sample:
    return Sample(key, model, load_ms, run_ms, tokens, 1)


def test_a_sample_is_the_run_without_the_load() -> None:
    stats = Stats(waited_ms=9, load_ms=4_000, first_byte_ms=50, total_ms=5_500, prompt_tokens=7, output_tokens=30)
    assert Sample.of("a?num_ctx=1", "a", stats, 77) == Sample("a?num_ctx=1", "a", 4_000, 1_500, 30, 77)
    assert Sample.of("a", "a", Stats(total_ms=5), 1) == Sample("a", "a", None, 5, None, 1)


def test_nothing_is_told_before_there_are_three() -> None:
    history = History()
    assert history.estimate("a", "a") == NOTHING
    for seconds in (1, 5, 3):
        assert history.estimate("a", "a") == NOTHING
        history.add(sample(seconds * 1_000))
    assert history.estimate("a", "a") == Estimate(None, 3.0, None)


def test_each_figure_counts_its_own_samples() -> None:
    history = History(
        [sample(1_000, 8_000, 10), sample(2_000, None, 40), sample(4_000, 6_000, None), sample(9_000, 7_000, 90)]
    )
    assert history.estimate("a", "a") == Estimate(7.0, 3.0, 10.0)


def test_a_load_key_falls_back_to_its_model_and_not_to_others() -> None:
    history = History([sample(1_000, 2_000), sample(3_000, 4_000), sample(5_000, None, key="a?num_ctx=1")])
    history.add(sample(60_000, 60_000, key="b", model="b"))
    assert history.estimate("a?num_ctx=2", "a") == Estimate(None, 3.0, None)
    for run_ms in (7_000, 8_000, 9_000):
        history.add(sample(run_ms, key="a?num_ctx=2"))
    assert history.estimate("a?num_ctx=2", "a") == Estimate(None, 8.0, None)
    history.add(sample(5_000, 9_000, key="a?num_ctx=1"))
    assert history.estimate("a?num_ctx=2", "a") == Estimate(4.0, 8.0, None)
    assert history.estimate("b", "b") == NOTHING


def test_old_samples_are_forgotten() -> None:
    history = History([sample(90_000)] * KEPT_SAMPLES)
    for _ in range(KEPT_SAMPLES - 1):
        history.add(sample(1_000))
    assert history.estimate("a", "a").run_seconds == 1.0
    history.add(sample(1_000))
    history.add(sample(1_000, key="a?num_ctx=1"))
    assert history.estimate("x", "a").run_seconds == 1.0


@pytest.mark.parametrize(("tokens", "run_ms"), [(0, 1_000), (None, 1_000), (10, 0)])
def test_a_rate_needs_tokens_and_time(tokens: int | None, run_ms: int) -> None:
    assert History([sample(run_ms, None, tokens)] * ENOUGH).estimate("a", "a").tokens_per_second is None


@pytest.mark.parametrize(
    ("estimate", "with_load", "without"),
    [
        (Estimate(10.0, 2.0, None), 12.0, 2.0),
        (Estimate(None, 2.0, None), None, 2.0),
        (Estimate(10.0, None, None), None, None),
    ],
)
def test_an_unknown_load_matters_only_where_one_is_needed(
    estimate: Estimate, with_load: float | None, without: float | None
) -> None:
    assert (estimate.seconds(loads=True), estimate.seconds(loads=False)) == (with_load, without)
