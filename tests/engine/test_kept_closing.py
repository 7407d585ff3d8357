"""What closes kept connections, and how they are opened."""

import asyncio
import socket

import pytest

from foreman.core.errors import TargetUnreachable
from foreman.engine import target
from foreman.engine.kept import KeptExchange, Wires
from foreman.engine.plain import KEEPALIVE_IDLE_OPTION
from foreman.engine.wire import Wire
from tests.engine.keeping import wire_of
from tests.engine.loops import on_both_loops
from tests.engine.serving import (
    CHUNKED,
    PATIENCE,
    SHORT,
    asked,
    payload,
    replying,
    rest,
    serving,
    talking_to,
    target_at,
)


@pytest.mark.parametrize("phase", ["idle", "waiting for the head", "in the body"])
@on_both_loops
async def test_leaving_the_target_leaves_nothing_open(phase: str) -> None:
    answer = {"idle": SHORT, "waiting for the head": b"", "in the body": CHUNKED}[phase]
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        assert await reader.read() == b""
        ended.set()

    async with serving(replying(answer, then=until_closed)) as url:
        async with target_at(url) as target:
            exchange = target.exchange(payload())
            await arrived.wait()
            if answer:
                await exchange.head(PATIENCE)
            wire = wire_of(target)
            assert not ended.is_set()
            await target._wires.close()
            assert wire.closed.done()
        assert repr(target._wires) == "<Wires 0 open, 0 idle>"
        await ended.wait()
        late = target.exchange(payload())
        with pytest.raises(TargetUnreachable):
            await late.head(PATIENCE)


@on_both_loops
async def test_a_connection_that_comes_when_all_is_closed_is_closed_too() -> None:
    ended, go_on = asyncio.Event(), asyncio.Event()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        ended.set()

    async with talking_to(until_closed) as target:

        async def slowly() -> Wire:
            wire = await target._connected()
            await go_on.wait()
            return wire

        wires = Wires(slowly)
        opening = asyncio.create_task(wires.fresh())
        await asyncio.sleep(0)
        await wires.close()
        go_on.set()
        with pytest.raises(TargetUnreachable):
            await opening
        await ended.wait()


@on_both_loops
async def test_a_sleeping_target_is_noticed_by_the_kernel() -> None:
    async with talking_to(replying(SHORT)) as target:
        await asked(target)
        transport = wire_of(target)._transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, KEEPALIVE_IDLE_OPTION)) == 15
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@on_both_loops
async def test_a_connection_that_takes_no_options_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise OSError(22, "Invalid argument")

    ended = asyncio.Event()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    monkeypatch.setattr(target, "kept_alive", refused)
    async with talking_to(until_closed) as at:
        with pytest.raises(TargetUnreachable):
            await asked(at)
        await ended.wait()


@on_both_loops
async def test_a_name_that_is_none_cannot_be_reached() -> None:
    async with target_at("http://a..b:1234") as target:
        with pytest.raises(TargetUnreachable):
            await asked(target)


@on_both_loops
async def test_the_plain_way_is_taken_where_it_is_wanted() -> None:
    async with talking_to(replying(SHORT)) as kept, talking_to(replying(SHORT), kept=False) as plain:
        exchanges = [each.exchange(payload()) for each in (kept, plain)]
        assert [isinstance(exchange, KeptExchange) for exchange in exchanges] == [True, False]
        for exchange in exchanges:
            await exchange.head(PATIENCE)
            assert await rest(exchange) == b"ok"
            exchange.close()
