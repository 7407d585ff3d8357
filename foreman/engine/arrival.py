"""The body of the target's answer as it arrives, with what aiohttp leaves out at a break.

Rules: every byte that arrived is given out before the break is told; a body that can arrive no more always ends.
"""

import asyncio
from collections.abc import Callable
from functools import partial

import aiohttp

from foreman.core.errors import TargetCut


async def arriving(response: aiohttp.ClientResponse) -> bytes:
    """The next bytes of an answer as they arrived, b"" at the end. Raises TargetCut where it broke off.

    aiohttp tells of a break as soon as it knows, before it gives out what arrived ahead of it: that comes first here.
    """
    content = response.content
    try:
        return await content.readany()
    except (aiohttp.ClientError, OSError, RuntimeError) as error:
        # A RuntimeError is aiohttp's word for a connection that has just been closed.
        content.set_exception(None)  # type: ignore[arg-type]
        rest = content.read_nowait()
        content.set_exception(error)
        if rest:
            return rest
        raise TargetCut(f"the target's answer broke off ({reason_of(error)})") from error


def notice_close(response: aiohttp.ClientResponse) -> None:
    """Have a closed connection end the answer's body. Where its framing broke, aiohttp closes and tells no reader."""

    content = response.content

    def closed(_: object = None) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the body is not framed as HTTP wants it"))

    connection = response.connection
    if connection is None or connection.protocol is None:
        return
    future = connection.protocol.closed
    if future is None:
        closed()
        return
    # A connection that is used again must not keep the answers it has carried, nor anything else for each of them.
    future.remove_done_callback(_looked_at)
    future.add_done_callback(_looked_at)
    future.add_done_callback(closed)
    content.on_eof(partial(_forget, future, closed))


def _forget(future: asyncio.Future[None], callback: Callable[[object], None]) -> None:
    future.remove_done_callback(callback)


def _looked_at(future: asyncio.Future[None]) -> None:
    """asyncio logs an exception that nobody looks at."""
    if not future.cancelled():
        future.exception()


def reason_of(error: BaseException) -> str:
    """What happened to a connection, in a word or a few."""
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or type(error).__name__
