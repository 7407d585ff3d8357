"""How claimed jobs ended, written down: in the store first, then wherever it is waited for.

Rules:
1. A job is queued again only while its relay has released no byte, but for upkeep, whose lines may go on where
   they broke off. After that a failure is final and told in-band.
2. A write that must not be lost is tried again until the store takes it.
3. Only who claimed a job may settle it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from foreman.core.errors import Draining, ForemanError, JobFailed, StorageFailed, StorageFull
from foreman.core.estimate import History, Sample
from foreman.core.job import Chosen, Claim, HandBack, JobState, Next, Outcome
from foreman.core.upkeep import is_upkeep
from foreman.engine.clock import Clock
from foreman.engine.holding import Try
from foreman.engine.live import Live, LiveJobs
from foreman.engine.reloads import Reloads
from foreman.engine.start import Start
from foreman.engine.store import Finished, Store
from foreman.engine.trouble import StoreTrouble
from foreman.log import log_event

log = logging.getLogger(__name__)

# How long to wait before the store is tried again after it refused a write (a full disk, a foreign lock).
STORE_PAUSE_SECONDS: Final = 1.0

T = TypeVar("T")


class Settlement:
    """Settles jobs. `history` learns from those that are done, `trouble` of a store that takes no writes.

    `reloads` hears of all that ran.
    """

    def __init__(self, store: Store, jobs: LiveJobs, clock: Clock, reloads: Reloads) -> None:
        self.store = store
        self.jobs = jobs
        self.reloads = reloads
        self._clock = clock
        self._pause = asyncio.Event()  # never set: only waited for
        self.stopping = False
        self.history = History()
        self.trouble = StoreTrouble()

    def __repr__(self) -> str:
        return f"<Settlement stopping={self.stopping} {self.trouble!r}>"

    async def settle(self, live: Live, attempt: Try, outcome: Outcome, following: Next | None) -> Start | None:
        """Tell the readers and write it down; what was claimed along with that."""
        live.relay.finish(attempt.error)
        return self._started(await self.finish(live, attempt, outcome, following))

    async def finish(self, live: Live, attempt: Try, outcome: Outcome, following: Next | Chosen | None) -> Finished:
        """The same where the readers have been told."""
        finished = await self.persist(lambda: self.store.finish(live.seq, outcome, following))
        if finished.state is JobState.DONE:
            self.history.add(Sample.of(str(live.key), live.model, outcome.stats, outcome.at))
        if live.state is JobState.WORKING:
            self.reloads.ran(live)
        self.jobs.gone(live, finished.state or outcome.state, outcome)
        _log_finished(live, attempt, outcome, finished)
        return finished

    async def hand_back(self, live: Live, claim: Claim, back: HandBack, following: Next | None) -> Start | None:
        """Put a job back in the queue; what was claimed along with that."""
        self.send_away(live)
        finished = await self.persist(lambda: self.store.hand_back(live.seq, back, following))
        if finished.state is JobState.CANCELLED:
            self.jobs.gone(live, JobState.CANCELLED)
        else:
            self.jobs.figures.tried_again(live.lane, back.error_code)
            # The lines of a further attempt at upkeep follow those of this one.
            if live.relay.released and not self.stopping and not is_upkeep(live.model):
                live.relay.finish(JobFailed(f"this attempt broke off, another follows: {back.error}", "attempt_failed"))
            self.jobs.returned(live)
            self.send_away(live)
        log_event(
            log,
            logging.WARNING,
            "job_handed_back",
            "job goes back to the queue",
            job=live.id,
            trace=live.trace,
            model=live.model,
            code=back.error_code,
            error=back.error,
            counted=back.counted,
            attempt=claim.job.attempts,
            again_in=max(0.0, round((back.not_before - back.at) / 1000, 3)),
        )
        return self._started(finished)

    def send_away(self, live: Live) -> None:
        """Nobody can wait for a job that goes back to the queue of a foreman that stops."""
        if self.stopping:
            live.relay.finish(_sent_away(live))

    def _started(self, finished: Finished) -> Start | None:
        return None if finished.next is None else Start(self.jobs.taken(finished.next), finished.next)

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """A write that must not be lost: tried again until the store takes it."""
        while True:
            try:
                return await write()
            except (StorageFull, StorageFailed) as error:
                self.trouble.begin(error)
                await self._clock.wait(self._pause, STORE_PAUSE_SECONDS)


def _log_finished(live: Live, attempt: Try, outcome: Outcome, finished: Finished) -> None:
    stats = outcome.stats
    log_event(
        log,
        logging.INFO,
        "job_finished",
        f"job {live.state}",
        job=live.id,
        trace=live.trace,
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
