"""How long foreman waits for the target, and how it takes its leave.

Rules:
1. Silence alone means nothing, for a load can take half an hour: a probe on another connection decides.
2. Whatever was begun is read to its end or given up, and a target that was given up is first seen to let go.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from foreman.core.errors import TargetCut, TargetLost, TargetSilent
from foreman.core.residency import Swap
from foreman.core.retry import RetryPolicy
from foreman.core.room import Room
from foreman.engine.clock import Clock
from foreman.engine.exchange import Exchange
from foreman.engine.poller import Poller
from foreman.engine.relay import Head
from foreman.engine.target import Target
from foreman.log import log_event

log = logging.getLogger(__name__)

# So many probes in a row must fail before a silent target counts as dead within the first-byte timeout.
DEAD_PROBES: Final = 6
# How long a target may take to let go of a request that was given up, before foreman goes on.
ABORT_SECONDS: Final = 5.0
# An error body is read whole before it is judged; what is longer than this is no error body.
ERROR_BYTES: Final = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the worker is told by the settings. Seconds; `room` where the target's disk is this machine's."""

    first_byte: float
    idle: float
    probe: float
    keep_alive: str
    swap: Swap
    retry: RetryPolicy
    room: Room | None = None


class Patience:
    """Waits on exchanges with one target."""

    def __init__(self, target: Target, poller: Poller, clock: Clock, limits: Limits) -> None:
        self._target = target
        self._poller = poller
        self._clock = clock
        self._limits = limits

    async def head(self, exchange: Exchange) -> Head:
        """Status and headers, however long the target thinks. Raises TargetSilent when it has died."""
        return await self._until(exchange.head)

    async def chunk(self, exchange: Exchange) -> bytes:
        """The next bytes, b"" at the end, waited for in the same way. Raises TargetCut, or TargetSilent as `head`."""

        async def step(seconds: float) -> bytes | None:
            try:
                return await exchange.read(seconds)
            except TargetSilent:
                return None

        return await self._until(step)

    async def first(self, exchange: Exchange) -> bytes:
        """The first bytes after the head, waited for in the same way. Raises TargetLost where none come."""
        try:
            first = await self.chunk(exchange)
        except TargetCut as error:
            raise TargetLost(str(error)) from error
        if not first:
            raise TargetLost("the target ended its answer before it began")
        return first

    async def rest(self, exchange: Exchange) -> bytes:
        """The body of an answer that is not the work asked for. Raises TargetLost where it breaks off."""
        body = bytearray()
        try:
            while len(body) < ERROR_BYTES and (chunk := await exchange.read(self._limits.idle)):
                body += chunk
        except (TargetCut, TargetSilent) as error:
            raise TargetLost(str(error)) from error
        return bytes(body)

    @asynccontextmanager
    async def ending(self, exchange: Exchange) -> AsyncIterator[Exchange]:
        """End the exchange; where its end was not read, wait until the target has let go of it."""
        try:
            yield exchange
        finally:
            if exchange.ended:
                exchange.close()
            else:
                await self._give_up(exchange)

    async def _give_up(self, exchange: Exchange) -> None:
        if not await exchange.abort(ABORT_SECONDS):
            log_event(log, logging.WARNING, "abort_unseen", "the target did not close a request that was given up")
        await self._poller.look()

    async def _until(self, step: Callable[[float], Awaitable[T | None]]) -> T:
        """Repeat a step that gives up after some seconds, as long as the target lives.

        Within the first-byte timeout several probes in a row must fail, after it one is enough. Raises TargetSilent.
        """
        began = self._clock.monotonic()
        dead = 0
        while (got := await step(min(self._limits.probe, self._limits.first_byte))) is None:
            if await self._target.alive():
                dead = 0
                continue
            dead += 1
            silent = self._clock.monotonic() - began
            if dead >= DEAD_PROBES or silent >= self._limits.first_byte:
                raise TargetSilent(f"the target has been silent for {silent:.0f} s and does not answer a probe either")
        return got
