"""How long jobs will take, by hand-made histories and by the sums said the plain way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.estimate import ENOUGH, KEPT_SAMPLES, Estimate, History, Sample, expected_starts
from foreman.core.job import Hot, Stats
from foreman.core.order import Reason, Waiting, drain_order

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


def queue(*keys: str) -> list[Waiting]:
    return [Waiting(seq, key.partition("?")[0], key) for seq, key in enumerate(keys, 1)]


KNOWN = [sample(2_000, 10_000)] * 3 + [sample(3_000, 20_000, key="b", model="b")] * 3
OPTIONS = [sample(4_000, key="a?num_ctx=1")] * 3


def test_starts_are_sums_of_loads_and_runs() -> None:
    places = list(drain_order(queue("a", "b", "a", "a?num_ctx=1", "b"), Hot(("a",), ("a",))))
    assert [place.waiting.seq for place in places] == [1, 3, 4, 2, 5]
    reload, swap = 10 + 4, 20 + 3
    starts = [1.5, 1.5 + 2, 1.5 + 4, 1.5 + 4 + reload, 1.5 + 4 + reload + swap]
    assert expected_starts(places, 1.5, History(KNOWN + OPTIONS)) == starts


def test_from_the_first_unknown_on_nothing_is_told() -> None:
    places = list(drain_order(queue("a", "c", "a", "b"), Hot(("a",), ("a",))))
    assert [place.waiting.load_key for place in places] == ["a", "a", "c", "b"]
    assert expected_starts(places, 0.0, History(KNOWN)) == [0.0, 2.0, 4.0, None]
    assert expected_starts(places, None, History(KNOWN)) == [None] * 4
    assert expected_starts([], 3.0, History(KNOWN)) == []


def test_an_unknown_load_matters_only_where_one_is_needed() -> None:
    history = History([sample(2_000)] * 3)
    queued = queue("a", "a", "a")
    assert expected_starts(drain_order(queued, Hot(("a",))), 0.0, history) == [0.0, 2.0, 4.0]
    assert expected_starts(drain_order(queued, Hot()), 0.0, history) == [0.0, None, None]


SAMPLES = st.builds(
    lambda key, load, run: Sample(key, key[0], load, run, None, 1),
    st.sampled_from(("a", "a?num_ctx=1", "b", "c")),
    st.none() | st.integers(1, 60_000),
    st.integers(0, 60_000),
)


@given(
    st.lists(SAMPLES, max_size=30),
    st.lists(st.sampled_from(("a", "a?num_ctx=1", "a?num_ctx=2", "b", "c")), max_size=12),
    st.none() | st.floats(0, 1e6),
)
def test_starts_grow_until_they_are_unknown(samples: list[Sample], keys: list[str], left: float | None) -> None:
    history = History(samples)
    places = list(drain_order(queue(*keys), Hot()))
    starts = expected_starts(places, left, history)
    assert len(starts) == len(places)
    if places:
        assert starts[0] == left
    for place, (start, following) in zip(places, pairwise(starts), strict=False):
        estimate = history.estimate(place.waiting.load_key, place.waiting.model)
        load = 0.0 if place.reason is Reason.LOADED else estimate.load_seconds
        if start is None or load is None or estimate.run_seconds is None:
            assert following is None
        else:
            assert following == start + load + estimate.run_seconds
