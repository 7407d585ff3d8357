"""A job's answer for any number of readers: live or stored, from wherever they left off.

The answer is that of the target, byte for byte: status, content type and bytes. Its ETag names the job and the attempt:
after a restart the answer begins anew, and a reader that asks with If-Range gets the new one from its first byte.
"""

import re
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from foreman.core import upkeep
from foreman.core.errors import BadRequest, ForemanError, OffsetBeyondEnd
from foreman.engine.relay import Reader, Relay
from foreman.web.app_keys import ENGINE
from foreman.web.errors import ATTEMPT_HEADER, JOB_HEADER
from foreman.web.jobs import job_id
from foreman.web.relayed import Relayed

_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-")
_OFFSET: Final = re.compile(r"[0-9]{1,18}")


async def response(request: web.Request) -> web.StreamResponse:
    """Raises JobNotFound, JobCancelled or JobFailed where there is no answer, BadRequest and OffsetBeyondEnd."""
    wanted = _Wanted.of(request)
    ticket = await request.app[ENGINE].ticket(job_id(request))
    relay = ticket.relay
    reader = relay.reader()
    try:
        head = await reader.head()
        # Only now it is certain which attempt this answer is of.
        attempt = ticket.attempt if ticket.live is None else ticket.live.number
        # Of upkeep less is kept than was told.
        kept = "-kept" if ticket.live is None and ticket.path in upkeep.PATHS else ""
        tag = f'"{ticket.id}-{attempt}{kept}"'
        offset, ranged = wanted.offset(tag, head.status)
        reader.skip(offset)
        # Nobody has had more of a growing answer than there is: whether this much will come must be seen first.
        first = b"" if relay.finished or offset <= relay.size else await reader.chunk() or b""
        if relay.finished and (offset > relay.size or (ranged and offset == relay.size)):
            raise OffsetBeyondEnd(f"the answer has {relay.size} bytes, it cannot be read from {offset}", relay.size)
        answer = Relayed(206 if ranged else head.status, head.headers)
        answer.headers.popall(hdrs.CONTENT_LENGTH, None)
        answer.headers[JOB_HEADER] = ticket.id
        answer.headers[ATTEMPT_HEADER] = str(attempt)
        answer.headers[hdrs.ETAG] = tag
        answer.headers[hdrs.ACCEPT_RANGES] = "bytes"
        if ranged:
            answer.headers[hdrs.CONTENT_RANGE] = _content_range(relay, offset)
        return await _deliver(request, answer, first, reader)
    finally:
        reader.leave()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """From where a client wants to read: by `?offset=N`, or by `Range: bytes=N-`, perhaps only of the answer `tag`."""

    start: int
    by_range: bool
    tag: str | None

    @classmethod
    def of(cls, request: web.Request) -> "_Wanted":
        """Raises BadRequest."""
        text, header = request.query.get("offset"), request.headers.get(hdrs.RANGE)
        if text is not None:
            if _OFFSET.fullmatch(text) is None:
                raise BadRequest("offset must be a whole number of bytes")
            return cls(int(text), False, None)
        if header is None:
            return cls(0, False, None)
        match = _RANGE.fullmatch(header.replace(" ", ""))
        if match is None:
            raise BadRequest("Range must be bytes=N-")
        return cls(int(match[1]), True, request.headers.get(hdrs.IF_RANGE))

    def offset(self, tag: str, status: int) -> tuple[int, bool]:
        """Where to begin, and whether that answers a Range, which only a good answer has (RFC 9110, 14.2)."""
        if not self.by_range:
            return self.start, False
        return (self.start, True) if status == 200 and self.tag in (None, tag) else (0, False)


async def _deliver(request: web.Request, answer: Relayed, chunk: bytes, reader: Reader) -> web.StreamResponse:
    """Send `chunk` and all that the reader gets; break off without the final chunk where it gets an error."""
    try:
        await answer.prepare(request)
        if chunk:
            await answer.write(chunk)
        while (following := await reader.chunk()) is not None:
            await answer.write(following)
        await answer.write_eof()
    except ForemanError:
        await answer.break_off(request)
    except ConnectionError:
        answer.force_close()
    return answer


def _content_range(relay: Relay, offset: int) -> str:
    """While an answer grows, nobody knows its end (RFC 9110, 14.4)."""
    return f"bytes {offset}-{max(offset, relay.size - 1)}/{relay.size if relay.finished else '*'}"
