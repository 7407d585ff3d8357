"""A TCP proxy in front of a target that does not hear at once when foreman hangs up."""

import asyncio
from types import TracebackType
from typing import Self


class DeafProxy:
    """`async with DeafProxy(host, port) as proxy:` passes everything on, hang-ups only after `hear()`."""

    def __init__(self, host: str, port: int) -> None:
        self.url = ""
        self.hung_up = asyncio.Event()
        self._target = (host, port)
        self._hears = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()

    def hear(self) -> None:
        """Pass on all hang-ups, those of before too."""
        self._hears.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(*self._target)
        for pump in (self._up(reader, target_writer), self._down(target_reader, writer)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
            self.hung_up.set()
            await self._hears.wait()
        finally:
            writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()
