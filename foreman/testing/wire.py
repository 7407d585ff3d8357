"""Writing HTTP/1.1 answers by hand, so that a script can also write them wrong.

Rules: the framing is chosen once, with the head; nothing is buffered but by the transport; a write to a client that
is gone raises ConnectionError. What is written is not judged here.
"""

import asyncio
from collections.abc import Iterable
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from foreman.testing.reset import reset


class Framing(Enum):
    """How the end of a body is told."""

    CHUNKED = "chunked"
    LENGTH = "length"
    CLOSE = "close"


class Wire:
    """The answer side of one request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._writer = StreamWriter(request.protocol, asyncio.get_running_loop())
        self._framing = Framing.CLOSE
        self._keep_alive = request.keep_alive

    async def head(self, status: int, headers: Iterable[tuple[str, str]], framing: Framing) -> None:
        """The status line and headers; a Content-Length is the caller's to give."""
        if framing is Framing.CHUNKED and self._request.version < (1, 1):
            framing = Framing.CLOSE
        self._framing = framing
        self._keep_alive = self._keep_alive and framing is not Framing.CLOSE
        lines = [f"{name}: {value}" for name, value in headers if name != "Connection" or self._keep_alive]
        lines.append(f"Date: {formatdate(usegmt=True)}")
        if framing is Framing.CHUNKED:
            lines.append("Transfer-Encoding: chunked")
        if not self._keep_alive:
            lines.append("Connection: close")
        version = "1.0" if framing is Framing.CLOSE else "1.1"
        await self.raw("\r\n".join((f"HTTP/{version} {status} {_reason(status)}", *lines, "\r\n")).encode("latin-1"))

    async def chunk(self, data: bytes, announced: int | None = None) -> None:
        """A piece of the body. With `announced` bytes promised and fewer sent, the chunk stays open."""
        if not data and announced is None:
            return  # an empty chunk would end the body
        if self._framing is not Framing.CHUNKED:
            await self.raw(data)
            return
        end = b"\r\n" if announced is None else b""
        await self.raw(b"%x\r\n%b%b" % (len(data) if announced is None else announced, data, end))

    async def end(self, *, whole: bool = True) -> web.StreamResponse:
        """The regular end of the body. One that has not all the bytes it stated ends with the connection."""
        if self._framing is Framing.CHUNKED:
            await self.raw(b"0\r\n\r\n")
        return Written(keep_alive=self._keep_alive and (whole or self._framing is Framing.CHUNKED))

    async def raw(self, data: bytes) -> None:
        """Bytes as they are. Raises ConnectionError when the client is gone."""
        await self._writer.write(data)

    def fin(self) -> web.StreamResponse:
        """Closes after what was written, without a regular end."""
        if self._request.transport is not None:
            self._request.transport.close()
        return Written(keep_alive=False)

    def rst(self) -> web.StreamResponse:
        """Resets the connection: what was not read yet is lost to the client."""
        if (transport := self._request.transport) is not None:
            reset(transport)
        return Written(keep_alive=False)


class Written(web.StreamResponse):
    """Tells aiohttp that the answer has been written already."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._stays = keep_alive

    @property
    def prepared(self) -> bool:
        return True

    @property
    def keep_alive(self) -> bool | None:
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: it has been written."""


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "Unknown"
