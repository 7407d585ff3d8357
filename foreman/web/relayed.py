"""An answer of the target on its way to a client: its status line, headers and bytes, and nothing of ours but a few.

Nothing here asks where the bytes come from.
"""

from collections.abc import Callable

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from foreman.core.headers import Headers
from foreman.engine.relay import Reader


class Relayed(web.StreamResponse):
    """The client's answer with the target's status and headers, not yet sent."""

    def __init__(self, status: int, headers: Headers, reason: str | None = None) -> None:
        super().__init__(status=status, reason=reason)
        for name, value in headers:
            self.headers.add(name, value)
        self._typed = hdrs.CONTENT_TYPE in self.headers

    def strip(self) -> None:
        """Take away the content type that aiohttp gives every answer that has none."""
        if not self._typed:
            self.headers.popall(hdrs.CONTENT_TYPE, None)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.version < HttpVersion11 and self.content_length is None:
            # Only the end of the connection tells such a client where the answer ends; aiohttp would keep it open.
            self.force_close()
        return await super().prepare(request)

    async def break_off(self, request: web.BaseRequest, last: bytes = b"") -> None:
        """Write the last words and close without the final chunk. FIN, not RST, or the words could get lost."""
        self.force_close()
        try:
            # Where the length was announced, more words would be taken for a part of the answer.
            if last and self.content_length is None:
                await self.write(last)
        finally:
            if request.transport is not None:
                request.transport.close()


class RelayedOutlet:
    """An Outlet by aiohttp; see there. `response` is what the handler returns."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response: Relayed  # from `begin` on

    @property
    def sized(self) -> bool:
        return self.response.content_length is not None

    async def begin(self, status: int, headers: Headers) -> None:
        self.response = Relayed(status, headers)
        await self.response.prepare(self._request)

    async def write(self, chunk: bytes) -> None:
        await self.response.write(chunk)

    async def relay(self, reader: Reader, note: Callable[[bytes], None], patience: float | None) -> bool:
        while (chunk := await reader.chunk(patience)) is not None:
            if not chunk:
                return False
            note(chunk)
            await self.response.write(chunk)
        return True

    async def end(self) -> None:
        await self.response.write_eof()

    async def break_off(self, last: bytes) -> None:
        await self.response.break_off(self._request, last)

    def give_up(self) -> None:
        self.response.force_close()
