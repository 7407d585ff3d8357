"""When the queued jobs will run: their order, why, and the expected time of each.

Worked out from the store's rows, what is loaded, and what earlier jobs took. With many clients waiting it is asked for
often and changes seldom, so one answer serves for a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from foreman.core.estimate import History, expected_starts
from foreman.core.job import Hot
from foreman.core.order import drain_order
from foreman.engine.clock import Clock, millis
from foreman.engine.live import Live, LiveJobs
from foreman.engine.store import Store

FRESH_SECONDS: Final = 1.0
# Beyond this many a place is not told; nobody looks so far down a list.
LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """The place of a queued job, 1 being next. `expected_start` in seconds from when it was asked, None if unknown."""

    seq: int
    position: int
    reason: str
    expected_start: float | None


class Forecast:
    """Asks for the order ahead, at most once a second."""

    def __init__(self, store: Store, jobs: LiveJobs, clock: Clock, preferred: Callable[[], Hot]) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._preferred = preferred
        self._told: dict[int, Outlook] = {}
        self._told_at = float("-inf")
        self.history = History()

    async def place(self, live: Live) -> Outlook | None:
        """Where a living job stands, as of the last second."""
        if self._clock.monotonic() - self._told_at >= FRESH_SECONDS:
            await self.order()
        return self._told.get(live.seq)

    async def order(self) -> list[Outlook]:
        """All places in order, as of now."""
        self._told_at = self._clock.monotonic()
        waiting = await self._store.waiting(LIMIT, millis(self._clock))
        places = list(drain_order(waiting, self._preferred()))
        starts = expected_starts(places, self._running_left(), self.history)
        order = [
            Outlook(place.waiting.seq, place.position, place.reason, start)
            for place, start in zip(places, starts, strict=True)
        ]
        self._told = {outlook.seq: outlook for outlook in order}
        return order

    def _running_left(self) -> float | None:
        """What the running job will still take, 0 where none runs, None where nothing is known of its like."""
        running = self._jobs.running
        if running is None:
            return 0.0
        estimate = self.history.estimate(str(running.key), running.model)
        if estimate.run_seconds is None:
            return None
        return max(0.0, estimate.run_seconds - (self._clock.monotonic() - running.taken_at))
