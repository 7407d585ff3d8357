"""How bytes flow on a kept connection: back-pressure both ways, giving up in every phase, and a target that stops."""

import asyncio

import pytest

from foreman.core.errors import TargetCut, TargetLost, TargetSilent
from foreman.engine.kept import HIGH_BYTES
from foreman.engine.wire import PIECE_BYTES
from tests.engine.flowing import MUCH, Flood, Phase, begun, until_closed, wire_of
from tests.engine.loops import on_both_loops
from tests.engine.serving import (
    CHUNKED,
    OK,
    PATIENCE,
    SHORT,
    InTurn,
    asked,
    heard,
    replying,
    rest,
    talking_to,
    until,
)

# What a loop reads at once.
READ_BYTES = 256 * 1024


@on_both_loops
async def test_a_reader_that_does_not_read_holds_the_target_back() -> None:
    flood = Flood()
    async with talking_to(flood) as target:
        exchange = begun(target)
        await exchange.head(PATIENCE)
        transport = (await wire_of(exchange))._transport
        assert transport is not None
        await until(lambda: not transport.is_reading())
        for _ in range(1000):
            await asyncio.sleep(0)
        assert HIGH_BYTES < exchange._waiting_bytes <= HIGH_BYTES + READ_BYTES
        assert flood.sent < MUCH
        size = 0
        while chunk := await exchange.read(PATIENCE):
            assert len(chunk) <= HIGH_BYTES + READ_BYTES
            size += len(chunk)
        assert size == MUCH
        assert exchange.ended


@on_both_loops
async def test_who_takes_all_as_it_comes_holds_nothing_back() -> None:
    async with talking_to(Flood()) as target:
        exchange = begun(target)
        await exchange.head(PATIENCE)
        sizes: list[int] = []
        await exchange.pump(lambda chunk: sizes.append(len(chunk)), PATIENCE)
        assert sum(sizes) == MUCH
        assert exchange._waiting_bytes == 0


@on_both_loops
async def test_what_waits_comes_first_when_all_is_to_be_taken() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(CHUNKED + b"2\r\nab\r\n")
        await more.wait()
        writer.write(b"2\r\ncd\r\n0\r\n\r\n")
        await reader.read()

    more = asyncio.Event()
    async with talking_to(answer) as target:
        exchange = begun(target)
        await exchange.head(PATIENCE)
        await until(lambda: bool(exchange._chunks))
        taken: list[bytes] = []
        pumping = asyncio.create_task(exchange.pump(taken.append, PATIENCE))
        await until(lambda: bool(taken))
        more.set()
        await pumping
        assert taken == [b"ab", b"cd"]


@on_both_loops
async def test_a_connection_that_was_held_back_at_the_end_reads_again() -> None:
    """The last byte makes it too much, and ends the answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % (HIGH_BYTES + 1) + bytes(HIGH_BYTES))
        await last.wait()
        writer.write(b"x")
        await replying(SHORT)(reader, writer)

    last = asyncio.Event()
    server = InTurn(answer)
    async with talking_to(server) as target:
        exchange = begun(target)
        await exchange.head(PATIENCE)
        await until(lambda: exchange._waiting_bytes >= HIGH_BYTES)
        last.set()
        await until(lambda: exchange.ended)
        assert await asked(target) == (200, b"ok")
        assert len(await rest(exchange)) == HIGH_BYTES + 1
    assert server.connections == 1


@on_both_loops
async def test_a_target_that_does_not_read_is_sent_no_more() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        assert len(await reader.readexactly(MUCH)) == MUCH
        writer.write(SHORT)
        await reader.read()

    go_on = asyncio.Event()
    async with talking_to(answer) as target:
        exchange = begun(target, bytes(MUCH))
        wire = await wire_of(exchange)
        assert wire._transport is not None
        await until(lambda: not wire._room.is_set())
        unsent = [wire.unsent]
        assert wire._transport.get_write_buffer_size() < 2 * PIECE_BYTES
        go_on.set()
        assert await exchange.head(PATIENCE) is not None
        assert await rest(exchange) == b"ok"
        assert [*unsent, wire.unsent] == [True, False]
        assert wire.reusable


@on_both_loops
async def test_an_answer_that_comes_before_all_is_sent_is_whole_and_the_connection_ends() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SHORT)
        await until_closed(reader)

    server = InTurn(early, replying(SHORT))
    async with talking_to(server) as target:
        assert await asked(target, bytes(MUCH)) == (200, b"ok")
        assert await asked(target) == (200, b"ok")
    assert server.connections == 2


@pytest.mark.parametrize("answer", [OK + b"\r\nok", b""], ids=["answered", "silent"])
@on_both_loops
async def test_a_target_that_ends_without_reading_on_is_not_waited_for(answer: bytes) -> None:
    async def half_closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.write_eof()
        await leave.wait()

    leave = asyncio.Event()
    async with talking_to(half_closing) as target:
        if answer:
            assert await asked(target, bytes(MUCH)) == (200, b"ok")
        else:
            with pytest.raises(TargetLost):
                await asked(target, bytes(MUCH))


HALF: dict[str, tuple[bytes, ...]] = {"before the head": (), "in the head": (OK,)}


@pytest.mark.parametrize("half", HALF)
@on_both_loops
async def test_a_target_that_stops_before_the_head_can_be_waited_for_again(half: str) -> None:
    go_on = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(b"".join(HALF[half]))
        await go_on.wait()
        writer.write(SHORT[len(b"".join(HALF[half])) :])
        await reader.read()

    async with talking_to(answer) as target:
        exchange = begun(target)
        for _ in range(3):
            assert await exchange.head(0.001) is None
        with pytest.raises(TargetCut):
            await exchange.read()
        go_on.set()
        assert await exchange.head(PATIENCE) is not None
        assert await rest(exchange) == b"ok"


@on_both_loops
async def test_a_target_that_stops_in_the_body_is_told_and_nothing_is_lost() -> None:
    go_on = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(CHUNKED + b"2\r\nab\r\n")
        await go_on.wait()
        writer.write(b"2\r\ncd\r\n0\r\n\r\n")
        await reader.read()

    async with talking_to(answer) as target:
        exchange = begun(target)
        await exchange.head(PATIENCE)
        assert await exchange.read(PATIENCE) == b"ab"
        with pytest.raises(TargetSilent):
            await exchange.read(0.001)
        taken: list[bytes] = []
        with pytest.raises(TargetSilent):
            await exchange.pump(taken.append, 0.001)
        assert not exchange.ended
        go_on.set()
        await exchange.pump(taken.append, PATIENCE)
        assert taken == [b"cd"]
        assert exchange.ended


@pytest.mark.parametrize("ending", [b"", b"size\r\n"], ids=["closed", "broken"])
@on_both_loops
async def test_a_pump_hands_on_what_came_before_the_break(ending: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(CHUNKED + b"2\r\nab\r\n" + ending)
        if ending:
            await reader.read()

    async with talking_to(answer) as target:
        exchange = begun(target)
        await exchange.head(PATIENCE)
        taken: list[bytes] = []
        with pytest.raises(TargetCut):
            await exchange.pump(taken.append, PATIENCE)
        assert b"".join(taken) == b"ab"
        assert exchange.ended


@on_both_loops
async def test_letting_go_twice_changes_nothing() -> None:
    server = Phase("in the body")
    async with talking_to(server) as target:
        exchange = begun(target)
        await server.reached.wait()
        exchange.close()
        exchange.close()
        assert await exchange.abort(PATIENCE)
        assert await exchange.abort(PATIENCE)
        assert not target._wires._idle
