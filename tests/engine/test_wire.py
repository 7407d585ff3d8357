"""What the wire makes of an answer, whatever it is and however it arrives."""

import random
from dataclasses import replace

import pytest

from foreman.core.errors import TargetLost
from foreman.engine.wire import HEAD_BYTES, Wire
from tests.engine.corpus import CORPUS, End, Made
from tests.engine.hearing import Heard, asked, cut_at, feed, linked
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
    for place in range(1, len(raw), 1 if len(raw) <= SHORT_ENOUGH else 9973):
        check(name, cut_at(raw, [place]))


@pytest.mark.parametrize("name", CORPUS)
async def test_in_random_pieces(name: str) -> None:
    raw, chance = CORPUS[name].raw, random.Random(name)
    for count in (2, 3, 5, 8, 13):
        check(name, cut_at(raw, [chance.randrange(len(raw) + 1) for _ in range(count)]))


async def test_a_head_is_told_with_its_own_headers_and_no_others() -> None:
    wire, line = linked()
    heard = asked(wire)
    head = OK + b"X-A:  1 \r\nx-a: 2\r\nX-Empty:\r\nX-Raw: \xff\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + head + b"0\r\nX-Sum: 3\r\n\r\n"
    feed(wire, line, [raw], closes=False)
    assert heard.headers == (
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-empty", ""),
        ("x-raw", "\udcff"),
        ("transfer-encoding", "chunked"),
    )


async def test_a_body_is_told_as_it_comes() -> None:
    wire, line = linked()
    heard = asked(wire)
    bodies = []
    for piece in (CHUNKED, b"1\r\na\r\n2\r\nbc", b"\r\n3\r\n", b"def\r\n0\r\n", b"\r\n"):
        feed(wire, line, [piece], closes=False)
        bodies.append((heard.body, heard.end))
    assert bodies == [(b"", None), (b"abc", None), (b"abc", None), (b"abcdef", None), (b"abcdef", End.WHOLE)]


async def test_each_answer_has_limits_of_its_own() -> None:
    wire, line = linked()
    much = b"X: y\r\n" * (HEAD_BYTES // 9)
    for _ in range(3):
        heard = asked(wire)
        feed(wire, line, [OK + much + CHUNKED[len(OK) :], b"2\r\nok\r\n0\r\n", much, b"\r\n"], closes=False)
        assert heard.made == Made(End.WHOLE, 200, b"ok")


@pytest.mark.parametrize(("more", "end"), [(0, End.WHOLE), (1, End.CUT)])
async def test_the_limit_on_trailers_is_exact_where_they_come_alone(more: int, end: End) -> None:
    wire, line = linked()
    heard = asked(wire)
    trailers = b"0\r\nX: %b\r\n\r\n" % (b"y" * (HEAD_BYTES - 10 + more))
    feed(wire, line, [CHUNKED, b"2\r\nok\r\n", trailers], closes=False)
    assert heard.made == Made(end, 200, b"ok")


async def test_what_is_around_the_pieces_of_a_body_may_be_more_than_the_limit_together() -> None:
    wire, line = linked()
    heard = asked(wire)
    feed(wire, line, [CHUNKED, *[b"1;%b\r\nx\r\n" % (b"y" * 1000)] * 200, b"0\r\n\r\n"], closes=False)
    assert heard.made == Made(End.WHOLE, 200, b"x" * 200)


@pytest.mark.parametrize("name", [name for name, case in CORPUS.items() if case.closes])
async def test_a_connection_that_breaks_ends_no_answer_whole(name: str) -> None:
    case = CORPUS[name]
    wire, line = linked()
    heard = asked(wire)
    feed(wire, line, [case.raw] if case.raw else [], closes=False)
    wire.connection_lost(ConnectionResetError())
    assert heard.made == replace(case.made, end=End.LOST if case.made.status is None else End.CUT)


async def test_what_foreman_closes_itself_is_no_whole_answer() -> None:
    for give_up in (Wire.abort, Wire.half_close):
        wire, line = linked()
        heard = asked(wire)
        feed(wire, line, [OK + b"\r\nok"], closes=False)
        give_up(wire)
        wire.connection_lost(None)
        assert heard.made == Made(End.CUT, 200, b"ok")


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    for before in (False, True):
        wire, line = linked()
        if before:
            asked(wire)
            feed(wire, line, [SHORT], closes=False)
        assert wire.reusable
        wire.data_received(b"\r\n")
        assert line.closed
        assert not wire.reusable


async def test_only_the_answer_at_hand_counts_as_heard() -> None:
    wire, line = linked()
    heard = []
    for _ in range(2):
        asked(wire)
        heard.append(wire.heard)
        for piece in (SHORT[:1], SHORT[1:]):
            feed(wire, line, [piece], closes=False)
            heard.append(wire.heard)
    assert heard == [False, True, True] * 2
    assert wire.sent == 2


async def test_nothing_is_sent_on_a_connection_that_is_gone() -> None:
    wire, line = linked()
    wire.connection_lost(None)
    with pytest.raises(TargetLost):
        asked(wire)
    unconnected = Wire()
    with pytest.raises(TargetLost):
        asked(unconnected)
    assert unconnected.stirred
    assert line.sent == b""


async def test_an_answer_before_the_request_has_left_ends_the_connection() -> None:
    wire, line = linked()
    heard = asked(wire)
    line.unsent = 1
    feed(wire, line, [SHORT], closes=False)
    assert heard.made == Made(End.WHOLE, 200, b"ok")
    assert line.closed
    assert not wire.reusable


async def test_a_request_is_sent_as_it_is() -> None:
    wire, line = linked()
    wire.send(b"head", b"body", Heard())
    assert line.sent == b"headbody"
    assert repr(wire) == "<Wire busy, 1 requests>"
