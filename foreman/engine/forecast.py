"""When the queued jobs will run: the order of each lane, why, and the expected time of each job.

Worked out from the store's rows, what is loaded, and what earlier jobs took. With many clients waiting it is asked for
often: whoever asks while it is being worked out gets the same answer, a long queue is worked out beside the loop, and
at most once a second.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from foreman.core.estimate import Estimates, History, expected_starts
from foreman.core.job import Hot
from foreman.core.lanes import Lane, Wait
from foreman.core.order import Waiting, drain_order, parts
from foreman.core.upstreams import needs_target
from foreman.engine.clock import Clock, millis
from foreman.engine.live import Live, LiveJobs
from foreman.engine.store import Store

# An answer is good for so long, if nothing has changed; of a long queue also if something has.
FRESH_SECONDS: Final = 1.0
LONG: Final = 500
# Beyond this many a place is not told; nobody looks so far down a list.
LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """The place of a queued job in its lane, 1 being next.

    `reason` says what has to happen before it can run, counted from the one before it. `expected_start` in seconds from
    when it was asked, None if unknown. One that is `held` by the gate takes no turn. One that stands `apart` does
    without the target.
    """

    seq: int
    position: int
    reason: str
    expected_start: float | None
    lane: Lane = Lane.LOCAL
    held: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What the order is worked out from. `blocked` says what keeps each lane from beginning anything now."""

    waiting: dict[Lane, Sequence[Waiting]]
    hot: Hot
    left: float | None
    estimates: Estimates
    blocked: dict[Lane, Wait | None]
    take_turns: bool
    held: frozenset[str]


class Forecast:
    """Knows the order ahead, as of now or of the last second. `changed` is to be called whenever a job changes."""

    def __init__(self, store: Store, jobs: LiveJobs, clock: Clock, preferred: Callable[[], Hot]) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._preferred = preferred
        self._told: dict[int, Outlook] = {}
        self._told_at = float("-inf")
        self._told_for: Hot | None = None
        self._wanted = self._newest = 0  # no job that arrived after the newest is in it
        self._changed = True
        self._asking: asyncio.Task[None] | None = None
        self.history = History()

    def changed(self) -> None:
        self._changed = True

    async def place(self, live: Live) -> Outlook | None:
        """Where a living job stands."""
        return (await self.places(live.seq)).get(live.seq)

    async def order(self) -> list[Outlook]:
        """All places, those of one lane after those of the other, each in order."""
        return list((await self.places()).values())

    async def places(self, newest: int = 0) -> dict[int, Outlook]:
        """All places by `seq`, in order; the job with the `seq` `newest` is among them, if it waits."""
        self._wanted = max(self._wanted, newest)
        for _ in range(2):  # one that is under way may have begun before the job was there
            if self._good(newest):
                break
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
                self._asking.add_done_callback(self._asked)
            await asyncio.shield(self._asking)
        return self._told

    def _good(self, newest: int) -> bool:
        if self._clock.monotonic() - self._told_at >= FRESH_SECONDS or newest > self._newest:
            return False
        return len(self._told) > LONG or not (self._changed or self._told_for != self._preferred())

    def _asked(self, _: object) -> None:
        self._asking = None

    async def _ask(self) -> None:
        self._changed = False
        asked_at, preferred, newest = self._clock.monotonic(), self._preferred(), self._wanted
        ahead = await self._ahead(preferred)
        if sum(map(len, ahead.waiting.values())) > LONG:
            self._told = await asyncio.to_thread(_outlooks, ahead)
        else:
            self._told = _outlooks(ahead)
        self._told_at, self._told_for, self._newest = asked_at, preferred, newest

    async def _ahead(self, preferred: Hot) -> _Ahead:
        lanes, now = self._jobs.lanes, millis(self._clock)
        waiting = {Lane.LOCAL: await self._store.waiting(LIMIT, now)}
        if lanes.remote.depth.total:
            waiting[Lane.REMOTE] = await self._store.waiting(LIMIT, now, Lane.REMOTE)
        estimates = Estimates(self.history, lanes.local.depth.counts)
        blocked, held = {lane: lanes.blocked(lane) for lane in Lane}, frozenset(lanes.held())
        return _Ahead(waiting, preferred, self._running_left(), estimates, blocked, lanes.slots.exclusive, held)

    def _running_left(self) -> float | None:
        """What the running job will still take, 0 where none runs, None where nothing is known of its like."""
        running = next(iter(self._jobs.in_lane(Lane.LOCAL)), None)
        if running is None:
            return 0.0
        estimate = self.history.estimate(str(running.key), running.model)
        if estimate.run_seconds is None:
            return None
        return max(0.0, estimate.run_seconds - (self._clock.monotonic() - running.taken_at))


def _outlooks(ahead: _Ahead) -> dict[int, Outlook]:
    told = {outlook.seq: outlook for outlook in _local(ahead)}
    return told | {outlook.seq: outlook for outlook in _remote(ahead)}


def _local(ahead: _Ahead) -> Iterator[Outlook]:
    places = list(drain_order(ahead.waiting[Lane.LOCAL], ahead.hot, _others(ahead, Lane.LOCAL)))
    starts = expected_starts(places, ahead.left, ahead.estimates)
    waits = ahead.blocked[Lane.LOCAL] is Wait.REMOTE_LANE
    turns = -1 if waits else 0
    for place, start in zip(places, starts, strict=True):
        # How long the other lane takes is not known.
        unknown = waits or place.turns > 0
        reason = place.reason if place.turns == turns else Wait.REMOTE_LANE
        held = place.waiting.load_key in ahead.held
        apart = not needs_target(place.waiting.load_key)
        yield Outlook(place.waiting.seq, place.position, reason, None if unknown else start, held=held, apart=apart)
        turns = place.turns


def _remote(ahead: _Ahead) -> Iterator[Outlook]:
    position = 0
    for turns, part in parts(ahead.waiting.get(Lane.REMOTE, ()), _others(ahead, Lane.REMOTE)):
        waits = turns > 0 or ahead.blocked[Lane.REMOTE] is Wait.LOCAL_LANE
        for waiting in part:
            position += 1
            reason, apart = Wait.LOCAL_LANE if waits else Wait.SLOT, not needs_target(waiting.load_key)
            yield Outlook(waiting.seq, position, reason, None, Lane.REMOTE, apart=apart)


def _others(ahead: _Ahead, lane: Lane) -> list[int]:
    """The `seq`s that wait in the other lane, where it gets its turn."""
    others = ahead.waiting.get(lane.other, ()) if ahead.take_turns else ()
    return [waiting.seq for waiting in others if lane is Lane.LOCAL or waiting.load_key not in ahead.held]
