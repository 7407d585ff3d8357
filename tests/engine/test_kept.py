"""Which connections are used again, which are not, and what becomes of one that the target has closed."""

import asyncio
import socket
from contextlib import closing

import pytest

from foreman.core.errors import TargetGarbled, TargetLost, TargetUnreachable
from foreman.engine import kept
from foreman.engine.wire import PIECE_BYTES, Wire
from tests.engine.keeping import wire_of
from tests.engine.loops import on_both_loops
from tests.engine.serving import (
    CHUNKED,
    OK,
    PATIENCE,
    SHORT,
    Answer,
    InTurn,
    asked,
    heard,
    payload,
    replying,
    reset_by,
    rest,
    talking_to,
    target_at,
)

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"
OTHER = OK + b"Content-Length: 5\r\n\r\nother"
LAST = OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nlast"
LARGE = bytes(range(256)) * (5 * PIECE_BYTES // 256)


@on_both_loops
async def test_one_connection_carries_one_exchange_after_the_other() -> None:
    server = InTurn(replying(SHORT, CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n\r\n", NO_CONTENT, BUSY, SHORT))
    async with talking_to(server) as target:
        answers = [await asked(target) for _ in range(5)]
    assert answers == [(200, b"ok"), (200, b"ok"), (204, b""), (503, b"no"), (200, b"ok")]
    assert server.connections == 1


@on_both_loops
async def test_two_at_once_have_two_connections_and_both_stay() -> None:
    server = InTurn(replying(SHORT, SHORT), replying(OTHER, OTHER))
    async with talking_to(server) as target:
        for _ in range(2):
            first, second = target.exchange(payload()), target.exchange(payload())
            for exchange in (first, second):
                await exchange.head(PATIENCE)
            assert sorted([await rest(first), await rest(second)]) == [b"ok", b"other"]
    assert server.connections == 2


ENDING = {
    "announced": SHORT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    "HTTP/1.0": SHORT.replace(b"1.1", b"1.0"),
    "a second answer behind it": SHORT + OTHER,
    "half an answer behind it": SHORT + OTHER[:9],
    "garbage behind it": SHORT + b"\x00",
    "more than its length": SHORT + b"ay",
}


@pytest.mark.parametrize("ending", ENDING)
@on_both_loops
async def test_a_connection_that_must_not_be_used_again_is_closed(ending: str) -> None:
    ended = asyncio.Event()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        ended.set()

    server = InTurn(replying(ENDING[ending], then=until_closed), replying(LAST))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        await ended.wait()
        assert await asked(target) == (200, b"last")
    assert server.connections == 2


@on_both_loops
async def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again() -> None:
    server = InTurn(replying(CHUNKED + b"2\r\nok\r\n"), replying(LAST))
    async with talking_to(server) as target:
        exchange = target.exchange(payload())
        await exchange.head(PATIENCE)
        exchange.close()
        assert await asked(target) == (200, b"last")


@on_both_loops
async def test_letting_go_after_the_end_leaves_the_connection_alone() -> None:
    server = InTurn(replying(SHORT, OTHER, SHORT))
    async with talking_to(server) as target:
        first = target.exchange(payload())
        await first.head(PATIENCE)
        await rest(first)
        second = target.exchange(payload())
        assert await first.abort(0.0)
        first.close()
        assert await second.head(PATIENCE) is not None
        assert await first.abort(0.0)
        first.close()
        assert await rest(second) == b"other"
        assert await asked(target) == (200, b"ok")
    assert server.connections == 1


@on_both_loops
async def test_what_comes_while_nobody_asks_ends_the_connection() -> None:
    late = asyncio.Event()

    async def more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await late.wait()
        writer.write(OTHER)
        await reader.read()

    server = InTurn(replying(SHORT, then=more), replying(LAST))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        wire = wire_of(target)
        late.set()
        await wire.closed
        assert await asked(target) == (200, b"last")


@pytest.mark.parametrize("what", [OTHER, b"\r\n", None], ids=["an answer", "an empty line", "the end"])
@on_both_loops
async def test_what_has_come_but_was_not_read_yet_counts_as_well(what: bytes | None) -> None:
    """An answer that nobody asked for would be taken for the answer to the next request."""
    loop = asyncio.get_running_loop()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        async with target_at(f"http://127.0.0.1:{port}") as target:
            exchange = target.exchange(payload())
            first, _ = await loop.sock_accept(listening)
            await loop.sock_recv(first, PIECE_BYTES)
            first.send(SHORT)
            await exchange.head(PATIENCE)
            await rest(exchange)
            with closing(first):
                # From here to the next request the loop has no chance to read.
                if what is None:
                    first.shutdown(socket.SHUT_WR)
                else:
                    first.send(what)
                exchange = target.exchange(payload())
                second, _ = await loop.sock_accept(listening)
            with closing(second):
                await loop.sock_recv(second, PIECE_BYTES)
                second.send(LAST)
                await exchange.head(PATIENCE)
                assert await rest(exchange) == b"last"


@on_both_loops
async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = InTurn(replying(SHORT), replying(LAST))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        wire = wire_of(target)
        monkeypatch.setattr(kept, "IDLE_SECONDS", 0.0)
        assert await asked(target) == (200, b"last")
        await wire.closed


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes at once."""


async def closed_when_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)


async def reset_when_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    reset_by(writer)


STALE = {"while idle": closed, "when asked": closed_when_asked, "by a reset when asked": reset_when_asked}


@pytest.mark.parametrize("body", [b"{}", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("when", STALE)
@on_both_loops
async def test_a_kept_connection_that_was_closed_is_replaced_and_nobody_hears_of_it(when: str, body: bytes) -> None:
    again: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        again.append(await heard(reader))
        writer.write(LAST)

    server = InTurn(replying(SHORT, then=STALE[when]), answer)
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        assert await asked(target, body) == (200, b"last")
    assert server.connections == 2
    assert len(again) == 1
    assert again[0].endswith(b"\r\n\r\n" + body)


@on_both_loops
async def test_a_connection_that_closes_at_the_moment_of_sending_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is under way, and nothing of it can be seen yet."""
    monkeypatch.setattr(Wire, "stirred", False)
    server = InTurn(replying(SHORT, then=closed), replying(LAST))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        wire = wire_of(target)
        assert await asked(target) == (200, b"last")
        assert wire.closed.done()
    assert server.connections == 2


@pytest.mark.parametrize("word", [b"H", SHORT[:20], b"HTTP/1.1 100 Continue\r\n\r\n"])
@on_both_loops
async def test_what_has_begun_to_answer_is_not_asked_again(word: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(word)

    server = InTurn(replying(SHORT, then=answer))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        with pytest.raises(TargetLost):
            await asked(target)
    assert server.connections == 1


@pytest.mark.parametrize("first", [closed_when_asked, reset_when_asked])
@on_both_loops
async def test_a_fresh_connection_is_tried_once(first: Answer) -> None:
    server = InTurn(first, replying(SHORT, then=first), first)
    async with talking_to(server) as target:
        with pytest.raises(TargetLost):
            await asked(target)
        assert server.connections == 1
        assert await asked(target) == (200, b"ok")
        with pytest.raises(TargetLost):
            await asked(target)
    assert server.connections == 3


@on_both_loops
async def test_a_target_that_closes_later_has_had_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "STALE_SECONDS", 0.0)
    server = InTurn(replying(SHORT, then=closed_when_asked))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        with pytest.raises(TargetLost):
            await asked(target)
    assert server.connections == 1


@on_both_loops
async def test_what_is_not_http_is_not_asked_again() -> None:
    server = InTurn(replying(SHORT, b"\x00"))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        with pytest.raises(TargetGarbled):
            await asked(target)
    assert server.connections == 1


@on_both_loops
async def test_where_no_other_connection_can_be_had_the_target_is_unreachable() -> None:
    gone = asyncio.Event()

    async def go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        gone.set()

    connections: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replying(SHORT, then=go)(reader, writer)
        server.close()
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(run(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with target_at("http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())) as target:
        assert await asked(target) == (200, b"ok")
        exchange = target.exchange(payload())
        await gone.wait()
        with pytest.raises(TargetUnreachable):
            await exchange.head(PATIENCE)
        assert exchange.ended
        exchange.close()
    await asyncio.gather(*connections)


@on_both_loops
async def test_a_request_that_was_given_up_is_not_sent_again() -> None:
    reached = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        reached.set()
        await reader.read()

    server = InTurn(replying(SHORT, then=answer))
    async with talking_to(server) as target:
        assert await asked(target) == (200, b"ok")
        exchange = target.exchange(payload())
        await reached.wait()
        assert await exchange.abort(PATIENCE)
        with pytest.raises(TargetLost):
            await exchange.head(PATIENCE)
    assert server.connections == 1
