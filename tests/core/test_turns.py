"""How often the loaded model changes, as the jobs ran and as they arrived."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import turns
from foreman.core.turns import Need, Turns


def need(text: str) -> Need:
    """`a`, or `a4` for the same model with other options."""
    return text[0], (("num_ctx", int(text[1:])),) if text[1:] else ()


def ran(*jobs: tuple[int, str]) -> Turns:
    found = Turns()
    for seq, text in jobs:
        found.ran(seq, need(text))
    return found


def test_the_order_of_arrival_saves_nothing() -> None:
    assert ran((1, "a"), (2, "b"), (3, "a")).saved == {"a": 0, "b": 0}


def test_jobs_that_are_drawn_together_save_the_changes_between_them() -> None:
    found = ran((1, "a"), (3, "a"), (5, "a"), (2, "b"), (4, "b"))
    assert (found.as_run, found.by_arrival) == ({"b": 1}, {"b": 2, "a": 2})
    assert found.saved == {"a": 2, "b": 1}


def test_other_options_are_another_load() -> None:
    assert ran((1, "a"), (3, "a"), (2, "a4")).saved == {"a": 1}


def test_an_order_that_costs_more_shows_as_such() -> None:
    assert sum(ran((1, "a"), (3, "b"), (2, "a"), (4, "b")).saved.values()) == -2


def changes(needs: list[Need]) -> Counter[str]:
    return Counter(after[0] for before, after in pairwise(needs) if before != after)


@given(st.lists(st.sampled_from(["a", "b", "c", "a4"])), st.randoms())
def test_both_orders_are_counted_as_if_written_down(needs: list[str], random: object) -> None:
    jobs = list(enumerate(needs, 1))
    shuffled = list(jobs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = ran(*shuffled)
    assert +found.by_arrival == changes([need(text) for _, text in jobs])
    assert +found.as_run == changes([need(text) for _, text in shuffled])


def test_what_is_older_than_all_that_is_remembered_counts_in_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "REMEMBERED", 4)
    found = ran(*((seq, "ab"[seq % 2]) for seq in range(2, 8)))
    before = Counter(found.by_arrival), Counter(found.as_run)
    assert len(found._arrived) <= 4
    found.ran(1, need("c"))
    assert (found.by_arrival, found.as_run) == before
    found.ran(8, need("c"))
    assert (found.by_arrival["c"], found.as_run["c"]) == (1, 1)
