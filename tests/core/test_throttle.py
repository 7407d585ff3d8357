"""The room at an upstream: never none, never too much, fast down and slowly up."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.throttle import Throttle, retry_after

NOW = 1_700_000_000.0


def test_being_told_to_wait_halves_it_and_pauses() -> None:
    throttle = Throttle(8)
    throttle.slow_down(10.0, 9.0, 5.0, "status_429")
    assert (throttle.limit, throttle.paused(14.9), throttle.paused(15.0)) == (4, True, False)


def test_what_was_under_way_together_is_one_lesson() -> None:
    throttle = Throttle(8)
    for _ in range(8):
        throttle.slow_down(10.0, 9.0, 5.0, "status_429")
    assert throttle.limit == 4
    throttle.slow_down(20.0, 16.0, 1.0, "status_429")
    assert throttle.limit == 2


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    throttle = Throttle(8)
    throttle.slow_down(10.0, 9.0, 60.0, "status_429")
    throttle.slow_down(11.0, 9.0, 1.0, "status_429")
    assert throttle.paused(69.0)


def test_as_many_answers_as_there_is_room_for_widen_it_by_about_one() -> None:
    throttle = Throttle(8)
    throttle.slow_down(10.0, 9.0, 0.0, "status_429")
    limits = []
    for _ in range(40):
        throttle.answered()
        limits.append(throttle.limit)
    assert limits[:4] == [4, 4, 4, 4]
    assert limits == sorted(limits)
    assert limits[-1] == 8
    assert limits.index(8) > 20


@given(st.integers(1, 50), st.lists(st.booleans(), max_size=200))
def test_there_is_always_room_for_one_and_never_for_more_than_all(slots: int, steps: list[bool]) -> None:
    throttle, now = Throttle(slots), 0.0
    for up in steps:
        now += 1.0
        throttle.answered() if up else throttle.slow_down(now, now, 0.5, "status_429")
        assert 1 <= throttle.limit <= slots


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), None),
        ((("retry-after", "7"),), 7.0),
        ((("retry-after", "0.5"),), 0.5),
        ((("retry-after-ms", "1500"), ("retry-after", "9")), 1.5),
        ((("retry-after", "-3"),), 0.0),
        ((("retry-after", "nan"),), 0.0),
        ((("retry-after", "inf"),), float("inf")),
        ((("retry-after", "soon"),), None),
        ((("retry-after", formatdate(NOW + 90, usegmt=True)),), 90.0),
        ((("retry-after", formatdate(NOW - 90, usegmt=True)),), 0.0),
    ],
)
def test_a_wait_is_read_from_a_number_or_a_date(headers: tuple[tuple[str, str], ...], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_what_slowed_it_down_is_remembered_until_it_has_all_of_its_room_again() -> None:
    throttle = Throttle(2)
    throttle.slow_down(10.0, 9.0, 5.0, "remote_unreachable")
    throttle.slow_down(20.0, 19.0, 5.0, "status_429", 3.0)
    assert (throttle.since, throttle.cause, throttle.asked) == (10.0, "status_429", 3.0)
    throttle.answered()
    assert (throttle.cause, throttle.asked) == ("", None)
    throttle.slow_down(30.0, 29.0, 5.0, "status_503")
    assert throttle.since == 30.0
