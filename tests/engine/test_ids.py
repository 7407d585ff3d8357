"""Ids sort by when they were made, and say nothing of one another."""

import itertools

from ulid import ULID

from foreman.engine.ids import new_id


def test_an_id_is_a_ulid_of_its_millisecond() -> None:
    made = new_id(1_700_000_000_123)
    assert ULID.from_str(made).milliseconds == 1_700_000_000_123
    assert new_id(1_700_000_000_122) < made < new_id(1_700_000_000_124)


def test_ids_of_one_millisecond_are_far_apart() -> None:
    numbers = sorted(int(ULID.from_str(new_id(5))) for _ in range(1000))
    assert all(after - before > 1 << 40 for before, after in itertools.pairwise(numbers))
