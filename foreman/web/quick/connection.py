"""A client's connection on the short way.

Rules:
1. What is not an ordinary request goes to aiohttp, with every byte that was read, and the connection stays there. So
   does one that is refused before its body is looked into.
2. One answer at a time; what follows on the connection waits for its end, and for the client to read it.
3. Every check stands in both ways: host, origin and key are asked before anything else.
4. A client that leaves takes the task of its answer with it.
"""

import asyncio
import logging
from typing import Final, cast

from foreman.core import errors
from foreman.core.access import Caller
from foreman.core.errors import ForemanError
from foreman.web.admission import Inquiry
from foreman.web.answer import answer
from foreman.web.cached import head_and_body
from foreman.web.errors import render
from foreman.web.queued import Taken, client_of, take
from foreman.web.quick.outlet import QuickOutlet, head_of
from foreman.web.quick.request import QuickRequest, Reading, read
from foreman.web.quick.shared import Shared
from foreman.web.routes import needs_for

log = logging.getLogger(__name__)

# A request that does not arrive in one go gets this long before the way with more patience takes over, in seconds.
MORE_SECONDS: Final = 1.0
# What may wait behind an answer before the client is held back, in bytes.
AHEAD_BYTES: Final = 256 * 1024


class QuickConnection(asyncio.Protocol):
    """One client."""

    __slots__ = ("_data", "_idle_since", "_outlet", "_shared", "_task", "_timer", "_transport", "_writing_held")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._task: asyncio.Task[None] | None = None
        self._outlet: QuickOutlet | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._writing_held = False

    def __repr__(self) -> str:
        return f"<QuickConnection {'idle' if self._task is None else 'busy'}>"

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being a subclass
        self._shared.connections.add(self)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._let_go()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
            if self._task is None:
                self._stop_timer()
        self._data = data
        if self._is_free():
            self._next()
        elif len(data) > AHEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._hold(held=True)

    def resume_writing(self) -> None:
        self._hold(held=False)

    # -- for the server

    def close(self) -> None:
        """Close at once where nothing is going on, else at the end of the answer."""
        if self._task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- inside

    def _is_free(self) -> bool:
        """Whether the next request can be taken up: no answer is under way, and the client reads what it gets."""
        if self._task is not None or self._writing_held:
            return False
        return self._transport is not None and not self._transport.is_closing()

    def _next(self) -> None:
        """Take up the requests that are there, as far as they can be answered at once."""
        while self._data and self._is_free():
            asked = read(self._data, self._shared.body_bytes)
            if asked is Reading.MORE:
                self._wait_for_more()
                return
            caller = None if isinstance(asked, Reading) else self._admitted(asked)
            if isinstance(asked, Reading) or caller is None or not self._begin(asked, caller):
                self._hand_over(self._data)
                return
        if self._task is None:
            self._rest()

    def _admitted(self, asked: QuickRequest) -> Caller | None:
        """Who asks; None for who is refused, which the other way says, and counts."""
        guard = self._shared.guard
        try:
            guard.check(asked.method, asked.headers)
        except ForemanError:
            return None
        return guard.look(needs_for(asked.method, asked.path), asked.headers, self._address())

    def _address(self) -> str | None:
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return peer[0] if peer else None

    def _begin(self, asked: QuickRequest, caller: Caller) -> bool:
        if self._transport is None:
            return False
        if asked.method == "GET":
            found = head_and_body(self._shared.engine.poller, asked.path, self._shared.settings.remotes)
            if found is None:
                return False
            headers, body = found
            self._transport.write(head_of(200, headers, self._shared.common()) + body)
            self._data = self._data[asked.size :]
            return True
        request, self._data = self._data[: asked.size], self._data[asked.size :]
        self._stop_timer()
        self._task = asyncio.get_running_loop().create_task(self._serve(asked, request, caller))
        return True

    async def _serve(self, asked: QuickRequest, request: bytes, caller: Caller) -> None:
        shared, transport = self._shared, self._transport
        if transport is None:
            return
        outlet, path = None, asked.path
        try:
            taken = await self._taken(asked, caller)
            if taken is None:
                self._task = None
                self._hand_over(request + self._data)
                return
            del asked, request
            outlet = self._outlet = QuickOutlet(transport, shared.common(), held=self._writing_held)
            whole = await answer(outlet, shared.engine, taken.ticket, taken.waiting)
        except ForemanError as error:
            # Not handed over: to be asked again could cost another look at the target, or another row.
            whole = render(error, path)
        except Exception:
            log.exception(
                "a request could not be answered", extra={"event": "handler_failed", "fields": {"path": path}}
            )
            whole = render(errors.InternalError("foreman made a mistake; its log says more"), path)
        outlet = outlet or QuickOutlet(transport, shared.common(), held=self._writing_held)
        if whole is not None and not outlet.begun:
            outlet.send(whole)
        self._outlet = self._task = None
        self._after(outlet)

    async def _taken(self, asked: QuickRequest, caller: Caller) -> Taken | None:
        """None for what the other way has to answer. Raises what `take` raises."""
        client = client_of(asked.headers, self._address())
        inquiry = Inquiry(asked.path, asked.headers, asked.body, client, caller.key_id)
        taken = await take(inquiry, self._shared.engine, self._shared.settings)
        return taken if isinstance(taken, Taken) else None

    def _after(self, outlet: QuickOutlet) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if not outlet.whole or self._shared.closing:
            self._transport.close()
            return
        self._transport.resume_reading()
        self._next()

    def _hand_over(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._let_go()
        handler = self._shared.other_way()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        if self._writing_held:
            handler.pause_writing()
        transport.resume_reading()
        if data:
            handler.data_received(data)

    def _let_go(self) -> None:
        self._stop_timer()
        self._shared.forget(self)
        self._transport = None
        self._data = b""

    def _hold(self, *, held: bool) -> None:
        self._writing_held = held
        if self._outlet is not None:
            self._outlet.hold(held)
        elif self._is_free() and self._transport is not None:
            self._transport.resume_reading()
            self._next()

    # -- time

    def _rest(self) -> None:
        """Nothing is going on: close after a while."""
        loop = asyncio.get_running_loop()
        self._idle_since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._shared.idle_seconds, self._tire)

    def _tire(self) -> None:
        self._timer = None
        if self._transport is None:
            return
        loop = asyncio.get_running_loop()
        # A client that has yet to read its answer has something to do.
        since = loop.time() if self._writing_held else self._idle_since
        left = since + self._shared.idle_seconds - loop.time()
        if left <= 0:
            self._transport.close()
        else:
            self._timer = loop.call_later(left, self._tire)

    def _wait_for_more(self) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(MORE_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        self._timer = None
        self._hand_over(self._data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
