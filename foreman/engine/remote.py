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
        self._upstreams = executor.upstreams
        self.idle = asyncio.Event()
        self._found: list[Start] = []

    def __repr__(self) -> str:
        return f"<RemoteLane {len(self._jobs.in_lane(Lane.REMOTE))} running>"

    async def run(self) -> None:
        """Claim and run until stopped. Anything that escapes from here ends the process."""
        async with asyncio.TaskGroup() as group:
            for found in self._found:
                group.create_task(self._work(found), name=f"remote {found.live.id}")
            await self._executor.orphans_gone()
            while (start := await self._next()) is not None:
                group.create_task(self._work(start), name=f"remote {start.live.id}")
        self.idle.set()

    def found(self, start: Start) -> None:
        """A job that an earlier process claimed, and that is this one's now; its slot is taken. Before `run`."""
        self._found.append(start)

    async def _next(self) -> Start | None:
        """The next job, with a slot taken for it; waits for one. None when stopping."""
        executor, lane = self._executor, self._lanes.remote
        while not executor.stopping():
            lane.wake.clear()
            pause = None
            if self._may_begin() and self._lanes.take(Lane.REMOTE):
                start = await executor.claim(self._wanted())
                if start is not None:
                    upstream = self._upstreams.of(start.live.key)
                    if upstream is not None:
                        upstream.running += 1
                    return start
                self._lanes.free(Lane.REMOTE, ran=False)
                pause = await executor.until_due()
            if not executor.stopping():
                await executor.clock.wait(lane.wake, shorter(pause, self._upstreams.opens_in()))
        return None

    def _may_begin(self) -> bool:
        executor = self._executor
        if executor.stopping() or executor.paused or not self._lanes.remote.depth.total:
            return False
        return self._lanes.open_keys() != ()

    async def _work(self, start: Start | None) -> None:
        """Run a job, and those that were claimed along with the ends of others."""
        upstream = None if start is None else self._upstreams.of(start.live.key)
        try:
            while start is not None:
                start = await self._run_one(start)
        finally:
            if upstream is not None:
                upstream.running -= 1
            self._lanes.free(Lane.REMOTE)

    async def _run_one(self, start: Start) -> Start | None:
        ended = await self._executor.attempt(start)
        if ended is None:
            return None
        attempt, result = ended
        # Where there are APIs with slots of their own, one claims for all: two could take the last slot of one.
        following = self._wanted() if self._executor.goes_on() and not self._upstreams else None
        if isinstance(result, Outcome):
            return await self._settlement.settle(start.live, attempt, result, following)
        # One that goes back for the time in which the target is down must not be claimed again at once.
        return await self._settlement.hand_back(
            start.live, start.claim, result, following if result.not_before else None
        )

    def _wanted(self) -> Next:
        lanes = self._lanes
        return Next(
            lane=Lane.REMOTE,
            gives_way=lanes.gives_way(Lane.REMOTE),
            open=lanes.open_keys(),
            held=lanes.held(),
            near=self._executor.near(),
        )


def shorter(*pauses: float | None) -> float | None:
    """The shortest of some pauses, of which None is for ever."""
    return min((pause for pause in pauses if pause is not None), default=None)
