"""Jobs whose model can never be loaded on this machine: found as soon as they arrive, and failed with the figures.

A load key is judged when it is first heard of, and again whenever somebody finds that it does not fit. That goes on
beside the worker: nobody waits for a job that runs to be told that another never will.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from foreman.core.errors import NeverFits, StorageFailed, StorageFull
from foreman.core.gate import Refuse, Verdict
from foreman.core.job import JobState, LoadKey
from foreman.core.lanes import Lane
from foreman.engine.clock import Clock, millis
from foreman.engine.live import LiveJobs
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)

# So many load keys are remembered as fitting; clients may think of any number.
REMEMBERED: Final = 10_000


class Refusals:
    """`judged` says what the machine says to a load key, None where nothing would be loaded for it."""

    def __init__(
        self, store: Store, jobs: LiveJobs, clock: Clock, judged: Callable[[str], Awaitable[Verdict | None]]
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._judged = judged
        self._doubtful: set[str] = set()
        self._known: set[str] = set()

    def arrived(self, key: str) -> bool:
        """A job of this load key waits. Whether it has to be judged."""
        if key in self._known:
            return False
        self._doubtful.add(key)
        return True

    def doubt(self, key: str) -> None:
        """It was found not to fit."""
        self._doubtful.add(key)

    async def carry_out(self) -> None:
        """Judge what is in doubt, and fail the jobs of what can never fit."""
        while self._doubtful:
            key = self._doubtful.pop()
            verdict = await self._judged(key)
            if isinstance(verdict, Refuse):
                self._known.discard(key)  # what comes next under it is to fail too
                await self._fail(key, verdict)
                continue
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known.add(key)

    async def _fail(self, key: str, verdict: Refuse) -> None:
        try:
            ids = await self._store.refuse(key, NeverFits.code, verdict.text, millis(self._clock))
        except (StorageFull, StorageFailed) as error:
            log_event(log, logging.WARNING, "refusal_unsaved", "a refusal could not be written", error=error)
            return
        if ids:
            self._jobs.figures.judged(verdict)
        for job_id in ids:
            live = self._jobs.get(job_id)
            if live is None:
                self._jobs.local.depth.remove(LoadKey.parse(key).model, key)
                self._jobs.lanes.moved_up(Lane.LOCAL)
                self._jobs.figures.ended(Lane.LOCAL, LoadKey.parse(key).model, JobState.FAILED, code=NeverFits.code)
            else:
                live.relay.finish(NeverFits(verdict.text))
                self._jobs.gone(live, JobState.FAILED, code=NeverFits.code)
            log_event(
                log, logging.WARNING, "job_finished", "job failed", job=job_id, trace=live and live.trace, load_key=key,
                outcome=JobState.FAILED, error=NeverFits.code, needed=verdict.needed, there=verdict.there,
            )  # fmt: skip
