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
from foreman.engine.relay import Head


async def answer(request: web.Request, engine: Engine, live: Live) -> web.StreamResponse:
    """Stream a job's answer to the client; raises the job's error where no answer began."""
    reader = live.relay.reader()
    tail = b""
    response: web.StreamResponse | None = None
    try:
        head = await reader.head()
        response = opened(head, live.id)
        await response.prepare(request)
        while (chunk := await reader.chunk()) is not None:
            tail = chunk
            await response.write(chunk)
        await response.write_eof()
    except ForemanError as error:
        if response is None:
            raise
        await _break_off(request, response, late_error_for(live, head, tail, error))
    except ConnectionError:
        # The client is gone; its reader leaves below, and there is nobody left to tell.
        return response or web.Response(status=499)
    finally:
        engine.left(live, reader)
    return response


def opened(head: Head, job_id: str) -> web.StreamResponse:
    """The client's answer with the target's status and headers, not yet sent."""
    response = web.StreamResponse(status=head.status)
    for name, value in head.headers:
        response.headers.add(name, value)
    response.headers["X-Foreman-Job"] = job_id
    return response


def late_error_for(live: Live, head: Head, tail: bytes, error: ForemanError) -> bytes:
    """What to write after the last byte of an answer that broke off; empty where its framing has no room for it."""
    reason = error.reason if isinstance(error, JobFailed) else error.code
    framing = framing_of(value_of(head.headers, "content-type"))
    return late_error(framing, surface_of(live.path), str(error), reason, live.id, tail)


async def _break_off(request: web.Request, response: web.StreamResponse, last: bytes) -> None:
    """Write the last words and close without the final chunk. FIN, not RST, or the words could get lost."""
    response.force_close()
    try:
        if last and response.content_length is None:
            await response.write(last)
    finally:
        if request.transport is not None:
            request.transport.close()
