"""The one worker: claims jobs, has the model loaded, sends the request, and settles how it ended.

Rules:
1. A job is queued again only while its relay has released no byte. After that a failure is final and told in-band.
2. Only the worker moves a claimed job; everyone else asks (Engine.cancel).
3. The worker never waits for a client: readers read from the relay. A slow reader costs bounded memory, never time.
4. An attempt holds no durable write: it may be cancelled at any await. What it came to is written after it has ended.
5. The next job starts only when the target has let go of this one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from foreman.core.errors import Draining, ForemanError, JobCancelled, JobFailed, StorageFailed, StorageFull
from foreman.core.estimate import History, Sample
from foreman.core.inventory import Inventory
from foreman.core.job import FINISHED, Chosen, Claim, HandBack, Hot, JobState, NewJob, Outcome
from foreman.core.residency import Residency, hot
from foreman.engine.attempt import Attempt, Result
from foreman.engine.clock import Clock, millis
from foreman.engine.gate import Gate
from foreman.engine.live import Live, LiveJobs
from foreman.engine.patience import Limits
from foreman.engine.poller import SWAP_SECONDS, Poller
from foreman.engine.start import Start, begun
from foreman.engine.store import Finished, Store
from foreman.engine.target import Target
from foreman.engine.trouble import StoreTrouble
from foreman.log import log_event

log = logging.getLogger(__name__)

# How long to wait before the store is tried again after it refused a write (a full disk, a foreign lock).
STORE_PAUSE_SECONDS: Final = 1.0

# How long to wait for the time of a delayed job before the clock is read again: it may have been set, and while a
# machine sleeps it goes on where the time of waiting stands still.
RECHECK_SECONDS: Final = 30.0

# A job was in flight when the last process died: how long the target gets to notice that nobody waits for it any more.
# Ollama does at its next token, and nothing it says would show it.
ORPHAN_SECONDS: Final = 0.5

T = TypeVar("T")


class Worker:
    """Runs one job at a time until `stop`."""

    def __init__(
        self, store: Store, target: Target, poller: Poller, jobs: LiveJobs, clock: Clock, limits: Limits, gate: Gate
    ) -> None:
        self._store = store
        self._target = target
        self._poller = poller
        self._jobs = jobs
        self._clock = clock
        self._limits = limits
        self._gate = gate
        self._stop_asked = asyncio.Event()
        self._pause = asyncio.Event()  # never set: only waited for
        self.paused = False  # no job is begun
        self.history = History()
        self.orphaned = False  # an earlier process died with a job in flight
        self.idle = asyncio.Event()
        self.trouble = StoreTrouble()
        self._seen: tuple[Residency, Inventory] | None = None
        self._hot = Hot()
        self._resting = False  # nothing is ready, as far as anybody knows
        self._handed: Start | None = None

    def __repr__(self) -> str:
        return f"<Worker running {self._jobs.running!r}>"

    def _stopping(self) -> bool:
        return self._stop_asked.is_set()

    def stop(self) -> None:
        """Claim no more; `run` returns after the job at hand."""
        self._stop_asked.set()
        self._jobs.wake.set()

    async def run(self) -> None:
        """Claim and run until stopped. Anything that escapes from here ends the process."""
        start: Start | None = None
        if self.orphaned:
            log_event(log, logging.INFO, "orphan_wait", "a job was in flight when foreman died: the target may notice")
            await self._clock.wait(self._stop_asked, ORPHAN_SECONDS)
        while not self._stopping() or start is not None:
            start = start or await self._next()
            if start is not None:
                start = await self._run_one(start)
        self.idle.set()

    def begin(self, live: Live, job: NewJob, written: asyncio.Future[bool]) -> bool:
        """Begin a job that is on its way to the store, claimed already; False where it has to wait in line.

        It has to, unless nothing runs, nothing is ready, and its model is loaded.
        """
        if not self._resting or self._jobs.wake.is_set() or self._stopping() or self.paused:
            return False
        if self._poller.reachable is False or str(job.load_key) not in self.hot().load_keys:
            return False
        claim = begun(job, 0, job.created_at)
        self._handed = Start(live, claim, written, self._target.exchange(job.payload))
        self._jobs.begun(live, claim)
        self._jobs.wake.set()
        return True

    async def _next(self) -> Start | None:
        """The next job in order; waits for one. None when stopping."""
        while not self._stopping():
            await self._until_target_answers()
            self._jobs.wake.clear()
            if self._stopping():
                return None
            if self._jobs.depth.total == 0 or self.paused:
                await self._rest(None)
            else:
                preferred = await self._preferred()
                claim = await self._claim(preferred)
                if claim is not None:
                    return Start(self._jobs.taken(claim), claim)
                if self._stopping():
                    return None
                due = await self._persist(self._store.next_due)
                pause = None if due is None else min(max(0.0, due / 1000 - self._clock.time()), RECHECK_SECONDS)
                await self._rest(self._gate.pause(pause))
            if self._handed is not None:
                start, self._handed = self._handed, None
                return start
        return None

    async def _rest(self, pause: float | None) -> None:
        """Nothing is ready: wait until something may be, at most `pause` seconds."""
        self._resting = True
        await self._clock.wait(self._jobs.wake, pause)
        self._resting = False

    async def _claim(self, preferred: Hot) -> Claim | None:
        """The next job, or None where none is ready or nothing can be written before the end."""
        while not self._stopping():
            try:
                return await self._store.claim(preferred, millis(self._clock))
            except (StorageFull, StorageFailed) as error:
                self.trouble.begin(error)
                await self._clock.wait(self._stop_asked, STORE_PAUSE_SECONDS)
        return None

    async def _until_target_answers(self) -> None:
        """Wait while the target is down. The poller, which probes it, sets the same event as a new job."""
        while self._poller.reachable is False and not self._stopping():
            self._jobs.wake.clear()
            await self._jobs.wake.wait()

    async def _preferred(self) -> Hot:
        """What the next claim should prefer. Before a swap the target is asked again: others may use it too."""
        preferred = self.hot()
        if not self._jobs.depth.matches(preferred):
            await self._poller.look(max_age=SWAP_SECONDS)
            preferred = self.hot()
        return await self._gate.admits(preferred)

    def hot(self) -> Hot:
        """What the target holds, as far as it is known."""
        seen = self._poller.residency, self._poller.models
        if self._seen is None or seen[0] is not self._seen[0] or seen[1] is not self._seen[1]:
            self._seen, self._hot = seen, hot(*seen)
        return self._hot

    async def _run_one(self, start: Start) -> Start | None:
        """Run a claimed job to its end, and return the next one where it came with the settling of this."""
        live = start.live
        live.taken_at = self._clock.monotonic()
        attempt = Attempt(start, self._target, self._poller, self._clock, self._limits)
        attempt.working = partial(self._note_working, live)
        try:
            result = await self._supervised(start, attempt)
        finally:
            await attempt.leave()
        if not await start.on_disk():
            return None
        if isinstance(result, HandBack) and live.cancelled:
            result = attempt.cancelled()
        if isinstance(result, Outcome):
            return await self._settle(live, attempt, result)
        return await self._hand_back(live, start.claim, result)

    def _note_working(self, live: Live) -> None:
        self._store.note_working(live.seq, millis(self._clock))
        self._jobs.changed(live)

    async def _supervised(self, start: Start, attempt: Attempt) -> Result:
        """The attempt as a task of its own, so that a cancel stops it wherever it stands, and nothing else."""
        live = start.live
        if live.cancelled:
            return attempt.cancelled()
        if self._stopping():
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

    async def _settle(self, live: Live, attempt: Attempt, outcome: Outcome) -> Start | None:
        chosen = self._chosen()
        if chosen is None:
            live.relay.finish(attempt.error)
            finished = await self._finish(live, attempt, outcome, self._following())
            return None if finished.next is None else Start(self._jobs.taken(finished.next), finished.next)
        following, job = chosen
        # Before anything else: until then the target has nothing to do.
        ahead = self._target.exchange(job.payload)
        live.relay.finish(attempt.error)
        claim = begun(job, following.seq, outcome.at)
        self._jobs.begun(following, claim)
        written = asyncio.create_task(self._finish_and_claim(live, attempt, outcome, following))
        return Start(following, claim, written, ahead)

    async def _finish_and_claim(self, live: Live, attempt: Attempt, outcome: Outcome, following: Live) -> bool:
        finished = await self._finish(live, attempt, outcome, Chosen(following.seq))
        if finished.chosen:
            self._jobs.claimed(following)
        else:
            await self._give_up(following)
        return finished.chosen

    async def _give_up(self, live: Live) -> None:
        """A job that was begun is not the worker's: somebody cancelled it in the same moment, most likely."""
        job = await self._persist(lambda: self._store.get(live.id))
        self._jobs.unclaimed(live)
        if job is not None and job.state not in FINISHED:
            self._send_away(live)
            return
        live.relay.finish(JobCancelled("the job was cancelled"))
        self._jobs.gone(live, JobState.CANCELLED if job is None else job.state)
        log_event(
            log, logging.INFO, "job_finished", f"job {live.state}",
            job=live.id, model=live.model, path=live.path, client=live.client, outcome=live.state,
        )  # fmt: skip

    async def _finish(self, live: Live, attempt: Attempt, outcome: Outcome, following: Hot | Chosen | None) -> Finished:
        finished = await self._persist(lambda: self._store.finish(live.seq, outcome, following))
        if finished.state is JobState.DONE:
            self.history.add(Sample.of(str(live.key), live.model, outcome.stats, outcome.at))
        self._jobs.gone(live, finished.state or outcome.state)
        self._log_finished(live, attempt, outcome, finished)
        return finished

    async def _hand_back(self, live: Live, claim: Claim, back: HandBack) -> Start | None:
        self._send_away(live)
        following = self._following() if back.not_before else None
        finished = await self._persist(lambda: self._store.hand_back(live.seq, back, following))
        if finished.state is JobState.CANCELLED:
            self._jobs.gone(live, JobState.CANCELLED)
        else:
            if live.relay.released and not self._stopping():
                live.relay.finish(JobFailed(f"this attempt broke off, another follows: {back.error}", "attempt_failed"))
            self._jobs.returned(live)
            self._send_away(live)
        log_event(
            log,
            logging.WARNING,
            "job_handed_back",
            "job goes back to the queue",
            job=live.id,
            model=live.model,
            code=back.error_code,
            error=back.error,
            counted=back.counted,
            attempt=claim.job.attempts,
            again_in=max(0.0, round((back.not_before - back.at) / 1000, 3)),
        )
        return None if finished.next is None else Start(self._jobs.taken(finished.next), finished.next)

    def _send_away(self, live: Live) -> None:
        """Nobody can wait for a job that goes back to the queue of a foreman that stops."""
        if self._stopping():
            live.relay.finish(_sent_away(live))

    def _chosen(self) -> tuple[Live, NewJob] | None:
        """The next job, where it is known without asking the store, and needs no look at the target first."""
        # While the store takes no writes, a job that was begun would only keep the target from others.
        return self._jobs.chosen(self.hot()) if self._goes_on() and self.trouble.error is None else None

    def _goes_on(self) -> bool:
        return not self._stopping() and not self.paused and self._poller.reachable is not False

    def _following(self) -> Hot | None:
        """What to claim in the same transaction, or None where the next claim needs a look at the target first."""
        if not self._goes_on():
            return None
        preferred = self.hot()
        return self._gate.closed(preferred) if self._jobs.depth.matches(preferred) else None

    async def _persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """A write that must not be lost: tried again until the store takes it."""
        while True:
            try:
                return await write()
            except (StorageFull, StorageFailed) as error:
                self.trouble.begin(error)
                await self._clock.wait(self._pause, STORE_PAUSE_SECONDS)

    def _log_finished(self, live: Live, attempt: Attempt, outcome: Outcome, finished: Finished) -> None:
        stats = outcome.stats
        log_event(
            log,
            logging.INFO,
            "job_finished",
            f"job {live.state}",
            job=live.id,
            model=live.model,
            path=live.path,
            client=live.client,
            waited_ms=stats.waited_ms,
            load_ms=stats.load_ms,
            first_byte_ms=stats.first_byte_ms,
            total_ms=stats.total_ms,
            prompt_tokens=stats.prompt_tokens,
            output_tokens=stats.output_tokens,
            outcome=live.state,
            error=outcome.error_code,
            attempt=attempt.number,
            fenced=None if finished.applied else True,
        )


def _sent_away(live: Live) -> ForemanError:
    """What the reader of a job that is handed back at shutdown hears."""
    if live.relay.released:
        return JobFailed("foreman was stopped while the answer was on its way; the job is kept", "interrupted")
    return Draining("foreman is shutting down; the job is kept and goes on after the restart")
