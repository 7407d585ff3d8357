"""The remote lane: jobs whose model runs elsewhere, a few at once, in order of arrival.

Nothing is loaded or evicted for them. One claims for all slots; each slot claims its next job along with the end of
the last, as long as there is one.
"""

import asyncio

from foreman.core.job import Next, Outcome
from foreman.core.lanes import Lane
from foreman.engine.executor import Executor
from foreman.engine.start import Start


class RemoteLane:
    """Runs remote jobs until the executor is told to stop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._settlement = executor.settlement
        self._jobs = executor.jobs
        self._lanes = executor.jobs.lanes
        self.idle = asyncio.Event()

    def __repr__(self) -> str:
        return f"<RemoteLane {len(self._jobs.in_lane(Lane.REMOTE))} running>"

    async def run(self) -> None:
        """Claim and run until stopped. Anything that escapes from here ends the process."""
        await self._executor.orphans_gone()
        async with asyncio.TaskGroup() as group:
            while (start := await self._next()) is not None:
                group.create_task(self._work(start), name=f"remote {start.live.id}")
        self.idle.set()

    async def _next(self) -> Start | None:
        """The next job, with a slot taken for it; waits for one. None when stopping."""
        executor, lane = self._executor, self._lanes.remote
        while not executor.stopping():
            await executor.until_target_answers(lane.wake)
            lane.wake.clear()
            pause = None
            if not executor.stopping() and not executor.paused and lane.depth.total and self._lanes.take(Lane.REMOTE):
                start = await executor.claim(self._wanted())
                if start is not None:
                    return start
                self._lanes.free(Lane.REMOTE, ran=False)
                pause = await executor.until_due()
            if not executor.stopping():
                await executor.clock.wait(lane.wake, pause)
        return None

    async def _work(self, start: Start | None) -> None:
        """Run a job, and those that were claimed along with the ends of others."""
        try:
            while start is not None:
                start = await self._run_one(start)
        finally:
            self._lanes.free(Lane.REMOTE)

    async def _run_one(self, start: Start) -> Start | None:
        ended = await self._executor.attempt(start)
        if ended is None:
            return None
        attempt, result = ended
        following = self._wanted() if self._executor.goes_on() else None
        if isinstance(result, Outcome):
            return await self._settlement.settle(start.live, attempt, result, following)
        # One that goes back for the time in which the target is down must not be claimed again at once.
        return await self._settlement.hand_back(
            start.live, start.claim, result, following if result.not_before else None
        )

    def _wanted(self) -> Next:
        return Next(lane=Lane.REMOTE, gives_way=self._lanes.gives_way(Lane.REMOTE), held=self._lanes.held())
