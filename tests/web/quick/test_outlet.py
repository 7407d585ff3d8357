"""How an answer is written: its framing, what leaves together, and what waits for a client that does not read."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from aiohttp import web

from foreman.core.errors import JobFailed
from foreman.core.headers import Headers
from foreman.engine.relay import Budget, Head, Reader, Relay
from foreman.web.quick.outlet import QuickOutlet, head_of

COMMON = b"Server: foreman\r\n"
TYPED: Headers = (("content-type", "text/x"),)
SIZED: Headers = (*TYPED, ("content-length", "6"))
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\nTransfer-Encoding: chunked\r\nServer: foreman\r\n\r\n"
SIZED_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 6\r\nServer: foreman\r\n\r\n"
T = TypeVar("T")


class Sink(asyncio.Transport):
    """A connection that keeps what is written, piece by piece, and says once it is `full` that it was enough."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.full: int | None = None
        self.outlet: QuickOutlet | None = None

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes.append(data)
        if len(self.writes) == self.full and self.outlet is not None:
            self.outlet.hold(True)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def opened(*, held: bool = False) -> tuple[Sink, QuickOutlet]:
    sink = Sink()
    sink.outlet = QuickOutlet(sink, COMMON, held=held)
    return sink, sink.outlet


def relayed(*chunks: bytes) -> tuple[Relay, Reader]:
    relay = Relay(Budget(1 << 20))
    relay.begin(Head(200, ()))
    for chunk in chunks:
        relay.feed(chunk)
    return relay, relay.reader()


def unnoted(chunk: bytes) -> None:
    assert chunk


