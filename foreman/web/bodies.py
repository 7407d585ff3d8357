"""Reading request bodies: whole, for jobs, with a limit that holds before the first byte; or as a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from foreman.core.errors import BodyStalled, BodyTooLarge

# A body that stops arriving holds memory and a connection for nothing.
STALL_SECONDS: Final = 60.0


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body as it was sent. Raises BodyTooLarge, before reading where the length is stated, or BodyStalled."""
    check_length(request, limit)
    pieces: list[bytes] = []
    size = 0
    async for piece in stream_body(request):
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def stream_body(request: web.Request) -> AsyncIterator[bytes]:
    """The body piece by piece as it arrives. Raises BodyStalled."""
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                piece = await request.content.readany()
        except TimeoutError:
            raise BodyStalled(f"the request body stopped arriving for {STALL_SECONDS:.0f} s") from None
        if not piece:
            return
        yield piece


def check_length(request: web.Request, limit: int) -> None:
    """Raises BodyTooLarge where the stated length is above the limit (bytes)."""
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is larger than max_body_bytes ({limit} bytes)")
