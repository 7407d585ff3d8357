"""How many jobs are queued under each load key, whatever is heard of first."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.job import Hot
from foreman.engine.depth import Depth

KEYS = ("a:latest", "a:latest?num_ctx=1", "b:latest")


def added(*keys: str) -> Depth:
    depth = Depth()
    for key in keys:
        depth.add(key.partition("?")[0], key)
    return depth


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.booleans())))
def test_it_is_a_sum_in_any_order(changes: list[tuple[str, bool]]) -> None:
    depth, counts = Depth(), Counter[str]()
    for key, queued in changes:
        (depth.add if queued else depth.remove)(key.partition("?")[0], key)
        counts[key] += 1 if queued else -1
        assert {key: depth.of(key) for key in KEYS} == {key: counts[key] for key in KEYS}
        assert depth.total == counts.total()
        # A claim that was heard of before its submit makes nobody wait less, and no other job less visible.
        assert [depth.wants(key) for key in KEYS] == [counts[key] > 0 for key in KEYS]
        assert depth.matches(Hot(KEYS, ())) is any(count > 0 for count in counts.values())
        assert 0 not in depth.counts.values()
    shown = Counter[str]()
    for key, count in counts.items():
        if count > 0:
            shown[key.partition("?")[0]] += count
    assert depth.by_model() == shown


def test_the_start_counts_what_is_there() -> None:
    depth = added("b:latest")
    depth.fill({("a:latest", KEYS[1]): 2, ("a:latest", KEYS[0]): 1})
    assert ([depth.of(key) for key in KEYS], depth.total) == ([1, 2, 0], 3)
    depth.remove("a:latest", KEYS[1])
    assert ([depth.of(key) for key in KEYS], depth.total) == ([1, 1, 0], 2)


def test_the_longest_queue_is_shown_first() -> None:
    assert list(added("b:latest", *KEYS[:2], KEYS[0]).by_model().items()) == [("a:latest", 3), ("b:latest", 1)]


@pytest.mark.parametrize(
    ("hot", "matches"),
    [
        (Hot(), False),
        (Hot((KEYS[1],), ()), True),
        (Hot((KEYS[0],), ()), False),
        (Hot((), ("a:latest",)), True),
        (Hot((KEYS[2],), ("b:latest",)), False),
    ],
)
def test_no_swap_is_needed_for_the_model_that_is_loaded_with_whatever_options(hot: Hot, *, matches: bool) -> None:
    assert added(KEYS[1]).matches(hot) is matches
