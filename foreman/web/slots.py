"""Slots over HTTP: asked for, kept by heartbeats, given back. The answer to the first comes when the slot is there.

A client that waits gets the id at once, in a header, and white space now and then; the JSON follows when the slot is
granted. One that hangs up before that has left the queue; after it, only its heartbeats matter.
"""

from typing import Final

from aiohttp import hdrs, web

from foreman.core import slots
from foreman.core.errors import ForemanError, JobFailed, JobFinished
from foreman.core.framing import Framing
from foreman.core.job import Payload, surface_of
from foreman.core.lanes import Lane
from foreman.core.ollama import late_error
from foreman.core.padding import pad
from foreman.core.submission import Submission
from foreman.core.trace import carried
from foreman.engine.relay import Reader
from foreman.web.app_keys import ENGINE, SETTINGS
from foreman.web.bodies import read_body
from foreman.web.errors import JOB_HEADER
from foreman.web.jobs import answer_json, job_id, one_job
from foreman.web.queued import client_of, overriding, repeatable
from foreman.web.relayed import RelayedOutlet

BODY_BYTES: Final = 16 * 1024
# How often a client that waits hears something, where the settings say never: it has to notice a foreman that is gone.
HEARTBEAT_SECONDS: Final = 10.0


async def asked(request: web.Request) -> web.StreamResponse:
    """A slot, when its turn has come.

    Raises BadRequest naming the field, NeverFits where it needs more than there is, and what a submit raises.
    """
    engine = request.app[ENGINE]
    body = await read_body(request, BODY_BYTES)
    wanted = slots.read(body)
    client = client_of(request.headers, request.remote)
    payload, lane = Payload(slots.PATH, carried(request.headers.items()), wanted.body), wanted.lane
    submission = Submission(payload, wanted.key, client, lane=lane, override=wanted.override)
    submission = repeatable(overriding(submission, request.headers), request.headers, body)
    ticket = await engine.submit(submission)
    reader = ticket.reader or ticket.relay.reader()
    if ticket.live is None:
        reader.leave()
        raise JobFinished(f"slot {ticket.id} is not held any more")
    outlet = RelayedOutlet(request)
    every = request.app[SETTINGS].heartbeat_seconds or HEARTBEAT_SECONDS
    try:
        if lane is Lane.LOCAL and submission.override is None and await engine.gate.never(str(wanted.key)):
            await reader.head_within(every)  # it fails, and there is a status for that as long as nothing was said
        await _granted(outlet, reader, ticket.id, every)
    except ConnectionError:
        outlet.give_up()
    finally:
        engine.left(ticket.live, reader)
    return outlet.response


async def _granted(outlet: RelayedOutlet, reader: Reader, slot_id: str, every: float) -> None:
    """Raises ConnectionError where the client is gone."""
    await outlet.begin(200, ((hdrs.CONTENT_TYPE, "application/json"), (JOB_HEADER, slot_id)))
    try:
        while True:
            await outlet.write(pad(Framing.WHOLE, ""))
            if await reader.head_within(every) is not None:
                break
        await outlet.write(await reader.chunk() or b"")
    except ForemanError as error:
        code = error.reason if isinstance(error, JobFailed) else error.code
        await outlet.break_off(late_error(Framing.WHOLE, surface_of(slots.PATH), str(error), code, slot_id, tail=b""))
    else:
        await outlet.end()


async def beaten(request: web.Request) -> web.Response:
    """The holder lives. Raises JobNotFound, or JobFinished where nobody holds it."""
    held, live = await request.app[ENGINE].beat(job_id(request))
    return answer_json(
        {"id": live.id, "expiry_seconds": held.request.expiry, "cancel_requested": live.cancelled},
    )


async def released(request: web.Request) -> web.Response:
    """Give it back, or leave the queue; on return that is on disk. Raises as `beaten`, and BadRequest."""
    found = job_id(request)
    status = slots.exit_status(await read_body(request, BODY_BYTES))
    await request.app[ENGINE].release(found, status)
    return await one_job(request, found, 200)
