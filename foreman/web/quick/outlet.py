"""An answer on its way to a client, written straight to the connection: no object between a chunk and the socket."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from foreman.core.headers import Headers
from foreman.engine.relay import Reader
from foreman.engine.waiter import Waiter

_BODILESS: Final = frozenset({204, 304})
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


def head_of(status: int, headers: Headers, common: bytes) -> bytes:
    """The head of an answer; `common` are the header lines that all answers have."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    first = f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n{lines}"
    return b"%b%b\r\n" % (first.encode("utf-8", "surrogateescape"), common)


class QuickOutlet:
    """An Outlet; see there. `whole` says afterwards that the connection can be used for another answer."""

    __slots__ = ("_chunked", "_common", "_head", "_held", "_reader", "_room", "_transport", "begun", "sized", "whole")

    def __init__(self, transport: asyncio.Transport, common: bytes, *, held: bool) -> None:
        self._transport = transport
        self._common = common
        self._held = held
        self._room = Waiter()
        self._reader: Reader | None = None
        self._head = b""  # goes out with the first chunk
        self._chunked = False
        self.sized = False
        self.begun = False
        self.whole = False

    def hold(self, held: bool) -> None:
        """The client does not take what is written, or does so again."""
        self._held = held
        if self._reader is not None:
            self._reader.hold(held)
        if not held:
            self._room.wake()

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        self.sized = any(name == "content-length" for name, _ in headers)
        self._chunked = not self.sized and status not in _BODILESS
        framing: Headers = (("Transfer-Encoding", "chunked"),) if self._chunked else ()
        self._head = head_of(status, (*headers, *framing), self._common)

    async def write(self, chunk: bytes) -> None:
        self._put(chunk)
        while self._held:
            await self._room.wait()

    async def relay(self, reader: Reader, note: Callable[[bytes], None], patience: float | None) -> bool:
        def take(chunk: bytes) -> None:
            note(chunk)
            self._put(chunk)

        self._reader = reader
        reader.hold(self._held)
        try:
            return await reader.pour(take, patience)
        finally:
            self._reader = None

    async def end(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._head + b"0\r\n\r\n" if self._chunked else self._head)
        self._head = b""
        self.whole = True
        while self._held:
            await self._room.wait()

    async def break_off(self, last: bytes) -> None:
        # Where the length was announced, more words would be taken for a part of the answer.
        self._put(b"" if self.sized else last)
        self._transport.close()

    def give_up(self) -> None:
        self._transport.close()

    def send(self, response: web.Response) -> None:
        """A whole answer that is no job's."""
        body = response.body if isinstance(response.body, bytes) else b""
        headers = (*response.headers.items(), ("Content-Length", str(len(body))))
        if not self._transport.is_closing():
            self._transport.write(head_of(response.status, headers, self._common) + body)
        self.begun = self.whole = True

    def _put(self, chunk: bytes) -> None:
        if self._transport.is_closing():
            return  # the client is gone, and the end of this task is on its way
        head, self._head = self._head, b""
        if self._chunked and chunk:
            self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(chunk), chunk))
        elif head or chunk:
            self._transport.write(head + chunk)
