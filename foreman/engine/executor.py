"""Claims jobs and tries them under supervision, until told to stop. Which job comes next is for those who call.

Rules:
1. Nobody waits for a client: readers read from the relay. A slow reader costs bounded memory, never time.
2. An attempt holds no durable write: it may be cancelled at any await. What it came to is written after it has ended.
"""

import asyncio
import logging
from functools import partial
from typing import Final

from foreman.core.errors import StorageFailed, StorageFull
from foreman.core.job import HandBack, Next
from foreman.core.slots import is_slot
from foreman.core.upstreams import upstream_of
from foreman.engine.attempt import Attempt, Result
from foreman.engine.call import Call
from foreman.engine.clock import Clock, millis
from foreman.engine.held import HeldSlots
from foreman.engine.holding import Holding, Left, Try
from foreman.engine.live import Live
from foreman.engine.patience import Limits
from foreman.engine.poller import Poller
from foreman.engine.settlement import STORE_PAUSE_SECONDS, Settlement
from foreman.engine.start import Start
from foreman.engine.target import Target
from foreman.engine.upstreams import Upstreams
from foreman.log import log_event

log = logging.getLogger(__name__)

# How long to wait for the time of a delayed job before the clock is read again: it may have been set, and while a
# machine sleeps it goes on where the time of waiting stands still.
RECHECK_SECONDS: Final = 30.0

# A job was in flight when the last process died: how long the target gets to notice that nobody waits for it any more.
# Ollama does at its next token, and nothing it says would show it.
ORPHAN_SECONDS: Final = 0.5


class Executor:
    """Runs claimed jobs. Once it stops it claims none, and what is under way is left to end."""

    def __init__(
        self,
        settlement: Settlement,
        target: Target,
        upstreams: Upstreams,
        poller: Poller,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self.settlement = settlement
        self.store = settlement.store
        self.jobs = settlement.jobs
        self.target = target
        self.upstreams = upstreams
        self.poller = poller
        self.clock = clock
        self.held = HeldSlots(clock)
        self.reloads = settlement.reloads
        self._limits = limits
        self._stop_asked = asyncio.Event()
        self.paused = False  # no job is begun
        self.orphaned = False  # an earlier process died with a job in flight

    def __repr__(self) -> str:
        return f"<Executor stopping={self.stopping()} paused={self.paused}>"

    # -- whether there is anything to be begun

    def stopping(self) -> bool:
        return self._stop_asked.is_set()

    def goes_on(self) -> bool:
        """Whether any job may be begun; while the target is down some may that do not need it."""
        return not self.stopping() and not self.paused and self.poller.reachable is not False

    def stop(self) -> None:
        """Have nothing more claimed."""
        self._stop_asked.set()
        self.settlement.stopping = True
        self.held.leave()
        self.jobs.lanes.wake()

    async def orphans_gone(self) -> None:
        """Wait until the target has let go of what an earlier process had sent it."""
        if self.orphaned:
            log_event(log, logging.INFO, "orphan_wait", "a job was in flight when foreman died: the target may notice")
            await self.clock.wait(self._stop_asked, ORPHAN_SECONDS)

    def near(self) -> tuple[str, ...] | None:
        """While the target is down, the load keys of the local lane whose jobs do without it; else None, for all."""
        if self.poller.reachable is not False:
            return None
        return tuple(key for key in self.jobs.local.depth.load_keys() if is_slot(key))

    async def claim(self, wanted: Next) -> Start | None:
        """The next job, or None where none is ready or nothing can be written before the end."""
        while not self.stopping():
            try:
                claim = await self.store.claim(wanted, millis(self.clock))
            except (StorageFull, StorageFailed) as error:
                self.settlement.trouble.begin(error)
                await self.clock.wait(self._stop_asked, STORE_PAUSE_SECONDS)
            else:
                return None if claim is None else Start(self.jobs.taken(claim), claim)
        return None

    async def until_due(self) -> float | None:
        """For how many seconds nothing can become ready by itself, as far as can be told; None for ever."""
        due = await self.settlement.persist(self.store.next_due)
        return None if due is None else min(max(0.0, due / 1000 - self.clock.time()), RECHECK_SECONDS)

    # -- one attempt

    async def attempt(self, start: Start) -> tuple[Try, Result] | None:
        """Try a claimed job once. None where it is not ours to settle: its claim was never written, or it is left."""
        live = start.live
        live.taken_at = self.clock.monotonic()
        attempt = self._try(start)
        attempt.working = partial(self._note_working, live)
        try:
            result = await self._supervised(start, attempt)
        finally:
            await attempt.leave()
        if isinstance(result, Left):
            self.jobs.let_go(live)
            return None
        if not await start.on_disk():
            return None
        if isinstance(result, HandBack) and live.cancelled:
            result = attempt.cancelled()
        return attempt, result

    def _try(self, start: Start) -> Try:
        key = start.live.key
        if is_slot(start.live.model):
            return Holding(start, self.held, self.clock)
        if upstream_of(key.model) is None:
            return Attempt(start, self.target, self.poller, self.clock, self._limits, self.reloads)
        upstream = self.upstreams.of(key)
        return Call(start, upstream, self.target, self.poller, self.clock, self._limits, self.reloads)

    def _note_working(self, live: Live) -> None:
        self.store.note_working(live.seq, millis(self.clock))
        self.jobs.changed(live)

    async def _supervised(self, start: Start, attempt: Try) -> Result | Left:
        """The attempt as a task of its own, so that a cancel stops it wherever it stands, and nothing else."""
        live = start.live
        if live.cancelled and self.held.get(live.id) is None:
            return attempt.cancelled()
        if self.stopping():
            return attempt.handed_back()
        task = asyncio.create_task(attempt.run(), name=f"attempt {live.id}")
        live.attempt = task
        # A second cancel would end the wait for the target to let go of the job.
        start.unless_on_disk(lambda: task.cancelling() or task.cancel())
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return attempt.handed_back() if live.handed_back and not live.cancelled else attempt.cancelled()
        finally:
            live.attempt = None
