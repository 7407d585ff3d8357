"""Getting one job's model into the target's memory: alone, with its options, and pinned.

The old worker model is unloaded and seen gone before the new one loads, so that two are never resident together. What
is needed is decided in core/residency.py.
"""

import asyncio
import logging
from typing import Final

from foreman.core import names
from foreman.core.errors import TargetStatus
from foreman.core.job import surface_of
from foreman.core.lanes import Lane
from foreman.core.refusal import Refusal
from foreman.core.residency import Load, Ready, plan
from foreman.core.upkeep import is_upkeep
from foreman.engine.clock import Clock
from foreman.engine.live import Live
from foreman.engine.patience import Limits, Patience
from foreman.engine.poller import SWAP_SECONDS, Poller
from foreman.engine.reloads import Reloads
from foreman.engine.target import Target
from foreman.log import log_event

log = logging.getLogger(__name__)

# How long an evicted model may take to go before foreman goes on, and how often it looks.
EVICT_SECONDS: Final = 60.0
EVICT_LOOK_SECONDS: Final = 0.1


class Loading:
    """Loads what one job needs, once. `ms` is what it took; `reloads` is told."""

    def __init__(
        self,
        live: Live,
        patience: Patience,
        target: Target,
        poller: Poller,
        clock: Clock,
        limits: Limits,
        reloads: Reloads,
    ) -> None:
        self._live = live
        self._patience = patience
        self._target = target
        self._poller = poller
        self._clock = clock
        self._limits = limits
        self._reloads = reloads
        self._made = False
        self.ms = 0

    async def run(self) -> Refusal | None:
        """Load where needed. Returns what the target said where it could not. Raises TargetError."""
        if is_upkeep(self._live.model) or isinstance(self._need(), Ready):
            return None
        await self._poller.look(max_age=SWAP_SECONDS)
        need = self._need()
        # What is not there cannot be loaded, and needs no room made for it: the target says so in better words.
        if isinstance(need, Ready) or not await self._poller.knows(names.parse(need.key.model)):
            return None
        began = self._clock.monotonic()
        cause = self._reloads.cause(need)
        self._live.loading = True
        try:
            for model in need.evict:
                await self._evict(model)
            return await self._load(need)
        finally:
            self._live.loading = False
            seconds = self._clock.monotonic() - began
            self.ms = int(seconds * 1000)
            if cause is not None:
                self._reloads.pay(self._live, need.key, cause, seconds, loaded=self._made)

    def _need(self) -> Ready | Load:
        models = self._poller.models
        key = self._live.key
        remote = self._live.lane is Lane.REMOTE or models.is_remote(key.model)
        return plan(key, self._poller.residency, models, self._limits.swap, remote=remote)

    async def _evict(self, model: str) -> None:
        """Unload a model and wait until the target no longer shows it: its memory is needed for the next."""
        canonical = names.parse(model).canonical
        log_event(
            log,
            logging.INFO,
            "model_unload",
            "unloading",
            model=model,
            wanted=self._live.model,
            job=self._live.id,
            trace=self._live.trace,
        )
        try:
            await self._target.unload(model, EVICT_SECONDS)
        except TargetStatus as error:
            # Deleted meanwhile, most likely; it goes when the target needs its memory.
            log_event(log, logging.WARNING, "unload_refused", "the target refused to unload", model=model, error=error)
            return
        until = self._clock.monotonic() + EVICT_SECONDS
        pause = asyncio.Event()
        while self._clock.monotonic() < until:
            await self._poller.look()
            if all(runner.canonical != canonical for runner in self._poller.residency.runners):
                break
            await self._clock.wait(pause, EVICT_LOOK_SECONDS)
        self._poller.unloaded(canonical)

    async def _load(self, need: Load) -> Refusal | None:
        """Load by an empty request. A refusal by 4xx is left to the job's own request, which gets better words."""
        log_event(
            log,
            logging.INFO,
            "model_load",
            "loading",
            model=self._live.model,
            load_key=need.key,
            swap=need.swap,
            job=self._live.id,
            trace=self._live.trace,
        )
        # From here until the target has answered, nobody knows what options the model is loaded with.
        for name in self._poller.models.aliases(need.key.model):
            self._poller.unloaded(name)
        async with self._patience.ending(self._target.load(need.key, self._limits.keep_alive)) as exchange:
            head = await self._patience.head(exchange)
            refusal = Refusal(head.status, head.headers, await self._patience.rest(exchange))
        if refusal.status == 200:
            self._poller.loaded(need.key)
            self._made = True
            return None
        if refusal.status < 500 and refusal.status != 429:
            return None
        return refusal.on(surface_of(self._live.path), self._live.id)
