"""The jobs of this process that are not finished yet: what is queued and what runs in each lane, and who reads what.

The store holds the truth; here is only what it does not know: relays, the attempt under way, and counts that would be
too slow to ask for. Counts follow the results of the store, never the intention.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from foreman.core.framing import Watch
from foreman.core.job import Claim, Hot, Job, JobState, LoadKey, Mode, NewJob, Outcome
from foreman.core.lanes import TAKING_TURNS, Lane, Slots
from foreman.core.trace import trace_of
from foreman.core.upkeep import is_upkeep, typed
from foreman.engine.depth import Depth
from foreman.engine.figures import Figures
from foreman.engine.fresh import Fresh
from foreman.engine.lanes import Lanes
from foreman.engine.relay import Budget, Relay


@dataclass(slots=True, eq=False)
class Live:
    """One job: its relay, its state as people should see it, and the handles to stop it."""

    id: str
    model: str
    key: LoadKey
    path: str
    client: str
    relay: Relay
    created_at: int
    mode: Mode = Mode.ATTACHED
    lane: Lane = Lane.LOCAL
    seq: int = 0  # its place in the order of arrival, once the store has told it
    attempts: int = 0
    number: int = 0  # of the try under way, or of the last one
    override: str | None = None  # `gate`: neither held nor refused
    trace: str | None = None  # the trace that its request belongs to, as far as it was looked at
    hash: bytes | None = None  # of its request, where that may come again
    state: JobState = JobState.QUEUED
    loading: bool = False  # its model is being loaded right now
    attempt: asyncio.Task[object] | None = None
    watch: Watch | None = None  # what looks on while its answer passes
    cancelled: bool = False
    handed_back: bool = False
    busy: int = 0
    busy_since: float = 0.0  # unix seconds
    taken_at: float = 0.0  # monotonic seconds
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # how it ended is in the store

    def __repr__(self) -> str:
        return f"<Live {self.id} {self.state} {self.key} {self.relay!r}>"


class LiveJobs:
    """All living jobs of this process by id, and the lanes in which they wait and run."""

    def __init__(self, budget: Budget, slots: Slots = TAKING_TURNS) -> None:
        self._budget = budget
        self._by_id: dict[str, Live] = {}
        self._by_request: dict[tuple[str, bytes | str], Live] = {}
        self.changed: Callable[[Live], None] = lambda _: None
        self.lanes = Lanes(slots)
        self._running: dict[Lane, dict[Live, None]] = {lane: {} for lane in Lane}
        self.local, self.remote = self.lanes.local, self.lanes.remote
        self.fresh = Fresh()
        self.figures = Figures()
        self.endings = 0  # how many have left; who reads the store beside it can tell whether its answer is old

    def __repr__(self) -> str:
        return f"<LiveJobs {self.waiting} queued, running {self.running!r}>"

    def __iter__(self) -> Iterator[Live]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def waiting(self) -> int:
        """How many are queued."""
        return self.local.depth.total + self.remote.depth.total

    @property
    def running(self) -> list[Live]:
        """All that run, the one that was begun first in front."""
        return sorted(chain(*self._running.values()), key=lambda live: live.taken_at)

    def in_lane(self, lane: Lane) -> tuple[Live, ...]:
        """The same of one lane."""
        return tuple(self._running[lane])

    @property
    def held_bytes(self) -> int:
        """What all relays hold together."""
        return self._budget.used

    def get(self, job_id: str) -> Live | None:
        return self._by_id.get(job_id)

    def upkeep_for(self, command: str) -> bool:
        """Whether a command line is that of a client who waits for upkeep here."""
        named = typed(command)
        return bool(named) and any(live.model in named for live in self)

    def relay(self) -> Relay:
        return Relay(self._budget)

    def expect(self, live: Live) -> None:
        """It is on its way to the store. It must be known before it is there: the worker may be told first."""
        self._by_id[live.id] = live
        if live.hash is not None:
            self._by_request[_asked(live.client, live.key, live.hash)] = live

    def refused(self, live: Live) -> None:
        """The store did not take it."""
        self.let_go(live)
        self._drop(live)

    def twin(self, client: str, key: LoadKey, request: bytes | None) -> Live | None:
        """The living job that came of the same request of the same client, or for upkeep of any client."""
        live = None if request is None else self._by_request.get(_asked(client, key, request))
        return None if live is None or live.hash != request else live

    def adopt(self, job: Job, request: bytes | None = None) -> Live:
        """A job of an earlier process, so that its answer can be waited for; it is counted already.

        `request` is the hash of its request, where that may come again.
        """
        relay, path = self.relay(), job.path
        live = Live(job.id, job.model, job.load_key, path, job.client, relay, job.created_at, job.mode, job.lane)
        live.seq, live.attempts, live.state, live.hash = job.seq, job.attempts, job.state, request
        live.override = job.override
        self.expect(live)
        return live

    def queued(self, live: Live, job: NewJob | None = None) -> None:
        """The store has it: count it and wake its lane. With `job` it may be begun without asking the store."""
        lane = self.lanes.of(live.lane)
        lane.depth.add(live.model, str(live.key))
        if job is not None and lane is self.local and live.state is JobState.QUEUED and not live.cancelled:
            self.fresh.add(live.seq, job)
        lane.wake.set()
        self.changed(live)

    def taken(self, claim: Claim) -> Live:
        """The worker has claimed it. A job of an earlier process gets its relay only now."""
        job = claim.job
        live = self._by_id.get(job.id)
        if live is None:
            live = self.adopt(job)
        live.seq = job.seq
        self.begun(live, claim)
        self.claimed(live)
        return live

    def cancelling(self, live: Live) -> None:
        """Somebody wants it to end: it is not begun any more."""
        live.cancelled = True
        self.fresh.discard(live.id, str(live.key))

    def overriding(self, live: Live, what: str) -> None:
        """The store has noted what a queued job overrides. Its request at hand knows nothing of it."""
        live.override = what
        self.fresh.discard(live.id, str(live.key))
        self.changed(live)

    def chosen(self, hot: Hot) -> tuple[Live, NewJob] | None:
        """The local job the store would claim next, where it can be known without asking, and needs no swap."""
        found = self.fresh.first(hot.load_keys, self.local.depth)
        return None if found is None else (self._by_id[found.id], found)

    def begun(self, live: Live, claim: Claim) -> None:
        """The worker begins it, which the store may not know yet: so nobody is told, and no count changes."""
        job = claim.job
        live.trace = trace_of(claim.payload.headers)
        self.fresh.discard(live.id, str(live.key))
        live.state = JobState.LOADING
        live.attempts = job.attempts
        live.number = claim.number
        live.cancelled = live.cancelled or job.cancel_requested
        self._running[live.lane][live] = None

    def let_go(self, live: Live) -> None:
        """Nothing of it is at the target any more."""
        self._running[live.lane].pop(live, None)

    def claimed(self, live: Live) -> None:
        """The store has given a queued job to the worker."""
        self._depth(live).remove(live.model, str(live.key))
        self.changed(live)

    def unclaimed(self, live: Live) -> None:
        """It was begun for the first time, and the store did not give it to the worker: it stands where it stood."""
        live.state = JobState.QUEUED
        live.attempts = live.number = 0
        self.let_go(live)

    def returned(self, live: Live) -> None:
        """It is queued again."""
        live.state = JobState.QUEUED
        live.attempt = None
        self.let_go(live)
        self._depth(live).add(live.model, str(live.key))
        if live.relay.finished:
            # Its readers were told that this attempt has failed; the next one gets a relay of its own.
            live.relay = self.relay()
        self.changed(live)

    def gone(self, live: Live, state: JobState, outcome: Outcome | None = None, code: str | None = None) -> None:
        """It is finished; who still reads holds the relay. `outcome` where it ran, else `code` for one that failed."""
        if live.state is JobState.QUEUED:
            self._depth(live).remove(live.model, str(live.key))
            self.fresh.discard(live.id, str(live.key))
            self.lanes.moved_up(live.lane)
        self.let_go(live)
        live.state = state
        live.attempt = None
        self._drop(live)
        self.endings += 1
        self.figures.ended(live.lane, live.model, state, outcome, code)
        live.ended.set()
        self.changed(live)

    def _depth(self, live: Live) -> Depth:
        return self.lanes.of(live.lane).depth

    def _drop(self, live: Live) -> None:
        self._by_id.pop(live.id, None)
        if live.hash is None:
            return
        request = _asked(live.client, live.key, live.hash)
        if self._by_request.get(request) is live:
            del self._by_request[request]


def _asked(client: str, key: LoadKey, request: bytes) -> tuple[str, bytes | str]:
    """Where a request is found that may come again. Upkeep is everybody's, and counts as what was asked last of it."""
    return ("", str(key)) if is_upkeep(key.model) else (client, request)
