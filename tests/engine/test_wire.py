"""What the wire makes of an answer, whatever it is and however it arrives."""

import random

import pytest

from foreman.engine.wire import HEAD_BYTES, PIECE_BYTES, Wire
from tests.engine.corpus import CORPUS, End, Made
from tests.engine.hearing import Heard, Line, asked, cut_at, feed, linked
from tests.engine.serving import CHUNKED, OK, SHORT

# Of an answer longer than this not every byte can be a piece of its own.
SHORT_ENOUGH = 4096


def check(name: str, pieces: list[bytes]) -> None:
    case = CORPUS[name]
    wire, line = linked()
    heard = asked(wire)
    feed(wire, line, pieces, closes=case.closes)
    assert heard.made == case.made
    assert wire.reusable is case.again
    assert line.closed or case.closes or case.made.end is End.WHOLE
    if case.again:
        again = asked(wire)
        feed(wire, line, [SHORT], closes=False)
        assert again.made == Made(End.WHOLE, 200, b"ok")


@pytest.mark.parametrize("name", CORPUS)
async def test_in_one_piece(name: str) -> None:
    check(name, [CORPUS[name].raw])


@pytest.mark.parametrize("name", CORPUS)
async def test_byte_by_byte(name: str) -> None:
    raw = CORPUS[name].raw
    step = 1 if len(raw) <= SHORT_ENOUGH else 997
    check(name, cut_at(raw, range(0, len(raw), step)))


@pytest.mark.parametrize("name", CORPUS)
async def test_in_two_pieces_cut_at_every_byte(name: str) -> None:
    raw = CORPUS[name].raw
    for place in range(1, min(len(raw), 500)):
        check(name, cut_at(raw, [place]))


@pytest.mark.parametrize("name", CORPUS)
async def test_in_random_pieces(name: str) -> None:
    raw, chance = CORPUS[name].raw, random.Random(name)
    for count in (2, 3, 5, 8, 13):
        check(name, cut_at(raw, [chance.randrange(len(raw) + 1) for _ in range(count)]))
