import pytest

from bench.figures.spread import Spread, percentile, ratio


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.9, 0.99, 1.0)] == [1.0, 50.0, 90.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_spread_is_the_median_between_the_least_and_the_most() -> None:
    assert Spread.of([9.0, 1.0, 4.0]) == Spread(4.0, 1.0, 9.0)
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_a_ratio_is_formed_round_by_round() -> None:
    assert ratio([8.0, 32.0, 4.0], [4.0, 4.0, 2.0]) == Spread(2.0, 2.0, 8.0)


@pytest.mark.parametrize("base", [[1.0, 0.0], [1.0, -2.0], []])
def test_a_ratio_to_nothing_is_none(base: list[float]) -> None:
    assert ratio([1.0, 1.0][: len(base)], base) is None