async def waiting(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has gone as far as it can."""
    task = asyncio.create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_the_head_leaves_with_the_first_chunk_and_the_end_alone() -> None:
    sink, outlet = opened()
    await outlet.begin(200, TYPED)
    assert sink.writes == []
    assert (outlet.begun, outlet.sized, outlet.whole) == (True, False, False)
    await outlet.write(b"0123456789abcdef")
    await outlet.write(b"g")
    await outlet.end()
    assert sink.writes == [CHUNKED_HEAD + b"10\r\n0123456789abcdef\r\n", b"1\r\ng\r\n", b"0\r\n\r\n"]
    assert (outlet.whole, sink.closed) == (True, False)


async def test_an_answer_without_a_byte_is_one_write() -> None:
    sink, outlet = opened()
    await outlet.begin(200, TYPED)
    await outlet.end()
    assert sink.writes == [CHUNKED_HEAD + b"0\r\n\r\n"]


async def test_an_empty_piece_does_not_end_an_answer() -> None:
    sink, outlet = opened()
    await outlet.begin(200, TYPED)
    await outlet.write(b"")
    await outlet.write(b"")
    await outlet.write(b"a")
    assert sink.writes == [CHUNKED_HEAD, b"1\r\na\r\n"]


async def test_an_answer_with_a_length_has_no_frames() -> None:
    sink, outlet = opened()
    await outlet.begin(200, SIZED)
    assert outlet.sized
    await outlet.write(b"abc")
    await outlet.write(b"def")
    await outlet.end()
    assert b"".join(sink.writes) == SIZED_HEAD + b"abcdef"
    assert sink.writes[0] == SIZED_HEAD + b"abc"
    assert outlet.whole


@pytest.mark.parametrize(("status", "reason"), [(204, b"No Content"), (304, b"Not Modified")])
async def test_an_answer_that_has_no_body_is_its_head(status: int, reason: bytes) -> None:
    sink, outlet = opened()
    await outlet.begin(status, ())
    await outlet.end()
    assert sink.writes == [b"HTTP/1.1 %d %b\r\nServer: foreman\r\n\r\n" % (status, reason)]
    assert outlet.whole


@pytest.mark.parametrize(("status", "line"), [(599, b"HTTP/1.1 599 \r\n"), (404, b"HTTP/1.1 404 Not Found\r\n")])
def test_a_head_has_the_usual_words_where_there_are_any(status: int, line: bytes) -> None:
    assert head_of(status, (), b"") == line + b"\r\n"


def test_what_came_as_bytes_leaves_as_the_same_bytes() -> None:
    value = b"caf\xc3\xa9 \xff".decode("utf-8", "surrogateescape")
    assert head_of(200, (("x-a", value),), COMMON) == b"HTTP/1.1 200 OK\r\nx-a: caf\xc3\xa9 \xff\r\n" + COMMON + b"\r\n"


async def test_every_chunk_is_one_write_at_the_moment_it_is_fed() -> None:
    sink, outlet = opened()
    relay, reader = relayed()
    noted: list[bytes] = []
    await outlet.begin(200, TYPED)
    relaying = await waiting(outlet.relay(reader, noted.append, None))
    assert sink.writes == []
    relay.feed(b"one")
    assert sink.writes == [CHUNKED_HEAD + b"3\r\none\r\n"]
    relay.feed(b"two")
    assert sink.writes[1:] == [b"3\r\ntwo\r\n"]
    assert noted == [b"one", b"two"]
    relay.finish()
    assert await relaying is True
    await outlet.end()
    assert sink.writes[2:] == [b"0\r\n\r\n"]


async def test_what_is_noted_is_noted_before_it_leaves() -> None:
    sink, outlet = opened()
    _, reader = relayed(b"one")
    seen: list[int] = []
    await outlet.begin(200, TYPED)
    assert await outlet.relay(reader, lambda _: seen.append(len(sink.writes)), 0.001) is False
    assert seen == [0]


async def test_between_two_chunks_something_else_can_be_said() -> None:
    sink, outlet = opened()
    relay, reader = relayed(b"one")
    await outlet.begin(200, TYPED)
    assert await outlet.relay(reader, unnoted, 0.001) is False
    await outlet.write(b" ")
    relay.feed(b"two")
    relay.finish()
    assert await outlet.relay(reader, unnoted, 0.001) is True
    assert sink.writes[1:] == [b"1\r\n \r\n", b"3\r\ntwo\r\n"]


async def test_what_the_reader_raises_comes_through() -> None:
    sink, outlet = opened()
    relay, reader = relayed(b"half")
    error = JobFailed("cut")
    relay.finish(error)
    await outlet.begin(200, TYPED)
    with pytest.raises(JobFailed) as caught:
        await outlet.relay(reader, unnoted, None)
    assert caught.value is error
    assert sink.writes == [CHUNKED_HEAD + b"4\r\nhalf\r\n"]


@pytest.mark.parametrize(
    ("headers", "first", "written"),
    [
        (TYPED, b"abc", [CHUNKED_HEAD + b"3\r\nabc\r\n", b"1\r\n!\r\n"]),
        (TYPED, b"", [CHUNKED_HEAD + b"1\r\n!\r\n"]),
        (SIZED, b"abc", [SIZED_HEAD + b"abc"]),
        (SIZED, b"", [SIZED_HEAD]),
    ],
)
async def test_a_break_has_last_words_where_there_is_room_and_never_an_end(
    headers: Headers, first: bytes, written: list[bytes]
) -> None:
    sink, outlet = opened()
    await outlet.begin(200, headers)
    if first:
        await outlet.write(first)
    await outlet.break_off(b"!")
    assert sink.writes == written
    assert (outlet.whole, sink.closed) == (False, True)


async def test_who_is_gone_is_written_nothing() -> None:
    sink, outlet = opened()
    await outlet.begin(200, TYPED)
    outlet.give_up()
    assert (sink.writes, sink.closed, outlet.whole) == ([], True, False)


async def test_a_connection_that_is_closing_is_written_nothing() -> None:
    sink, outlet = opened()
    relay, reader = relayed(b"one")
    await outlet.begin(200, TYPED)
    relaying = await waiting(outlet.relay(reader, unnoted, None))
    sink.close()
    relay.feed(b"two")
    relay.finish()
    assert await relaying is True
    await outlet.end()
    await outlet.break_off(b"!")
    outlet.send(web.Response())
    assert len(sink.writes) == 1


async def test_an_answer_that_is_no_jobs_is_one_write() -> None:
    sink, outlet = opened()
    outlet.send(web.Response(status=404, headers={"X-A": "1"}, body=b"{}", content_type="application/json"))
    (answer,) = sink.writes
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert (first, body) == (b"HTTP/1.1 404 Not Found", b"{}")
    assert sorted(lines) == [b"Content-Length: 2", b"Content-Type: application/json", b"Server: foreman", b"X-A: 1"]
    assert (outlet.begun, outlet.whole) == (True, True)


# -- a client that does not read


async def test_who_does_not_read_holds_its_own_answer_back_and_no_feed() -> None:
    sink, outlet = opened()
    relay, reader = relayed(b"one")
    await outlet.begin(200, TYPED)
    relaying = await waiting(outlet.relay(reader, unnoted, 60))
    outlet.hold(True)
    relay.feed(b"two")
    relay.feed(b"three")
    relay.finish()
    assert len(sink.writes) == 1
    assert not relaying.done()
    outlet.hold(False)
    assert sink.writes[1:] == [b"8\r\ntwothree\r\n"]
    assert await relaying is True


async def test_what_is_full_while_it_is_written_takes_no_more_until_it_has_room() -> None:
    sink, outlet = opened()
    relay, reader = relayed()
    await outlet.begin(200, TYPED)
    sink.full = 2
    relaying = await waiting(outlet.relay(reader, unnoted, None))
    for chunk in (b"one", b"two", b"three"):
        relay.feed(chunk)
    relay.finish()
    assert len(sink.writes) == 2
    sink.full = 3
    outlet.hold(False)
    assert len(sink.writes) == 3
    assert await relaying is True
    ending = await waiting(outlet.end())
    assert not ending.done()
    outlet.hold(False)
    await ending


async def test_who_did_not_read_the_answer_before_gets_the_next_when_it_does() -> None:
    sink, outlet = opened(held=True)
    _, reader = relayed(b"one")
    await outlet.begin(200, TYPED)
    relaying = await waiting(outlet.relay(reader, unnoted, 60))
    assert sink.writes == []
    outlet.hold(False)
    assert sink.writes == [CHUNKED_HEAD + b"3\r\none\r\n"]
    relaying.cancel()


async def test_writing_waits_for_room_after_each_piece() -> None:
    sink, outlet = opened(held=True)
    await outlet.begin(200, TYPED)
    writing = await waiting(outlet.write(b"a"))
    assert len(sink.writes) == 1
    assert not writing.done()
    outlet.hold(False)
    await writing


async def test_an_answer_is_over_when_there_is_room_for_another() -> None:
    sink, outlet = opened()
    await outlet.begin(200, SIZED)
    outlet.hold(True)
    ending = await waiting(outlet.end())
    assert sink.writes == [SIZED_HEAD]
    assert not ending.done()
    outlet.hold(False)
    outlet.hold(True)
    await asyncio.sleep(0)
    assert not ending.done()
    outlet.hold(False)
    await ending
    assert outlet.whole
