"""202: the job is on disk and runs on without the client, who is told where to look."""

import orjson
from aiohttp import web

from foreman.core.prefer import Preference
from foreman.engine.engine import Engine
from foreman.engine.intake import Ticket
from foreman.web.errors import JOB_HEADER
from foreman.web.jobview import job_view


async def accepted(engine: Engine, ticket: Ticket, wish: Preference) -> web.Response:
    """Detach the job, which is on disk before this returns, and say where it is."""
    if ticket.live is not None:
        await engine.detach(ticket.live)
    job = await engine.job(ticket.id)
    outlook = None if ticket.live is None else await engine.forecast.place(ticket.live)
    headers = {JOB_HEADER: ticket.id, "Location": f"/jobs/{ticket.id}"}
    if wish.applied:
        headers["Preference-Applied"] = wish.applied
    body = orjson.dumps(job_view(job, engine, outlook), option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(status=202, headers=headers, body=body, content_type="application/json")
