"""Wrong keys by address: how many are free, for how long one waits, and that no flood of addresses fills the memory."""

import pytest

from foreman.core.failures import ADDRESSES, FREE, WINDOW_SECONDS, Failures


def failed(address: str = "10.0.0.1", count: int = FREE, at: float = 100.0) -> Failures:
    failures = Failures()
    for _ in range(count):
        failures.note(address, at)
    return failures


def test_the_last_free_one_says_that_it_was_the_last() -> None:
    failures = Failures()
    assert [failures.note("10.0.0.1", 100.0 + n) for n in range(FREE)] == [False] * (FREE - 1) + [True]
    assert failures.wait("10.0.0.1", 110.0) == 51
    assert failures.wait("10.0.0.2", 110.0) is None


@pytest.mark.parametrize(("after", "wait"), [(0.0, 61), (59.5, 1), (WINDOW_SECONDS, None), (1e9, None)])
def test_waiting_ends_a_minute_after_the_first(after: float, wait: int | None) -> None:
    assert failed().wait("10.0.0.1", 100.0 + after) == wait


def test_slow_mistakes_are_none() -> None:
    failures = Failures()
    assert not any(failures.note("10.0.0.1", 7.0 * n) for n in range(1000))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
        ("no address", "10.0.0.1", False),
    ],
)
def test_a_subscriber_is_one_however_many_addresses_he_has(one: str, other: str, same: bool) -> None:
    assert (failed(one).wait(other, 100.0) is not None) is same


def test_memory_is_bounded_and_the_newest_stay() -> None:
    failures = failed("10.0.0.1")
    for n in range(ADDRESSES):
        failures.note(f"10.1.{n // 256}.{n % 256}", 100.0)
    assert len(failures) == ADDRESSES
    assert failures.wait("10.0.0.1", 100.0) is None
