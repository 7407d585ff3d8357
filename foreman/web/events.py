"""What happens, as server-sent events: a snapshot of the queue first, then every change.

`snapshot` and `job` are for everybody; `state` says that the queue was paused, or that something is new of the target.
Who asks with `?live=true` also hears, some times a second, how far the running jobs are (`live`, without an id).
Of the jobs of other keys only counts are told (`others`). A key that ends while somebody follows with it ends that too.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import hdrs, web

from foreman.core.access import Caller
from foreman.core.errors import BadRequest
from foreman.engine.engine import Engine
from foreman.engine.events import Event, Notice
from foreman.web.app_keys import ENGINE
from foreman.web.guard import CALLER, GUARD, Guard
from foreman.web.jobview import change_view
from foreman.web.own import counts
from foreman.web.pulse import TICK_SECONDS, Pulse
from foreman.web.queue import queue_view
from foreman.web.status import state_view

LAST_EVENT_ID: Final = "Last-Event-ID"
HEARTBEAT_SECONDS: Final = 10.0


async def events(request: web.Request) -> web.StreamResponse:
    """Follow until either side ends. `Last-Event-ID` takes up where a connection broke, as far back as is kept."""
    engine, caller = request.app[ENGINE], request[CALLER]
    number = _number(request.headers.get(LAST_EVENT_ID))
    live = request.query.get("live", "false")
    if live not in ("true", "false"):
        raise BadRequest("live must be true or false")
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store"})
    following = Following(engine, request.app[GUARD], caller, Pulse(engine, caller) if live == "true" else None)
    try:
        await response.prepare(request)
        await _follow(following, response, number)
    except ConnectionError:  # it may have gone before the first byte
        response.force_close()
    return response


@dataclass(frozen=True, slots=True)
class Following:
    """Who follows what."""

    engine: Engine
    guard: Guard
    caller: Caller
    pulse: Pulse | None


async def _follow(following: Following, response: web.StreamResponse, number: int) -> None:
    """Raises ConnectionError where the client has gone."""
    engine, caller = following.engine, following.caller
    rhythm = _Rhythm(following.pulse)
    while not engine.draining and following.guard.still(caller):
        missed = engine.events.since(number)
        if missed is None:
            number, data = await _snapshot(engine, caller)
            await response.write(frame(number, "snapshot", data))
            continue
        for event in missed:
            number = event.number
            if told := _told(engine, event, caller):
                await response.write(told)
        if missed and not _told(engine, missed[-1], caller):
            await response.write(frame(number, "others", orjson.dumps(counts(engine))))
        if due := rhythm.due():
            await response.write(due)
        try:
            async with asyncio.timeout(rhythm.pause()):
                await engine.events.news(number)
        except TimeoutError:
            continue


class _Rhythm:
    """What is to be sent because time passes: how far the running jobs are, and a sign of life."""

    def __init__(self, pulse: Pulse | None) -> None:
        self._pulse = pulse
        self._clock = asyncio.get_running_loop().time
        self._sent_at = self._beat_at = self._clock()

    def due(self) -> bytes:
        now, sent = self._clock(), b""
        if self._pulse is not None and now >= self._beat_at + TICK_SECONDS:
            self._beat_at = now
            beat = self._pulse.beat()
            sent = b"event: live\ndata: %s\n\n" % beat if beat else b""
        if not sent and now >= self._sent_at + HEARTBEAT_SECONDS:
            sent = b": \n\n"
        if sent:
            self._sent_at = now
        return sent

    def pause(self) -> float:
        """Seconds after which something may be due."""
        if self._pulse is not None and self._pulse.beats:
            return max(0.0, self._beat_at + TICK_SECONDS - self._clock())
        return max(0.0, self._sent_at + HEARTBEAT_SECONDS - self._clock())


def _number(last: str | None) -> int:
    """The event to go on behind. Raises BadRequest."""
    if last is None:
        return -1
    if not (last.isascii() and last.isdigit() and len(last) < 19):
        raise BadRequest("Last-Event-ID must be the id of an event")
    return int(last)


def _told(engine: Engine, event: Event | Notice, caller: Caller) -> bytes:
    """Nothing for a change of a job of another key."""
    if isinstance(event, Notice):
        return frame(event.number, "state", orjson.dumps(state_view(engine)))
    if not caller.sees(event.live.key_id):
        return b""
    return frame(event.number, "job", orjson.dumps(change_view(event)))


async def _snapshot(engine: Engine, caller: Caller) -> tuple[int, bytes]:
    # The number is taken first: a change during the query is told again, which is better than not at all.
    number = engine.events.last
    return number, orjson.dumps(await queue_view(engine, caller))


def frame(number: int, name: str, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), data)
