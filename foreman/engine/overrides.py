"""Jobs that are let past the gate while they wait already.

Rules:
1. It counts when it is on disk, and then at once: what is held is looked at again.
2. Only a job that waits can be let past; what runs has passed, or never had to.
3. Who joins a job and overrides the gate overrides it for all who wait for that job.
"""

import logging
from collections.abc import Awaitable, Callable

from foreman.core.errors import JobFinished, JobNotFound
from foreman.core.job import JobState
from foreman.engine.live import Live, LiveJobs
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)


class Overrides:
    """`living` finds an unfinished job by its id, also one of an earlier process."""

    def __init__(self, store: Store, jobs: LiveJobs, living: Callable[[str], Awaitable[Live | None]]) -> None:
        self._store = store
        self._jobs = jobs
        self._living = living

    async def ask(self, job_id: str, what: str) -> None:
        """Let a job that waits pass. Raises JobNotFound, or JobFinished where it does not wait any more."""
        state = await self.note(job_id, what)
        if state is None:
            raise JobNotFound(f"there is no job {job_id}")
        if state is not JobState.QUEUED:
            raise JobFinished(f"job {job_id} is {state}: only a job that waits can override the {what}")

    async def note(self, job_id: str, what: str) -> JobState | None:
        """The same for a job that may not wait any more, and then goes on as it does: its state."""
        live = await self._living(job_id)
        state = await self._store.override(job_id, what)
        if live is None or state is not JobState.QUEUED:
            return state
        if live.state is JobState.QUEUED and live.override != what:
            self._jobs.overriding(live, what)
            log_event(
                log,
                logging.INFO,
                "overridden",
                f"a job overrides the {what}",
                job=job_id,
                trace=live.trace,
                load_key=str(live.key),
            )
            self._jobs.lanes.wake()
        return live.state
