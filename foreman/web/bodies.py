"""Reading request bodies: whole, for jobs, with a limit that holds before the first byte; or as a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage

from foreman.core.body import LARGE
from foreman.core.errors import BadRequest, BodyEncoded, BodyStalled, BodyTooLarge, RequestError

# A body that stops arriving holds memory and a connection for nothing.
STALL_SECONDS: Final = 60.0


class Upload:
    """A body to be passed on as it arrives. `error` is what was wrong with it, where it ended too early."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.error: RequestError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in stream_body(self._request):
                yield piece
        except RequestError as error:
            self.error = error
            raise


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body as it was sent.

    Raises BodyTooLarge, before reading where the length is stated, and what `stream_body` raises.
    """
    check_length(request, limit)
    pieces: list[bytes] = []
    size = 0
    async for piece in stream_body(request):
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    if len(pieces) == 1:
        return pieces[0]
    # Joining takes half a millisecond for each megabyte, and in a thread holds up nobody.
    return await asyncio.to_thread(b"".join, pieces) if size > LARGE else b"".join(pieces)


async def stream_body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body piece by piece as it arrives. Raises BodyStalled, BadRequest or BodyEncoded."""
    if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").strip().lower() != "chunked":
        raise BodyEncoded("foreman reads no transfer encoding but chunked")
    content = request.content
    if content.is_eof() and content.exception() is None:  # it came with its head, as nearly all do
        if piece := content.read_nowait():
            yield piece
        return
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                piece = await content.readany()
        except TimeoutError:
            raise BodyStalled(f"the request body stopped arriving for {STALL_SECONDS:.0f} s") from None
        except (web.RequestPayloadError, ClientPayloadError, BadHttpMessage):
            # Not the parser's own words: they quote the body.
            raise BadRequest("the request body is not framed as HTTP wants it") from None
        if not piece:
            return
        yield piece


def check_length(request: web.BaseRequest, limit: int) -> None:
    """Raises BodyTooLarge where the stated length is above the limit (bytes)."""
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is larger than max_body_bytes ({limit} bytes)")
