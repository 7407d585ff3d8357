"""A job that waits already is let past what holds it."""

from typing import Final

import orjson
from aiohttp import web

from foreman.core.errors import BadRequest
from foreman.core.submission import GATE, checked_override
from foreman.web.app_keys import ENGINE
from foreman.web.bodies import read_body
from foreman.web.jobs import job_id, one_job

BODY_BYTES: Final = 1024
_FIELD: Final = "override"


async def override(request: web.Request) -> web.Response:
    """Raises JobNotFound, BadRequest naming the field, and JobFinished for one that runs or is finished."""
    found = job_id(request)
    await request.app[ENGINE].override(found, _asked(await read_body(request, BODY_BYTES)))
    return await one_job(request, found, 200)


def _asked(body: bytes) -> str:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at byte {error.pos}") from error
    if not isinstance(asked, dict):
        raise BadRequest(f'the body must be an object such as {{"{_FIELD}": "{GATE}"}}')
    unknown = sorted(set(asked) - {_FIELD})
    if unknown:
        raise BadRequest(f"{unknown[0][:64]} is unknown; there is only {_FIELD}")
    what = checked_override(asked.get(_FIELD), _FIELD)
    if what is None:
        raise BadRequest(f"{_FIELD} must be {GATE}")
    return what
