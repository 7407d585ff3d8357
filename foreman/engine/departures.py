"""Clients that leave: what becomes of their jobs, and how long somebody has to come back.

Rules:
1. An attached job that nobody reads any more is cancelled, if the settings say so; a slot before it is granted always.
2. While foreman drains nothing is cancelled for a client that had to be sent away.
3. A cancel that cannot be written is logged and does not matter: the worker skips the job.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

from foreman.core.errors import StorageFailed, StorageFull
from foreman.core.job import JobState, Mode
from foreman.core.slots import is_slot
from foreman.engine.held import HeldSlots
from foreman.engine.live import Live
from foreman.engine.relay import Reader
from foreman.log import log_event

log = logging.getLogger(__name__)

# How long a client that retries by itself has to come back: the official SDKs wait at most 8 seconds.
RETURN_SECONDS: Final = 10.0


class Departures:
    """Who left, and what is done about it. `cancel` is the engine's; `cancels` says whether it is asked at all."""

    def __init__(self, held: HeldSlots, cancel: Callable[[str], Awaitable[JobState | None]], *, cancels: bool) -> None:
        self._held = held
        self._cancel = cancel
        self._cancels = cancels
        self._draining = asyncio.Event()
        self._aside: set[asyncio.Task[None]] = set()

    def left(self, live: Live, reader: Reader, *, may_return: bool) -> None:
        """A reader is gone.

        `may_return`: its client sends a request again by itself when a connection fails, so it gets time for that.
        """
        reader.leave()
        if self._forsaken(live):
            self._go_on(self._cancel_later(live) if may_return else self._cancel_forsaken(live))

    async def withdrawn(self, live: Live) -> None:
        """Its client left before it was accepted. Who asks for the same may just be joining it, and gets the time."""
        if live.hash is None:
            await self._cancel_quietly(live)
        elif self._forsaken(live):
            self._go_on(self._cancel_later(live))

    def drain(self) -> None:
        """From here on nobody is taken to have left by himself."""
        self._draining.set()

    async def settled(self) -> None:
        """Wait until every cancel is written."""
        await asyncio.gather(*self._aside)

    def _forsaken(self, live: Live) -> bool:
        if live.relay.finished or live.relay.readers or self._draining.is_set():
            return False
        if is_slot(live.model):
            return self._held.get(live.id) is None
        return live.mode is Mode.ATTACHED and self._cancels

    async def _cancel_later(self, live: Live) -> None:
        ended, stopping = (asyncio.create_task(event.wait()) for event in (live.ended, self._draining))
        await asyncio.wait((ended, stopping), timeout=RETURN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in (ended, stopping):
            wait.cancel()
        await self._cancel_forsaken(live)

    async def _cancel_forsaken(self, live: Live) -> None:
        if self._forsaken(live):  # somebody may have joined it just now
            await self._cancel_quietly(live)

    async def _cancel_quietly(self, live: Live) -> None:
        try:
            await self._cancel(live.id)
        except (StorageFull, StorageFailed) as error:
            log_event(log, logging.WARNING, "cancel_unsaved", "a cancel could not be written", job=live.id, error=error)

    def _go_on(self, step: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(step)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
