"""Looks at the target from time to time, and when somebody needs to know now.

Owns what is known of the target: its models, what it holds in memory, whether it answers. All others read that here.
Rules:
1. The last good answer is kept: a target that sleeps has the models it had.
2. One question at a time: whoever asks while one is under way gets that answer.
3. A timeout of /api/ps means that a model is loading (Ollama holds its lock meanwhile), not that the target is down.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from foreman.core.errors import TargetError, TargetStatus
from foreman.core.inventory import EMPTY, Inventory, runners_of
from foreman.core.job import LoadKey
from foreman.core.names import ModelName
from foreman.core.residency import Residency, Swap
from foreman.engine.clock import Clock
from foreman.engine.target import Target
from foreman.log import log_event

log = logging.getLogger(__name__)

# A flood of unknown names causes one look in this time; a single one is looked up at once.
MISS_SECONDS: Final = 1.0
# How old a look at what is loaded may be before a swap is decided on it.
SWAP_SECONDS: Final = 2.0
PROBE_FIRST_SECONDS: Final = 0.5
# Right after its start Ollama reads all manifests before it answers /api/tags: seconds with a large store.
LIST_SECONDS: Final = 30.0


class Poller:
    """Keeps `inventory`, `residency` and `reachable` up to date.

    `every` and `probe_cap` in seconds: the pause between looks, and between probes of a target that is down.
    """

    def __init__(self, target: Target, clock: Clock, *, every: float, probe_cap: float, swap: Swap) -> None:
        self._target = target
        self._clock = clock
        self._every = every
        self._probe_cap = probe_cap
        self._swap = swap
        self._epoch = 0
        self._looking: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._relisting: asyncio.Task[None] | None = None
        self.came_back: Callable[[], None] = lambda: None
        self.looked: Callable[[], None] = lambda: None
        self.changed: Callable[[], None] = lambda: None
        self._due = asyncio.Event()
        self.inventory: Inventory | None = None
        self.residency = Residency()
        self.version: bytes | None = None
        self.ps: bytes | None = None
        self.reachable: bool | None = None
        self.last_error: str | None = None
        self.polled_at: float | None = None  # unix seconds
        self.succeeded_at: float | None = None  # unix seconds
        self._listed_at = float("-inf")  # monotonic, when the last good list was asked for
        self._looked_at = float("-inf")  # monotonic

    def __repr__(self) -> str:
        models = len(self.models.models)
        return f"<Poller reachable={self.reachable}, {models} models, {len(self.residency.runners)} loaded>"

    @property
    def models(self) -> Inventory:
        """The last known models; none before the first answer."""
        return self.inventory or EMPTY

    def age(self) -> float:
        """Seconds since the list of models was last heard."""
        return max(0.0, self._clock.time() - (self.succeeded_at or 0.0))

    @property
    def stale(self) -> bool:
        return self.reachable is False

    async def run(self) -> None:
        """Look again and again until cancelled; sooner where `soon` was called or the target is down."""
        failures = 0
        while True:
            self._due.clear()
            await self.refresh()
            failures = 0 if self.reachable else failures + 1
            pause = self._every
            if failures:
                pause = min(PROBE_FIRST_SECONDS * 2.0 ** min(failures - 1, 10), self._probe_cap, self._every)
            await self._clock.wait(self._due, pause)

    def soon(self) -> None:
        """Have the next look now: the models have changed, or the target is in doubt."""
        self._due.set()

    async def refresh(self, *, anew: bool = False) -> None:
        """Ask for models, loaded models and version. Never raises for what the target does.

        `anew`: something has changed just now, so an answer to a question already under way is not good enough.
        """
        if anew and self._refreshing is not None:
            await asyncio.shield(self._refreshing)
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        await asyncio.shield(self._refreshing)

    async def knows(self, name: ModelName) -> bool:
        """Whether the target has this model, asking once more where the last list says no.

        While the target does not answer, nothing is known to be missing.
        """
        asked = self._clock.monotonic()
        if self.inventory is None and self.reachable is not False:
            await self.refresh()
        if self.models.find(name) is not None:
            return True
        for _ in range(2):
            # The one under way may have had its list before this was asked.
            if self._listed_at < asked and self.reachable is not False:
                await self._list_anew()
        return self._listed_at < asked or self.models.find(name) is not None

    async def look(self, *, max_age: float = 0.0) -> None:
        """Have a look at what is loaded, unless the last is younger than `max_age` seconds."""
        if self._clock.monotonic() - self._looked_at < max_age:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    def lost(self, error: str) -> None:
        """The target does not answer any more: probe until it does."""
        self._down(error)

    def loaded(self, key: LoadKey) -> None:
        self._epoch += 1
        self.residency = self.residency.with_loaded(key, self._swap)
        self.changed()
        # Beside the job, which need not wait for it: /api/ps answers from this, and the context length is learnt.
        self._looking = asyncio.create_task(self._look())

    def unloaded(self, model: str) -> None:
        self._epoch += 1
        self.residency = self.residency.without(model)
        self.changed()

    async def _list_anew(self) -> None:
        """Ask for the models again, but not sooner than `MISS_SECONDS` after the last time; all who wait share it."""
        if self._relisting is None or self._relisting.done():
            self._relisting = asyncio.create_task(self._list_in_time())
        await asyncio.shield(self._relisting)

    async def _list_in_time(self) -> None:
        wait = self._listed_at + MISS_SECONDS - self._clock.monotonic()
        if wait > 0:
            await self._clock.wait(asyncio.Event(), wait)
        await self.refresh(anew=True)

    async def _refresh(self) -> None:
        self.polled_at = self._clock.time()
        try:
            self.version = await self._target.get("/api/version")
        except TargetStatus:
            pass  # it answers, and that is the question here
        except TargetError as error:
            self._down(str(error))
            return
        self._up()
        await asyncio.gather(self._list(), self.look())

    async def _list(self) -> None:
        began = self._clock.monotonic()
        try:
            tags = await self._target.get("/api/tags", timeout=LIST_SECONDS)
            self.inventory = Inventory.of(tags)
        except (TargetError, ValueError) as error:
            log_event(log, logging.WARNING, "poll_failed", "the target's list of models cannot be read", error=error)
            return
        self._listed_at = began
        self.succeeded_at = self._clock.time()

    async def _look(self) -> None:
        epoch = self._epoch
        try:
            ps = await self._target.get("/api/ps")
            runners = runners_of(ps)
        except (TargetStatus, ValueError) as error:
            # It answers, but not that: nobody can wait for what it will never show.
            log_event(log, logging.WARNING, "look_failed", "the target does not say what is loaded", error=error)
            if epoch == self._epoch:
                self.residency = replace(self.residency, runners=(), known=False)
            return
        except TargetError as error:
            log_event(log, logging.DEBUG, "look_failed", "the target does not say what is loaded", error=error)
            return
        # A look that began before a load or unload ended says nothing about the time after it.
        if epoch == self._epoch:
            self.ps = ps
            before, self.residency = self.residency, self.residency.observe(runners, self.models)
            self._looked_at = self._clock.monotonic()
            self.looked()
            if before.runners != self.residency.runners:
                self.changed()

    def _up(self) -> None:
        if self.reachable is not True:
            log_event(log, logging.INFO, "target_up", "the target answers", target=self._target.origin)
        news = self.reachable is not True
        self.reachable = True
        self.last_error = None
        self.came_back()
        if news:
            self.changed()

    def _down(self, error: str) -> None:
        if self.reachable is not False:
            log_event(log, logging.WARNING, "target_down", "the target does not answer, jobs wait", error=error)
            # Whoever comes back may have been restarted: nothing is loaded, nothing pinned, until it is looked at.
            self._epoch += 1
            self._looked_at = float("-inf")
            self.residency = Residency()
            # Whoever noticed: the next probe must not wait for the next regular look.
            self.soon()
        news = self.reachable is not False
        self.reachable = False
        self.last_error = error
        if news:
            self.changed()
