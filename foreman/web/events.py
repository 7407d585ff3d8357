"""What happens, as server-sent events: a snapshot of the queue first, then every change of a job.

Of the jobs of other keys only counts are told. A key that ends while somebody follows with it ends that too.
"""

import asyncio
from typing import Final

import orjson
from aiohttp import hdrs, web

from foreman.core.access import Caller
from foreman.core.errors import BadRequest
from foreman.engine.engine import Engine
from foreman.web.app_keys import ENGINE
from foreman.web.guard import CALLER, GUARD
from foreman.web.jobview import change_view
from foreman.web.own import counts
from foreman.web.queue import queue_view

LAST_EVENT_ID: Final = "Last-Event-ID"
HEARTBEAT_SECONDS: Final = 10.0


async def events(request: web.Request) -> web.StreamResponse:
    """Follow until either side ends. `Last-Event-ID` takes up where a connection broke, as far back as is kept."""
    engine, guard, caller = request.app[ENGINE], request.app[GUARD], request[CALLER]
    last = request.headers.get(LAST_EVENT_ID)
    if last is not None and not (last.isascii() and last.isdigit() and len(last) < 19):
        raise BadRequest("Last-Event-ID must be the id of an event")
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store"})
    await response.prepare(request)
    number = -1 if last is None else int(last)
    while not engine.draining and guard.still(caller):
        missed = engine.events.since(number)
        if missed is None:
            number, data = await _snapshot(engine, caller)
            await response.write(frame(number, "snapshot", data))
            continue
        for event in missed:
            number = event.number
            if caller.sees(event.live.key_id):
                await response.write(frame(number, "job", orjson.dumps(change_view(event))))
        if missed and not caller.sees(missed[-1].live.key_id):
            await response.write(frame(number, "others", orjson.dumps(counts(engine))))
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await engine.events.news(number)
        except TimeoutError:
            await response.write(b": \n\n")
    return response


async def _snapshot(engine: Engine, caller: Caller) -> tuple[int, bytes]:
    # The number is taken first: a change during the query is told again, which is better than not at all.
    number = engine.events.last
    return number, orjson.dumps(await queue_view(engine, caller))


def frame(number: int, name: str, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), data)
