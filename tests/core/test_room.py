"""Whether a pull fits, and the figures where it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.room import Room, shortage

GB = 10**9
SIZES = st.integers(0, 10**15)


def short(to_come: int, free: int | None, reserve: int = 30 * GB) -> str | None:
    return shortage("phi4:14b", to_come, Room(reserve, "/models", lambda: free))


@pytest.mark.parametrize(
    ("to_come", "free", "fits"),
    [
        (0, 30 * GB, True),
        (0, 30 * GB - 1, False),
        (9 * GB, 39 * GB, True),
        (9 * GB, 39 * GB - 1, False),
        (40 * GB, 80 * GB, True),
        (40 * GB, 80 * GB - 1, False),
    ],
)
def test_the_reserve_stays_and_what_comes_has_room_twice(to_come: int, free: int, fits: bool) -> None:
    assert (short(to_come, free) is None) is fits


def test_the_words_have_all_the_figures() -> None:
    assert short(0, 12 * GB) == (
        "phi4:14b does not fit: 30 GB are kept free (disk_reserve); 12 GB are free in /models, 18 GB too little"
    )
    assert short(9 * GB, 35 * GB) == (
        "phi4:14b does not fit: 9 GB have yet to come, and 30 GB are kept free (disk_reserve); "
        "35 GB are free in /models, 4 GB too little"
    )
    assert short(40 * GB, 75 * GB) == (
        "phi4:14b does not fit: 40 GB have yet to come, and want twice as much while they do; "
        "75 GB are free in /models, 5 GB too little"
    )


def test_a_disk_that_cannot_be_read_holds_nothing() -> None:
    words = short(0, None)
    assert words is not None
    assert "cannot be read" in words


@pytest.mark.parametrize(("to_come", "free", "fits"), [(0, 0, True), (9, 9, True), (9, 8, False), (9, None, True)])
def test_one_that_is_forced_needs_only_what_comes(to_come: int, free: int | None, fits: bool) -> None:
    room = Room(30 * GB, "/models", lambda: None if free is None else free * GB)
    words = shortage("phi4:14b", to_come * GB, room, forced=True)
    assert words == (
        None if fits else "phi4:14b does not fit: 9 GB have yet to come; 8 GB are free in /models, 1 GB too little"
    )


@given(SIZES, st.none() | SIZES)
def test_without_a_reserve_everything_fits(to_come: int, free: int | None) -> None:
    assert short(to_come, free, reserve=0) is None


@given(SIZES, SIZES, st.integers(1, 10**14))
def test_what_fits_leaves_the_reserve(to_come: int, free: int, reserve: int) -> None:
    if short(to_come, free, reserve) is None:
        assert free - to_come >= reserve
        assert free >= 2 * to_come
    else:
        assert free - to_come < reserve or free < 2 * to_come


@given(SIZES, SIZES, st.integers(1, 10**14), SIZES)
def test_what_fits_goes_on_fitting_while_it_comes(to_come: int, free: int, reserve: int, come: int) -> None:
    """What has come has left the disk's free space, and is no longer to come."""
    if come <= to_come and short(to_come, free, reserve) is None:
        assert short(to_come - come, free - come, reserve) is None
