"""Requests to the target by aiohttp's client: each job on a connection of its own.

Rules:
1. aiohttp's exceptions stop here; everyone above sees the TargetError family.
2. Every byte that arrived is given out before a break is told.
"""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

import aiohttp

from foreman.core.errors import (
    TargetCut,
    TargetError,
    TargetGarbled,
    TargetLost,
    TargetMoved,
    TargetSilent,
    TargetUnreachable,
)
from foreman.core.headers import answer_headers
from foreman.engine.arrival import arriving, notice_close, reason_of
from foreman.engine.relay import Head

# Half a minute of silence from a sleeping machine's kernel, then the connection counts as lost.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 15, 5, 3
KEEPALIVE_IDLE_OPTION: Final = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"

_sockets: ContextVar[list[socket.socket] | None] = ContextVar("_sockets", default=None)


class PlainExchange:
    """An Exchange; see there. `send` makes aiohttp's request."""

    def __init__(self, send: Callable[[], Any]) -> None:
        self._sockets: list[socket.socket] = []
        self._opening = asyncio.create_task(self._open(send))
        self._response: aiohttp.ClientResponse | None = None
        self.ended = False  # the target is known to have let go of it

    async def _open(self, send: Callable[[], Any]) -> aiohttp.ClientResponse:
        _sockets.set(self._sockets)
        with mapped():
            response: aiohttp.ClientResponse = await send()
        notice_close(response)
        return response

    async def head(self, patience: float | None = None) -> Head | None:
        done, _ = await asyncio.wait((self._opening,), timeout=patience)
        if not done:
            return None
        try:
            self._response = response = self._opening.result()
        except TargetError:
            self.ended = True
            raise
        if 300 <= response.status < 400 and response.status != 304:
            raise TargetMoved(f"the target answered with a redirect ({response.status}), which is not followed")
        return Head(response.status, answer_headers(response.headers.items()))

    async def read(self, patience: float | None = None) -> bytes:
        if self._response is None:
            raise TargetCut("the answer has no head yet")
        try:
            async with asyncio.timeout(patience):
                chunk = await arriving(self._response)
        except TimeoutError:
            raise TargetSilent(f"the target sent nothing for {patience:g} s") from None
        except TargetCut:
            self.ended = True
            raise
        self.ended = not chunk
        return chunk

    async def pump(self, take: Callable[[bytes], None], patience: float) -> None:
        while chunk := await self.read(patience):
            take(chunk)

    async def abort(self, grace: float) -> bool:
        connected = False
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                connected = True
        if not connected and not self._opening.done():
            self.close()  # nothing was sent, and nothing will be
            return True
        try:
            async with asyncio.timeout(grace):
                await self._drain()
                return True
        except TimeoutError:
            return False
        finally:
            self.close()

    async def _drain(self) -> None:
        try:
            response = await asyncio.shield(self._opening)
            while await arriving(response):
                pass
        except TargetError:
            return

    def close(self) -> None:
        if not self._opening.done():
            self._opening.cancel()
        elif not self._opening.cancelled() and self._opening.exception() is None:
            self._opening.result().close()


@contextmanager
def mapped() -> Iterator[None]:
    """Turn aiohttp's exceptions before an answer's head into ours."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise TargetUnreachable(f"the target cannot be reached ({reason_of(error)})") from error
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise TargetLost(f"the target closed the connection before it answered ({reason_of(error)})") from error
    except aiohttp.ClientPayloadError as error:
        raise TargetCut(f"the target's answer broke off ({reason_of(error)})") from error
    except aiohttp.ClientError as error:
        raise TargetGarbled("the target's answer is not HTTP") from error


def kept_alive(sock: Any) -> None:
    """Have the kernel find out that the other side is gone; what it takes is a socket, or what a loop shows of one."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, KEEPALIVE_IDLE_OPTION), KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)


def job_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    """A socket for aiohttp's connector, known to the exchange that it is made for."""
    family, kind, protocol, *_ = addr_info
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    kept_alive(sock)
    sockets = _sockets.get()
    if sockets is not None:
        sockets.append(sock)
    return sock
