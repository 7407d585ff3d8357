"""Many clients at once, each asking again as soon as it was answered and has thought.

The collector of garbage rests meanwhile: its pauses would be counted as the server's.
"""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from time import monotonic
from typing import Final, Self

from bench.wire.connection import AnswerVoid, Connection, Exchange, Request, connected

# Far above what any answer of a run takes, so that only a hang reaches it.
PATIENCE: Final = 120.0


class Client:
    """One client on one connection. `think` is in seconds; its `exchanges` are those since its last `start`."""

    _connection: Connection
    _wire: bytes
    _done: asyncio.Future[None]

    def __init__(self, think: float) -> None:
        self._think = think
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self.exchanges: list[Exchange] = []

    @classmethod
    async def open(cls, url: str, request: Request, think: float = 0.0) -> Self:
        """Raises OSError when nobody listens."""
        client = cls(think)
        client._connection, host = await connected(url, client._answered, client._lost)
        client._wire = request.wire(host)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.close()

    def start(self, until: float) -> asyncio.Future[None]:
        """Ask, and go on asking while the monotonic clock is before `until`. Raises AnswerVoid."""
        self.exchanges = []
        self._until = until
        self._done = self._loop.create_future()
        self._connection.send(self._wire)
        return self._done

    def rest(self) -> None:
        """Ask no more after the answer that is under way."""
        self._until = 0.0

    def _answered(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        if self._done.done():
            return
        if monotonic() >= self._until:
            self._done.set_result(None)
        elif self._think:
            self._loop.call_later(self._think, self._again)
        else:
            self._again()

    def _again(self) -> None:
        if not self._done.done():
            self._connection.send(self._wire)

    def _lost(self, error: AnswerVoid) -> None:
        if not self._done.done():
            self._done.set_exception(error)


class Crowd:
    """Clients that ask the same: `async with Crowd(url, request, 8) as crowd: await crowd.ask(2.0)`."""

    def __init__(self, url: str, request: Request, clients: int, think: float = 0.0) -> None:
        self._url = url
        self._request = request
        self.clients = clients
        self._think = think
        self._stack = AsyncExitStack()
        self._open: list[Client] = []

    async def __aenter__(self) -> Self:
        for _ in range(self.clients):
            client = await Client.open(self._url, self._request, self._think)
            self._open.append(await self._stack.enter_async_context(client))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def ask(self, seconds: float, apart: float = 0.0) -> list[Exchange]:
        """Everybody asks for so long, at least once, and waits for the last answer. Raises AnswerVoid.

        They begin all at once, or so many seconds apart.
        """
        until = monotonic() + seconds
        try:
            async with asyncio.timeout(seconds + apart * self.clients + PATIENCE):
                with no_collector():
                    await self._asked(until, apart)
        except TimeoutError as error:
            raise AnswerVoid(f"no answer within {PATIENCE:g} s") from error
        return [exchange for client in self._open for exchange in client.exchanges]

    def rest(self) -> None:
        """Ends an `ask` before its time: nobody asks again."""
        for client in self._open:
            client.rest()

    async def _asked(self, until: float, apart: float) -> None:
        asking = []
        for client in self._open:
            asking.append(client.start(until))
            if apart:
                await asyncio.sleep(apart)
        await asyncio.gather(*asking)


@contextmanager
def no_collector() -> Iterator[None]:
    """The collector of garbage rests, until the last of several that overlap like brackets is over."""
    worked = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if worked:
            gc.enable()
