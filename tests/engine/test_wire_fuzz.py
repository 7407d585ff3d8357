"""Answers that are broken in every way: nothing comes of them but an end, and no byte that was not in them."""

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.corpus import CONTINUE, CORPUS, End, Made
from tests.engine.hearing import Heard, asked, cut_at, feed, linked
from tests.engine.serving import CHUNKED, OK, SHORT

SEEDS = tuple(case.raw for case in CORPUS.values() if len(case.raw) <= 1000)
FRAGMENTS = st.sampled_from(
    (
        *(OK, SHORT, CHUNKED, CONTINUE, b"\r\n", b"\n", b"\r", b"\x00", b" ", b":", b";", b",", b"0", b"2", b"f", b"-"),
        *(b"0\r\n\r\n", b"2\r\nok\r\n", b"HTTP/1.0 204 N\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n"),
        *(b"X: y\r\n", b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Upgrade: x\r\n", b"Connection: upgrade\r\n", b"HTTP/1.1 101 S\r\n"),
    )
)
PLACES = st.integers(0, 1000)


@dataclass(frozen=True)
class Change:
    """At `place`, `gone` bytes make way for others."""

    place: int
    gone: int
    new: bytes

    def of(self, raw: bytes) -> bytes:
        at = self.place % (len(raw) + 1)
        return raw[:at] + self.new + raw[at + self.gone :]


CHANGES = st.lists(
    st.builds(Change, PLACES, st.sampled_from((0, 0, 1, 2, 5, 20)), FRAGMENTS | st.binary(max_size=4)), max_size=5
)
ANSWERS = st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2).map(b"".join)


def contains(raw: bytes, body: bytes) -> bool:
    """Whether the bytes of `body` are in `raw`, in their order."""
    left = iter(raw)
    return all(byte in left for byte in body)


def hear(pieces: list[bytes]) -> Heard:
    """Let the pieces arrive and the target close; what is refused must be closed before that."""
    wire, line = linked()
    heard = asked(wire)
    feed(wire, line, pieces, closes=False)
    assert line.closed or heard.end in (None, End.WHOLE)
    if wire.reusable and heard.end is End.WHOLE:
        again = asked(wire)
        feed(wire, line, [SHORT], closes=False)
        assert again.made == Made(End.WHOLE, 200, b"ok")
    if not line.closed:
        wire.connection_lost(None)
    assert wire.closed.done()
    return heard


@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(answer=ANSWERS, changes=CHANGES, cuts=st.lists(PLACES, max_size=6))
def test_a_broken_answer_has_one_end_however_it_arrives(
    *, answer: bytes, changes: list[Change], cuts: list[int]
) -> None:
    raw = answer
    for change in changes:
        raw = change.of(raw)

    async def run() -> None:
        at_once, in_pieces = hear([raw] if raw else []), hear(cut_at(raw, cuts))
        assert at_once.made == in_pieces.made
        assert at_once.headers == in_pieces.headers
        assert contains(raw, at_once.body)

    asyncio.run(run())
