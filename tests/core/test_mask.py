"""The secret is never let out, wherever it is cut, and all else is, at once where it can be."""

from hypothesis import given
from hypothesis import strategies as st

from foreman.core.mask import Mask

SECRET = b"sk-abcab"


def through(pieces: list[bytes]) -> bytes:
    mask = Mask(SECRET)
    return b"".join([*map(mask.feed, filter(None, pieces)), mask.feed(b"")])


def test_stars_stand_in_its_place() -> None:
    assert through([b"key sk-abcab!"]) == b"key ********!"
    assert Mask(SECRET).text("Bearer sk-abcab") == "Bearer ********"


def test_what_cannot_be_it_is_let_out_at_once() -> None:
    mask = Mask(SECRET)
    assert mask.feed(b"data: x\n\n") == b"data: x\n\n"
    assert mask.feed(b"ends in sk-a") == b"ends in "
    assert mask.feed(b"pple") == b"sk-apple"


@given(st.lists(st.sampled_from([b"s", b"k", b"-", b"a", b"b", b"c", b"sk-", b"abcab", SECRET, b"x"]), max_size=30))
def test_it_never_gets_through_and_nothing_else_is_lost(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    got = through(pieces)
    assert SECRET not in got
    assert len(got) == len(whole)
    assert got == whole.replace(SECRET, b"*" * len(SECRET))
