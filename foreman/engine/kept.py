"""Requests to the target on connections that are kept: nothing is opened, and next to nothing built, for a job.

Rules:
1. A kept connection can be closed by the target at the moment of sending. Where it closes at once and without a word,
   the request is sent again on a fresh one, and nobody hears of it; a fresh one is never tried twice.
2. A connection that has been idle for long is not used again: what lies between may have forgotten it. Nor is one on
   which anything has come since: nobody has asked for it.
3. Bytes go from the connection to who takes them, without a task or a queue between; who only reads holds it back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from foreman.core.errors import TargetCut, TargetError, TargetGarbled, TargetLost, TargetSilent, TargetUnreachable
from foreman.core.headers import Headers, answer_headers
from foreman.engine.arrival import reason_of
from foreman.engine.relay import Head
from foreman.engine.waiter import Waiter
from foreman.engine.wire import Wire

# How soon after sending a kept connection must close to have been closing already (rule 1), in seconds.
STALE_SECONDS: Final = 1.0
# How long a connection may be idle and still be used again, in seconds.
IDLE_SECONDS: Final = 15.0
# What may wait for a reader before the connection is held back, in bytes.
HIGH_BYTES: Final = 256 * 1024


class Wires:
    """The connections to one server, of which some are idle; `connect` opens another."""

    def __init__(self, connect: Callable[[], Awaitable[Wire]]) -> None:
        self._connect = connect
        self._idle: list[tuple[Wire, float]] = []
        self._open: set[Wire] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Wires {len(self._open)} open, {len(self._idle)} idle>"

    def idle(self) -> Wire | None:
        """A connection that was used before and can be used again."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            wire, since = self._idle.pop()
            if wire.reusable and now - since < IDLE_SECONDS and not wire.stirred:
                return wire
            wire.abort()
        return None

    async def fresh(self) -> Wire:
        """A new connection. Raises TargetUnreachable where there is none to be had."""
        try:
            wire = await self._connect()
        except (OSError, UnicodeError) as error:  # the second where the host's name is none
            raise TargetUnreachable(f"the target cannot be reached ({reason_of(error)})") from error
        if self._closed:
            wire.abort()
            raise TargetUnreachable("foreman speaks to the target no more")
        self._open.add(wire)
        wire.closed.add_done_callback(lambda _: self._open.discard(wire))
        return wire

    def give_back(self, wire: Wire) -> None:
        if wire.reusable:
            self._idle.append((wire, asyncio.get_running_loop().time()))
        else:
            wire.abort()

    async def close(self) -> None:
        """Close every connection, those in use as well. There will be no other."""
        self._closed = True
        self._idle.clear()
        for wire in list(self._open):
            wire.abort()
            await asyncio.shield(wire.closed)


class KeptExchange:
    """An Exchange; see there. `head` and `body` are the request as it goes over the wire."""

    def __init__(self, wires: Wires, head: bytes, body: bytes) -> None:
        self._wires = wires
        self._request = head, body
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._opening: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._take: Callable[[bytes], None] | None = None
        self._error: TargetError | None = None
        self._over = False
        self._given_up = False
        self._waiter = Waiter()
        self._heard_at = self._loop.time()
        wire = wires.idle()
        if wire is None:
            self._opening = self._loop.create_task(self._open())
        else:
            self._send(wire)

    @property
    def ended(self) -> bool:
        return self._over

    # -- for the worker

    async def head(self, patience: float | None = None) -> Head | None:
        while self._head is None:
            if self._error is not None:
                raise self._error
            if not await self._waiter.wait(patience):
                return None
        if 300 <= self._head.status < 400 and self._head.status != 304:
            status = self._head.status
            raise TargetGarbled(f"the target answered with a redirect ({status}), which is not followed")
        return self._head

    async def read(self, patience: float | None = None) -> bytes:
        if self._head is None:
            raise TargetCut("the answer has no head yet")
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._over:
                return b""
            if not await self._waiter.wait(patience):
                raise TargetSilent(f"the target sent nothing for {patience:g} s")
        chunks, self._chunks = self._chunks, []
        if self._waiting_bytes > HIGH_BYTES and self._wire is not None and not self._over:
            self._wire.hold(False)
        self._waiting_bytes = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def pump(self, take: Callable[[bytes], None], patience: float) -> None:
        if self._chunks:
            take(await self.read())
        self._take = take
        while not self._over:
            quiet = self._loop.time() - self._heard_at
            if quiet >= patience:
                raise TargetSilent(f"the target sent nothing for {patience:g} s")
            await self._waiter.wait(patience - quiet)
        if self._error is not None:
            raise self._error

    async def abort(self, grace: float) -> bool:
        self._given_up = True
        if self._over or self._wire is None or self._wire.unsent:
            self.close()  # the target has not got the request, or has done with it
            return True
        self._take = _nobody
        self._wire.hold(False)
        self._wire.half_close()
        try:
            async with asyncio.timeout(grace):
                await asyncio.shield(self._wire.closed)
                return True
        except TimeoutError:
            return False
        finally:
            self.close()

    def close(self) -> None:
        self._given_up = True
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None and not self._over:
            self._wire.abort()

    # -- for the wire

    def on_head(self, status: int, headers: Headers) -> None:
        self._head = Head(status, answer_headers(headers))
        self._heard_at = self._loop.time()
        self._waiter.wake()

    def on_bytes(self, chunk: bytes) -> None:
        self._heard_at = self._loop.time()
        if self._take is not None:
            self._take(chunk)
            return
        self._chunks.append(chunk)
        self._waiting_bytes += len(chunk)
        if self._waiting_bytes > HIGH_BYTES and self._wire is not None:
            self._wire.hold(True)
        self._waiter.wake()

    def on_end(self) -> None:
        wire, self._over = self._wire, True
        if wire is not None:
            if self._waiting_bytes > HIGH_BYTES:
                wire.hold(False)
            self._wires.give_back(wire)
        self._waiter.wake()

    def on_error(self, error: TargetError) -> None:
        if isinstance(error, TargetLost) and self._was_stale():
            self._opening = self._loop.create_task(self._open())
            return
        self._error = error
        self._over = True
        self._waiter.wake()

    def _was_stale(self) -> bool:
        wire = self._wire
        if wire is None or self._given_up or wire.sent < 2 or wire.heard:
            return False
        return self._loop.time() - self._heard_at < STALE_SECONDS

    # -- inside

    async def _open(self) -> None:
        self._wire = None
        try:
            self._send(await self._wires.fresh())
        except TargetError as error:
            self._error = error
            self._over = True
            self._waiter.wake()

    def _send(self, wire: Wire) -> None:
        self._wire = wire
        self._heard_at = self._loop.time()
        wire.send(*self._request, self)


def _nobody(_: bytes) -> None:
    """Takes what is not wanted any more."""
