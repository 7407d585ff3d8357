"""A job's answer for any number of readers: live or stored, from wherever they left off.

The answer is that of the target, byte for byte: status, content type and bytes. Its ETag names the job and the attempt:
after a restart the answer begins anew, and a reader that asks with If-Range gets the new one from its first byte.
"""

import re
from typing import Final

from aiohttp import hdrs, web

from foreman.core.errors import BadRequest, ForemanError, OffsetBeyondEnd
from foreman.engine.intake import Ticket
from foreman.engine.relay import Reader
from foreman.web.errors import ATTEMPT_HEADER, JOB_HEADER
from foreman.web.jobs import job_id
from foreman.web.keys import ENGINE
from foreman.web.relayed import Relayed

_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-")
_OFFSET: Final = re.compile(r"[0-9]{1,18}")


async def response(request: web.Request) -> web.StreamResponse:
    """Raises JobNotFound, JobCancelled or JobFailed where there is no answer, BadRequest and OffsetBeyondEnd."""
    engine = request.app[ENGINE]
    ticket = await engine.ticket(job_id(request))
    tag = f'"{ticket.id}-{ticket.attempt}"'
    offset, ranged = _offset(request, tag)
    relay = ticket.relay
    reader = relay.reader(offset)
    try:
        head = await reader.head()
        if relay.finished and offset > relay.size:
            raise OffsetBeyondEnd(f"the answer has {relay.size} bytes, it cannot be read from {offset}", relay.size)
        answer = Relayed(206 if ranged and head.status == 200 else head.status, head.headers)
        answer.headers.popall(hdrs.CONTENT_LENGTH, None)
        answer.headers[JOB_HEADER] = ticket.id
        answer.headers[ATTEMPT_HEADER] = str(ticket.attempt)
        answer.headers[hdrs.ETAG] = tag
        answer.headers[hdrs.ACCEPT_RANGES] = "bytes"
        if answer.status == 206:
            answer.headers[hdrs.CONTENT_RANGE] = _content_range(ticket, offset)
        return await _deliver(request, answer, reader)
    finally:
        reader.leave()


async def _deliver(request: web.Request, answer: Relayed, reader: Reader) -> web.StreamResponse:
    """Send all that the reader gets; break off without the final chunk where it gets an error."""
    try:
        await answer.prepare(request)
        while (chunk := await reader.chunk()) is not None:
            await answer.write(chunk)
        await answer.write_eof()
    except ForemanError:
        await answer.break_off(request)
    except ConnectionError:
        answer.force_close()
    return answer


def _offset(request: web.Request, tag: str) -> tuple[int, bool]:
    """Where to begin, and whether by a Range header. Raises BadRequest."""
    text = request.query.get("offset")
    if text is not None:
        if _OFFSET.fullmatch(text) is None:
            raise BadRequest("offset must be a whole number of bytes")
        return int(text), False
    wanted = request.headers.get(hdrs.RANGE)
    if wanted is None or request.headers.get(hdrs.IF_RANGE, tag) != tag:
        return 0, False
    match = _RANGE.fullmatch(wanted.replace(" ", ""))
    if match is None:
        raise BadRequest("Range must be bytes=N-")
    return int(match[1]), True


def _content_range(ticket: Ticket, offset: int) -> str:
    """While an answer grows, nobody knows its end (RFC 9110, 14.4)."""
    relay = ticket.relay
    return f"bytes {offset}-{max(offset, relay.size - 1)}/{relay.size if relay.finished else '*'}"
