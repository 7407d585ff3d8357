"""A job's answer on its way from the relay to one client that waits for it.

1. For `hold` seconds nothing is sent: an error until then has its true status.
2. After that foreman commits itself to 200 and writes a heartbeat now and then, so that nobody between gives up.
3. An error after the first byte is told in-band, and the connection is closed without the final chunk: some clients
   hear only the one, some only the other.
4. A client that wished to wait only so long is told where to look, and the job runs on without it.
"""

import logging
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from foreman.core.errors import ForemanError, JobFailed
from foreman.core.framing import Framing, VerdictKind, framing_of
from foreman.core.headers import Headers, value_of
from foreman.core.job import JobState, surface_of
from foreman.core.ollama import late_error
from foreman.core.padding import may_pad, pad
from foreman.core.prefer import Preference
from foreman.core.refusal import Refusal
from foreman.engine.engine import Engine
from foreman.engine.intake import Ticket
from foreman.engine.relay import Head, Reader
from foreman.log import log_event
from foreman.web.accepted import accepted
from foreman.web.errors import ATTEMPT_HEADER, JOB_HEADER, render
from foreman.web.jobview import moment
from foreman.web.outlet import Outlet
from foreman.web.reasons import why

log = logging.getLogger(__name__)

CONTENT_TYPES: Final = {
    Framing.NDJSON: "application/x-ndjson",
    Framing.SSE: "text/event-stream",
    Framing.WHOLE: "application/json",
}
# The longest end of a line or an event: what of an answer must be remembered to know whether it stands between two.
BORDER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a client waits: the framing it asked for, how long it hears nothing, and how often something after that.

    Both in seconds; without a `heartbeat` (0) it hears nothing for as long as it takes. `may_return`: it sends its
    request again by itself where the connection fails.
    """

    asked: Framing
    hold: float
    heartbeat: float
    wish: Preference
    may_return: bool = False


async def answer(outlet: Outlet, engine: Engine, ticket: Ticket, waiting: Waiting) -> web.Response | None:
    """Stream a job's answer to the client; or give back what it gets instead: its error where no answer began."""
    reader = ticket.reader or ticket.relay.reader()
    if ticket.joined:
        trace = ticket.live and ticket.live.trace
        log_event(log, logging.INFO, "job_joined", "a request came again: it joins its job", job=ticket.id, trace=trace)
    began = False
    try:
        head = await _first_head(reader, waiting)
        if head is None and waiting.wish.wait is not None:
            return await accepted(engine, ticket, waiting.wish)
        began = True
        await Delivery(outlet, engine, ticket, reader, waiting).run(head)
    except ForemanError as error:
        return render(error, ticket.path, ticket.id)
    finally:
        if ticket.live is None:
            reader.leave()
        else:
            engine.left(ticket.live, reader, may_return=waiting.may_return and not began)
    return None


async def _first_head(reader: Reader, waiting: Waiting) -> Head | None:
    """The head, or None where it does not come within the hold, or within the time the client wished to wait."""
    if waiting.wish.wait == 0:
        return None
    patience = waiting.hold if waiting.heartbeat else None
    if waiting.wish.wait is not None:
        patience = waiting.wish.wait
    return await reader.head_within(patience)


class Delivery:
    """One answer to one client, from its head (None: not there yet) to its last byte."""

    def __init__(self, outlet: Outlet, engine: Engine, ticket: Ticket, reader: Reader, waiting: Waiting) -> None:
        self._outlet = outlet
        self._engine = engine
        self._ticket = ticket
        self._reader = reader
        self._waiting = waiting
        self._framing = waiting.asked
        self._tail = b""

    async def run(self, head: Head | None) -> None:
        outlet = self._outlet
        try:
            await outlet.begin(*self._opening(head))
            if head is None:
                head = await self._padded_head()
                if head.status >= 400:
                    await self._refused(head)
                    return
            while not await outlet.relay(self._reader, self._note, self._waiting.heartbeat or None):
                if self._has_room():
                    await outlet.write(pad(self._framing, await self._words()))
            await outlet.end()
        except ForemanError as error:
            await outlet.break_off(self._last_words(error))
        except ConnectionError:
            # The client is gone; its reader leaves, and there is nobody left to tell.
            outlet.give_up()

    def _opening(self, head: Head | None) -> tuple[int, Headers]:
        job = (JOB_HEADER, self._ticket.id)
        if head is None:
            # Which attempt will give the answer is not known yet.
            return 200, ((hdrs.CONTENT_TYPE, CONTENT_TYPES[self._framing]), job)
        self._framing = framing_of(value_of(head.headers, "content-type"))
        live = self._ticket.live
        attempt = self._ticket.attempt if live is None else live.number
        return head.status, (*head.headers, (ATTEMPT_HEADER, str(attempt)), job)

    async def _padded_head(self) -> Head:
        while True:
            await self._outlet.write(pad(self._framing, await self._words()))
            if (head := await self._reader.head_within(self._waiting.heartbeat)) is not None:
                return head

    def _note(self, chunk: bytes) -> None:
        self._tail = chunk[-BORDER_BYTES:] if len(chunk) >= BORDER_BYTES else (self._tail + chunk)[-BORDER_BYTES:]

    def _has_room(self) -> bool:
        """Whether a heartbeat may be written where the answer stands now."""
        # An announced length has no room for more, and behind the last line a space would be a line of its own.
        if self._outlet.sized or not may_pad(self._framing, self._tail):
            return False
        live = self._ticket.live
        if self._framing is not Framing.NDJSON or live is None or live.watch is None:
            return True
        return live.watch.verdict(complete=False).kind is VerdictKind.CUT

    async def _words(self) -> str:
        """What a heartbeat says of the job, where it can say anything."""
        live = self._ticket.live
        if live is None or self._framing is not Framing.SSE:
            return ""
        words = f"foreman job={live.id} state={live.state} model={live.model}"
        place = await self._engine.forecast.place(live) if live.state is JobState.QUEUED else None
        if place is None:
            return words
        reason = why(self._engine, live.key, live.lane, live.override, place)
        words += f" position={place.position} reason={reason.word}"
        if reason.hold is not None:
            return f"{words} hold={reason.hold.cause}: {reason.text}"
        if reason.slowdown is not None and reason.slowdown.until is not None:
            return f"{words} until={moment(int(reason.slowdown.until * 1000))}: {reason.text}"
        if place.expected_start is not None and not self._engine.paused:
            words += f" expected_start={place.expected_start:.0f}s"
        return words if reason.text is None else f"{words}: {reason.text}"

    async def _refused(self, head: Head) -> None:
        """The target refused the request after foreman had committed itself to 200."""
        body = b""
        while (chunk := await self._reader.chunk()) is not None:
            body += chunk
        text = Refusal(head.status, head.headers, body).text
        await self._outlet.break_off(self._last_words(JobFailed(text, "target_refused")))

    def _last_words(self, error: ForemanError) -> bytes:
        """What to write after the last byte of an answer that broke off; empty where its framing has no room for it."""
        reason = error.reason if isinstance(error, JobFailed) else error.code
        surface = surface_of(self._ticket.path)
        return late_error(self._framing, surface, str(error), reason, self._ticket.id, self._tail)
