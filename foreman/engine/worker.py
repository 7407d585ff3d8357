"""The one worker, which is the local lane: claims jobs, has the model loaded, sends the request, and settles the end.

Rules:
1. Only who claimed a job moves it; everyone else asks (Engine.cancel).
2. The next job starts only when the target has let go of this one.
3. A job may be begun before its claim is written, and nothing of its answer is released before that.
"""

import asyncio
import logging

from foreman.core.errors import JobCancelled
from foreman.core.inventory import Inventory
from foreman.core.job import FINISHED, Chosen, Hot, JobState, NewJob, Next, Outcome
from foreman.core.lanes import Lane
from foreman.core.residency import Residency, hot
from foreman.engine.executor import Executor
from foreman.engine.gate import Gate
from foreman.engine.holding import Try
from foreman.engine.live import Live
from foreman.engine.poller import SWAP_SECONDS
from foreman.engine.start import Start, begun
from foreman.log import log_event

log = logging.getLogger(__name__)


class Worker:
    """Runs one job at a time until the executor is told to stop."""

    def __init__(self, executor: Executor, gate: Gate) -> None:
        self._executor = executor
        self._gate = gate
        self._settlement = executor.settlement
        self._target = executor.target
        self._poller = executor.poller
        self._jobs = executor.jobs
        self._lanes = executor.jobs.lanes
        self._lane = self._lanes.local
        self._clock = executor.clock
        self.idle = asyncio.Event()
        self._seen: tuple[Residency, Inventory] | None = None
        self._hot = Hot()
        self._resting = False  # nothing is ready, as far as anybody knows
        self._handed: Start | None = None
        self._found: Start | None = None

    def __repr__(self) -> str:
        return f"<Worker running {self._jobs.in_lane(Lane.LOCAL)!r}>"

    async def run(self) -> None:
        """Claim and run until stopped. Anything that escapes from here ends the process."""
        start, self._found = self._found, None
        if start is None:
            await self._executor.orphans_gone()
        while not self._executor.stopping() or start is not None:
            start = start or await self._next()
            if start is not None:
                start = await self._run_one(start)
                if start is None:
                    self._lanes.free(Lane.LOCAL)
        self.idle.set()

    def found(self, start: Start) -> None:
        """A job that an earlier process claimed, and that is this one's now; its slot is taken. Before `run`."""
        self._found = start

    def begin(self, live: Live, job: NewJob, written: asyncio.Future[bool]) -> bool:
        """Begin a job that is on its way to the store, claimed already; False where it has to wait in line.

        It has to, unless nothing runs, nothing is ready, the remote lane wants nothing, and its model is loaded.
        """
        if not self._resting or self._lane.wake.is_set() or not self._executor.goes_on():
            return False
        if job.lane is not Lane.LOCAL or str(job.load_key) not in self.hot().load_keys:
            return False
        if self._lanes.gives_way(Lane.LOCAL) or not self._lanes.take(Lane.LOCAL):
            return False
        claim = begun(job, 0, job.created_at)
        self._handed = Start(live, claim, written, self._target.exchange(job.payload))
        self._jobs.begun(live, claim)
        self._lane.wake.set()
        return True

    async def _next(self) -> Start | None:
        """The next job in order; waits for one. None when stopping."""
        executor = self._executor
        while not executor.stopping():
            self._lane.wake.clear()
            if self._lane.depth.total == 0 or executor.paused or executor.near() == ():
                await self._rest(None)
            elif not self._lanes.take(Lane.LOCAL):
                await self._rest(await self._look_behind())
            else:
                start = await executor.claim(self._wanted(await self._preferred()))
                if start is not None:
                    return start
                self._lanes.free(Lane.LOCAL, ran=False)
                if executor.stopping():
                    return None
                await self._rest(self._gate.pause(await executor.until_due()))
            if self._handed is not None:
                start, self._handed = self._handed, None
                return start
        return None

    async def _rest(self, pause: float | None) -> None:
        """Nothing is ready: wait until something may be, at most `pause` seconds."""
        self._resting = True
        await self._clock.wait(self._lane.wake, pause)
        self._resting = False

    async def _look_behind(self) -> float | None:
        """While the remote lane runs: for how long to wait for it. The jobs that it overtakes are looked at."""
        if self._gate.holding:
            await self._preferred()
        return self._gate.pause(None)

    async def _preferred(self) -> Hot:
        """What the next claim should prefer. Before a swap the target is asked again: others may use it too."""
        preferred = self.hot()
        if self._poller.reachable is not False and not self._lane.depth.matches(preferred):
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
        ended = await self._executor.attempt(start)
        if ended is None:
            return None
        attempt, result = ended
        if isinstance(result, Outcome):
            return await self._settle(start.live, attempt, result)
        following = self._following() if result.not_before else None
        return await self._settlement.hand_back(start.live, start.claim, result, following)

    async def _settle(self, live: Live, attempt: Try, outcome: Outcome) -> Start | None:
        chosen = self._chosen()
        if chosen is None:
            return await self._settlement.settle(live, attempt, outcome, self._following())
        following, job = chosen
        # Before anything else: until then the target has nothing to do.
        ahead = self._target.exchange(job.payload)
        live.relay.finish(attempt.error)
        claim = begun(job, following.seq, outcome.at)
        self._jobs.let_go(live)
        self._jobs.begun(following, claim)
        written = asyncio.create_task(self._finish_and_claim(live, attempt, outcome, following))
        return Start(following, claim, written, ahead)

    async def _finish_and_claim(self, live: Live, attempt: Try, outcome: Outcome, following: Live) -> bool:
        finished = await self._settlement.finish(live, attempt, outcome, Chosen(following.seq))
        if finished.chosen:
            self._jobs.claimed(following)
        else:
            await self._give_up(following)
        return finished.chosen

    async def _give_up(self, live: Live) -> None:
        """A job that was begun is not the worker's: somebody cancelled it in the same moment, most likely."""
        job = await self._settlement.persist(lambda: self._settlement.store.get(live.id))
        self._jobs.unclaimed(live)
        if job is not None and job.state not in FINISHED:
            self._settlement.send_away(live)
            return
        live.relay.finish(JobCancelled("the job was cancelled"))
        self._jobs.gone(live, JobState.CANCELLED if job is None else job.state)
        log_event(
            log, logging.INFO, "job_finished", f"job {live.state}",
            job=live.id, trace=live.trace, model=live.model, path=live.path, client=live.client, outcome=live.state,
        )  # fmt: skip

    def _chosen(self) -> tuple[Live, NewJob] | None:
        """The next job, where it is known without asking the store, and needs no look at the target first."""
        # While the store takes no writes, a job that was begun would only keep the target from others.
        if not self._executor.goes_on() or self._settlement.trouble.error is not None:
            return None
        if self._lanes.gives_way(Lane.LOCAL):
            return None
        return self._jobs.chosen(self.hot())

    def _following(self) -> Next | None:
        """What to claim in the same transaction, or None where the next claim needs a look at the target first."""
        if not self._executor.goes_on():
            return None
        preferred = self.hot()
        return self._wanted(self._gate.closed(preferred)) if self._lane.depth.matches(preferred) else None

    def _wanted(self, preferred: Hot) -> Next:
        gives_way = self._lanes.gives_way(Lane.LOCAL)
        opened = self._lanes.open_keys() if gives_way else None
        return Next(preferred, gives_way=gives_way, open=opened, near=self._executor.near())
