"""Values sorted into steps."""

from hypothesis import given
from hypothesis import strategies as st

from foreman.core.spread import LONG, MEDIUM, SHORT, Spread

INFINITY = float("inf")


def test_a_bound_is_the_largest_value_of_its_step() -> None:
    spread = Spread((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        spread.add(value)
    assert list(spread.up_to()) == [(1.0, 2), (2.0, 4), (INFINITY, 5)]
    assert (spread.count, spread.sum) == (5, 8.0)


@given(st.lists(st.floats(0, 1e6)))
def test_it_counts_what_is_no_larger(values: list[float]) -> None:
    spread = Spread(LONG)
    for value in values:
        spread.add(value)
    assert dict(spread.up_to()) == {bound: sum(v <= bound for v in values) for bound in (*LONG, INFINITY)}


def test_the_bounds_rise_and_waits_reach_over_night() -> None:
    assert all(list(bounds) == sorted(set(bounds)) for bounds in (LONG, MEDIUM, SHORT))
    assert LONG[-1] >= 12 * 3600
