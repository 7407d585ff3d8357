"""The answer to a client that asked for no progress: the last line of it alone, as Ollama gives it.

Others may read the same pull line by line, so here the lines are read and all but the last thrown away. Its client
counts as a reader of the job until it leaves.
"""

import asyncio
from dataclasses import replace

import orjson
from aiohttp import web

from foreman.core.errors import ForemanError
from foreman.core.progress import Progress
from foreman.engine.engine import Engine
from foreman.engine.intake import Ticket
from foreman.engine.relay import Head, Reader, Relay
from foreman.web.answer import Waiting, answer
from foreman.web.outlet import Outlet

_JSON = (("content-type", "application/json"),)


async def last_line(outlet: Outlet, engine: Engine, ticket: Ticket, waiting: Waiting) -> web.Response | None:
    """As `answer`, of the last line."""
    reader = ticket.reader or ticket.relay.reader()
    relay = engine.jobs.relay()
    reading = asyncio.create_task(_read(reader, relay))
    try:
        return await answer(outlet, engine, replace(ticket, relay=relay, reader=None), waiting)
    finally:
        reading.cancel()
        await asyncio.wait((reading,))
        if ticket.live is None:
            reader.leave()
        else:
            engine.left(ticket.live, reader)


async def _read(reader: Reader, relay: Relay) -> None:
    progress = Progress()
    try:
        head = await reader.head()
        body = b""
        while (chunk := await reader.chunk()) is not None:
            if head.status >= 400:
                body += chunk
            else:
                progress.feed(chunk)
        progress.rest()
    except ForemanError as error:
        relay.finish(error)
        return
    if head.status < 400:
        failed = progress.error
        head = Head(500 if failed else 200, _JSON)
        body = orjson.dumps({"error": failed} if failed else {"status": progress.status})
    relay.begin(head)
    if body:
        relay.feed(body)
    relay.finish()
