"""A TCP proxy that spoils what passes through it: latency, slicing, and an end after so many bytes.

It knows nothing of HTTP. Each direction has its own toxic, read anew for every piece, so a test may change it while a
connection is open. An undisturbed end of one direction is passed on as a half-close.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final, Self

from foreman.testing.reset import reset

_PIECE: Final = 65536


class Then(Enum):
    """What happens when a direction has passed its limit.

    FIN and RST end both directions, HALF_CLOSE this one alone, BLACKHOLE leaves all open and passes nothing more.
    """

    FIN = "fin"
    RST = "rst"
    HALF_CLOSE = "half_close"
    BLACKHOLE = "blackhole"


@dataclass(frozen=True, slots=True)
class Toxic:
    """latency: seconds before each piece. slices: bytes a piece may have at most. limit: bytes until `then`."""

    latency: float = 0.0
    slices: int = _PIECE
    limit: int | None = None
    then: Then = Then.FIN


CLEAR: Final = Toxic()


class ToxicProxy:
    """`async with ToxicProxy(host, port) as proxy:` listens on a free loopback port.

    `up` spoils what clients send, `down` what the target answers.
    """

    def __init__(self, host: str, port: int, *, up: Toxic = CLEAR, down: Toxic = CLEAR) -> None:
        self.up = up
        self.down = down
        self.port = 0
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            reset(writer.transport)
            return
        pair = (writer, target_writer)
        pumps = [
            asyncio.create_task(self._pump("up", reader, target_writer, pair)),
            asyncio.create_task(self._pump("down", target_reader, writer, pair)),
        ]
        try:
            await asyncio.gather(*pumps)
        except ConnectionError:
            _end(pair, Then.RST)
        finally:
            for pump in pumps:
                pump.cancel()
            _end(pair, Then.FIN)

    async def _pump(
        self,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        """Passes one direction on until it ends. Raises ConnectionError when an end is gone."""
        passed = 0
        while True:
            toxic: Toxic = getattr(self, direction)
            room = _PIECE if toxic.limit is None else toxic.limit - passed
            if room <= 0:
                await self._stop(toxic.then, writer, pair)
                return
            piece = await reader.read(min(room, toxic.slices))
            if not piece:
                writer.write_eof()
                return
            if toxic.latency:
                await asyncio.sleep(toxic.latency)
            writer.write(piece)
            await writer.drain()
            passed += len(piece)

    async def _stop(
        self, then: Then, writer: asyncio.StreamWriter, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        if then is Then.HALF_CLOSE:
            writer.write_eof()
        elif then is Then.BLACKHOLE:
            await asyncio.Event().wait()
        else:
            _end(pair, then)


def _end(pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter], how: Then) -> None:
    for writer in pair:
        if how is Then.RST:
            reset(writer.transport)
        else:
            writer.close()
