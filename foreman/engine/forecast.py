"""When the queued jobs will run: the order of each lane, why, and the expected time of each job.

Worked out from the store's rows, what is loaded, and what earlier jobs took. With many clients waiting it is asked for
often: whoever asks while it is being worked out gets the same answer, a long queue is worked out beside the loop, and
at most once a second.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter
from typing import Final

from foreman.core.estimate import Estimates, History
from foreman.core.job import Hot
from foreman.core.lanes import Lane, Slots, Wait
from foreman.core.order import LOADING, Place, Reason, Waiting, drain_order, parts
from foreman.core.timeline import Group, Stretch, Task, starts
from foreman.core.upstreams import needs_target
from foreman.engine.clock import Clock, millis
from foreman.engine.live import Live, LiveJobs
from foreman.engine.store import Store

# An answer is good for so long, if nothing has changed; of a long queue also if something has.
FRESH_SECONDS: Final = 1.0
LONG: Final = 500
# Beyond this many a place is not told; nobody looks so far down a list.
LIMIT: Final = 10_000

Starts = Mapping[int, float | None]


@dataclass(frozen=True, slots=True)
class Outlook:
    """The place of a queued job in its lane, 1 being next.

    `reason` says what has to happen before it can run, counted from the one before it. `expected_start` in seconds from
    when it was asked, None if unknown. One that is `held` (by the gate, or by its remote API) takes no turn. One that
    stands `apart` does without the target.
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
    running: Mapping[Lane, Sequence[Task]]
    estimates: Estimates
    groups: dict[str, Group | None]
    blocked: dict[Lane, Wait | None]
    slots: Slots
    held: frozenset[str]
    open: frozenset[str] | None


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
        keys = {key for lane in Lane for key in lanes.of(lane).depth.counts}
        estimates = Estimates(self.history, keys)
        groups = {key: lanes.group(key) for _, key in keys}
        running = {lane: [*map(self._left, self._jobs.in_lane(lane))] for lane in Lane}
        # Of what has taken a slot and is not known yet, nothing is known.
        running[Lane.REMOTE] += [Task(0, None)] * (lanes.taken[Lane.REMOTE] - len(running[Lane.REMOTE]))
        blocked, held = {lane: lanes.blocked(lane) for lane in Lane}, frozenset(lanes.held())
        opened = lanes.open_keys()
        open_keys = None if opened is None else frozenset(opened)
        return _Ahead(waiting, preferred, running, estimates, groups, blocked, lanes.slots, held, open_keys)

    def _left(self, live: Live) -> Task:
        """What a running job will still take, as far as its like is known."""
        key, group = str(live.key), self._jobs.lanes.group(str(live.key))
        whole = self.history.estimate(key, live.model).run_seconds
        left = None if whole is None else max(0.0, whole - (self._clock.monotonic() - live.taken_at))
        return Task(live.seq, left, group)


def _outlooks(ahead: _Ahead) -> dict[int, Outlook]:
    places = list(drain_order(ahead.waiting[Lane.LOCAL], ahead.hot, _others(ahead, Lane.LOCAL)))
    told = dict(_starts(ahead, places))
    outlooks = chain(_local(ahead, places, told), _remote(ahead, told))
    return {outlook.seq: outlook for outlook in outlooks}


def _starts(ahead: _Ahead, places: Iterable[Place]) -> Iterator[tuple[int, float | None]]:
    """When each job will start that stands in nobody's way to run."""
    free = (place for place in places if not _stands(ahead, Lane.LOCAL, place.waiting))
    local = [
        Stretch(Lane.LOCAL, [_task(ahead, place.waiting, place.reason) for place in part])
        for _, part in groupby(free, key=attrgetter("turns"))
    ]
    remote = [
        Stretch(Lane.REMOTE, [_task(ahead, one) for one in part if not _stands(ahead, Lane.REMOTE, one)])
        for _, part in parts(ahead.waiting.get(Lane.REMOTE, ()), _others(ahead, Lane.REMOTE))
    ]
    if not ahead.slots.exclusive:
        for lane, stretches in ((Lane.LOCAL, local), (Lane.REMOTE, remote)):
            yield from starts(stretches, {lane: ahead.running[lane]}, ahead.slots)
        return
    in_turn = sorted((one for one in local + remote if one.tasks), key=lambda one: min(task.seq for task in one.tasks))
    yield from starts(in_turn, ahead.running, ahead.slots)


def _task(ahead: _Ahead, waiting: Waiting, reason: Reason | None = None) -> Task:
    estimate = ahead.estimates.estimate(waiting.load_key, waiting.model)
    return Task(waiting.seq, estimate.seconds(loads=reason in LOADING), ahead.groups.get(waiting.load_key))


def _local(ahead: _Ahead, places: Iterable[Place], told: Starts) -> Iterator[Outlook]:
    turns = -1 if ahead.blocked[Lane.LOCAL] is Wait.REMOTE_LANE else 0
    for place in places:
        seq, held = place.waiting.seq, _stands(ahead, Lane.LOCAL, place.waiting)
        reason = place.reason if place.turns == turns else Wait.REMOTE_LANE
        apart = not needs_target(place.waiting.load_key)
        yield Outlook(seq, place.position, reason, told.get(seq), held=held, apart=apart)
        turns = place.turns


def _remote(ahead: _Ahead, told: Starts) -> Iterator[Outlook]:
    position = 0
    for turns, part in parts(ahead.waiting.get(Lane.REMOTE, ()), _others(ahead, Lane.REMOTE)):
        waits = turns > 0 or ahead.blocked[Lane.REMOTE] is Wait.LOCAL_LANE
        for waiting in part:
            position += 1
            reason, held = Wait.LOCAL_LANE if waits else Wait.SLOT, _stands(ahead, Lane.REMOTE, waiting)
            apart, start = not needs_target(waiting.load_key), told.get(waiting.seq)
            yield Outlook(waiting.seq, position, reason, start, Lane.REMOTE, held, apart)


def _others(ahead: _Ahead, lane: Lane) -> list[int]:
    """The `seq`s that wait in the other lane, where it gets its turn."""
    others = ahead.waiting.get(lane.other, ()) if ahead.slots.exclusive else ()
    return [waiting.seq for waiting in others if not _stands(ahead, lane.other, waiting)]


def _stands(ahead: _Ahead, lane: Lane, waiting: Waiting) -> bool:
    """Whether it is held, and lets the others pass."""
    if lane is Lane.LOCAL:
        return waiting.load_key in ahead.held
    return ahead.open is not None and waiting.load_key not in ahead.open
