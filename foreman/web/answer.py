"""A job's answer on its way from the relay to one client.

Nothing is sent before the relay has a head, so an error until then has its true status. After that an error is told
in-band, and the connection is closed without the final chunk: some clients hear only the one, some only the other.
"""

from aiohttp import web

from foreman.core.errors import ForemanError, JobFailed
from foreman.core.framing import framing_of
from foreman.core.headers import value_of
from foreman.core.job import surface_of
from foreman.core.ollama import late_error
from foreman.engine.engine import Engine
from foreman.engine.live import Live
from foreman.engine.relay import Head, Reader
from foreman.web.errors import JOB_HEADER, render
from foreman.web.relayed import Relayed


async def answer(request: web.Request, engine: Engine, live: Live) -> web.StreamResponse:
    """Stream a job's answer to the client, or its error where no answer began."""
    reader = live.relay.reader()
    try:
        head = await reader.head()
        return await _streamed(request, live, reader, head)
    except ForemanError as error:
        return render(error, live.path, live.id)
    finally:
        engine.left(live, reader)


async def _streamed(request: web.Request, live: Live, reader: Reader, head: Head) -> web.StreamResponse:
    response = Relayed(head.status, head.headers)
    response.headers[JOB_HEADER] = live.id
    tail = b""
    try:
        await response.prepare(request)
        while (chunk := await reader.chunk()) is not None:
            tail = chunk
            await response.write(chunk)
        await response.write_eof()
    except ForemanError as error:
        await response.break_off(request, last_words(live, head, tail, error))
    except ConnectionError:
        # The client is gone; its reader leaves, and there is nobody left to tell.
        response.force_close()
    return response


def last_words(live: Live, head: Head, tail: bytes, error: ForemanError) -> bytes:
    """What to write after the last byte of an answer that broke off; empty where its framing has no room for it."""
    reason = error.reason if isinstance(error, JobFailed) else error.code
    framing = framing_of(value_of(head.headers, "content-type"))
    return late_error(framing, surface_of(live.path), str(error), reason, live.id, tail)
